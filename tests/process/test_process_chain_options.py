"""Where operators see handlers that only report and handlers that fail: commands, the start, and the monitor."""

import sys

import forked
import pytest

from gproxy.commands.live.admin_client import AdminClient
from gproxy.testing.gateway import RunningGateway, eventually

INI = """\
[admin]
bind = unix:{tmp}/admin.sock
[gateway]
handlers = health, limit, off, geo
[handler:health]
cache = 0s
[handler:limit]
use = rate_limit
limit = 1/hour
[handler:off]
use = mine:broken
mode = off
[handler:geo]
use = mine:broken
on_error = skip
error_limit = 2/10s
time_limit = 1s
[handler:rules]
use = allow
allow = 10.0.0.0/8
mode = report
[route:tried]
path = /tried
handlers = rules
report = limit
respond = 200
[route:quiet]
path = /quiet
skip = limit, geo
respond = 200
"""
HANDLERS = """
def broken(request, next):
    raise LookupError("down")
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain-options")
    (folder / "mine.py").write_text(HANDLERS)
    with RunningGateway(INI, folder) as gateway:
        gateway.wait_for_line("monitor: serves on")
        yield gateway


@pytest.fixture(scope="module")
def client(gateway):
    return AdminClient(f"unix:{gateway.folder}/admin.sock")


def run(gateway, *arguments):
    command = [sys.executable, "-m", "gproxy", arguments[0], *arguments[1:], "--config", str(gateway.config)]
    return forked.run(command, cwd=gateway.folder, capture_output=True, text=True, timeout=60)


def at(gateway, section, option):
    """The place of an option: FILE:LINE."""
    lines = gateway.config.read_text().splitlines()
    first = lines.index(f"[{section}]")
    number = next(n for n, line in enumerate(lines[first:], first + 1) if line.startswith(f"{option} ="))
    return f"{gateway.config}:{number}"


def test_a_rule_that_only_reports_is_a_warning_of_check_and_of_the_start(gateway):
    warning = "[handler:rules] mode: rules only reports: every request is admitted"
    found = run(gateway, "check")
    assert found.returncode == 0
    assert f"{at(gateway, 'handler:rules', 'mode')}: {warning}" in found.stdout + found.stderr
    gateway.wait_for_line(warning)


def test_explain_shows_modes_limits_and_what_follows_from_errors(gateway):
    report = " ".join(run(gateway, "explain", "GET", "/tried").stdout.split())
    assert "chain health > limit (reports) > off (off) > geo > rules (reports) > respond" in report
    for text, section, option in (
        ("limit only reports what it would reject", "route:tried", "report"),
        ("off is off", "handler:off", "mode"),
        ("geo at most 1s of its own", "handler:geo", "time_limit"),
        ("geo requests go on after its errors, and skip it", "handler:geo", "on_error"),
    ):
        assert f"{text} ([{section}] {option}, {at(gateway, section, option)})" in report
    assert "rules 403: no rule admits the request the handler only reports: the request goes on as it was" in report
    assert "answer 200 OK" in report


def test_the_settings_in_effect_have_the_options_of_the_chain(gateway):
    lines = [" ".join(line.split()) for line in run(gateway, "config").stdout.splitlines()]
    assert f"mode = report ; {at(gateway, 'handler:rules', 'mode')}" in lines
    assert "on_error = closed ; default" in lines
    assert not any(line.startswith("offload = no") and "handler" in line for line in lines)


def test_a_request_that_was_reported_is_explained(gateway):
    for _ in range(2):
        identity = gateway.get("/tried")["x-request-id"]
    line = gateway.access(2)[-1]
    assert (line["id"], line["report"], line["status"]) == (identity, "limit=429,rules=403", "200")
    report = " ".join(run(gateway, "explain", identity).stdout.split())
    assert "report limit=429,rules=403" in report


def test_the_monitor_shows_handlers_that_fail_and_those_that_do_not_decide(gateway, client):
    def handlers():
        return {one["name"]: one for one in client.get("/v1/handlers")["handlers"]}

    for _ in range(3):
        assert gateway.get("/tried").status == 200
    eventually(lambda: handlers()["geo"]["state"] == "skipped", "the state of the handler")
    eventually(lambda: handlers()["limit"]["last_minute"]["policy_reports"], "the reports of the last minute")
    found = handlers()
    assert {name: one["mode"] for name, one in found.items() if one["mode"] != "enforce"} == {
        "off": "off", "rules": "report",
    }  # fmt: skip
    assert found["limit"]["reports_on"] == ["tried"]
    health = gateway.health()
    assert (health["status"], health["handlers"]["geo"]["state"]) == ("degraded", "skipped")


@pytest.mark.parametrize("view", ["overview", "handlers"])
def test_the_page_shows_them_too(gateway, client, view):
    def page():
        connection = client.connection()
        connection.request("GET", f"/?view={view}")
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    for _ in range(3):
        gateway.get("/tried")
    wanted = {
        "overview": (
            "handler geo is skipped after errors",
            "handler rules only reports",
            "limit only reports on tried",
        ),
        "handlers": ("skipped", "only reports", "only reports: on tried", "off"),
    }
    eventually(lambda: all(text in page() for text in wanted[view]), "the page")
