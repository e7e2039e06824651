"""`gproxy explain ID` and `gproxy routes --live`: what happened to a request, and what the routes do now."""

import json
import re
import sys
import threading

import forked
import pytest

from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[admin]
bind = unix:{tmp}/admin.sock
slow = 100ms
[trace]
timing_token = timing-token-of-16-bytes
[gateway]
handlers = wait
[handler:wait]
use = mine:wait
[route:dead]
path = /dead
upstream = dead
[route:all]
path = /
upstream = app
timeout = 1m
[upstream:app]
backends = http://127.0.0.1:PORT
[upstream:dead]
backends = http://127.0.0.1:1
retries = 0
"""
HANDLERS = """
import threading
gate = threading.Event()
def wait(request, next):
    if request.path == "/warn":
        import logging
        logging.getLogger("shop").warning("careful")
    if request.path == "/broken":
        raise KeyError("tenant")
    if request.path == "/open":
        gate.set()
    if request.path == "/held":
        gate.wait()
    if request.path == "/slow":
        import time
        time.sleep(0.2)
    return next(request)
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain-id")
    (folder / "mine.py").write_text(HANDLERS)
    with Backend(answering()) as backend, RunningGateway(INI.replace("PORT", str(backend.port)), folder) as gateway:
        gateway.wait_for_line("monitor: serves on")
        yield gateway


def explain(gateway, identity, *options):
    command = [sys.executable, "-m", "gproxy", "explain", identity, "--config", str(gateway.config), *options]
    return forked.run(command, cwd=gateway.folder, capture_output=True, text=True, timeout=60)


def known(gateway, identity):
    """Wait until the monitor knows the request."""
    client = AdminClient(f"unix:{gateway.folder}/admin.sock")

    def is_known():
        try:
            return client.get(f"/v1/requests/{identity}")
        except AdminError:
            return None

    eventually(is_known, "the monitor to know the request")


def test_a_slow_request_shows_where_its_time_went(gateway):
    identity = gateway.get("/slow", "X-Gproxy-Timing: timing-token-of-16-bytes")["x-request-id"]
    known(gateway, identity)
    report = explain(gateway, identity).stdout
    assert f"{identity} GET /slow: 200 after 0.2" in report
    assert report.split("where the time went\n")[1].lstrip().startswith("handler.wait")
    assert "  all       taken: /\n" in report
    assert "paused" not in report, "no limit was paused"


def test_a_failed_request_names_its_reason_and_its_attempts(gateway):
    identity = gateway.get("/dead", "X-Gproxy-Timing: timing-token-of-16-bytes")["x-request-id"]
    known(gateway, identity)
    found = json.loads(explain(gateway, identity, "--json").stdout)
    assert found["source"] == "the monitor"
    assert found["request"]["reason"] == "connect_refused"
    assert found["request"]["attempts"][0]["outcome"] == "connect_refused"
    assert "route dead" in found["explanation"]


def test_ps_shows_a_request_that_has_failed(gateway):
    identity = gateway.get("/dead/ps")["x-request-id"]
    known(gateway, identity)
    command = [sys.executable, "-m", "gproxy", "ps", "--id", identity, "--config", str(gateway.config)]
    done = forked.run(command, cwd=gateway.folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reason      connect_refused\n" in done.stdout
    assert re.search(r"^duration    [\d.]+ (µs|ms|s)$", done.stdout, re.MULTILINE)


def test_an_ordinary_request_comes_from_the_access_log(gateway):
    identity = gateway.get("/ordinary")["x-request-id"]
    gateway.line("/ordinary")
    found = explain(gateway, identity)
    assert found.returncode == 0, found.stderr
    assert "/ordinary: 200 after" in found.stdout
    assert "from the access log" in found.stdout


def test_a_request_in_flight_shows_its_stack(gateway):
    held = threading.Thread(target=gateway.get, args=("/held",))
    held.start()
    client = AdminClient(f"unix:{gateway.folder}/admin.sock")
    found = []
    eventually(lambda: found.extend(client.get("/v1/requests")["requests"]) or found, "the request")
    report = explain(gateway, found[0]["id"]).stdout
    gateway.get("/open")
    held.join()
    assert "in flight for" in report
    assert "mine.py:13" in report, report


def test_an_unknown_id_is_told_as_such(gateway):
    found = explain(gateway, "0123456789abcdef0123456789abcdef")
    assert found.returncode == 1
    assert "no request 0123456789abcdef0123456789abcdef" in found.stderr


def test_the_warning_of_a_handler_is_among_the_monitors_records_with_its_request(gateway):
    identity = gateway.get("/warn")["x-request-id"]
    client = AdminClient(f"unix:{gateway.folder}/admin.sock")
    found = []

    def is_there():
        entries = client.get("/v1/logs", {"source": "error"})["entries"]
        found[:] = [entry for entry in entries if entry["message"] == "careful"]
        return found

    eventually(is_there, "the record")
    assert (found[0]["request_id"], found[0]["logger"], found[0]["worker"]) == (identity, "shop", 1)
    assert identity in explain(gateway, identity, "--json").stdout
    assert "careful" in explain(gateway, identity).stdout


def test_a_failed_handler_shows_its_exception_with_the_line(gateway):
    identity = gateway.get("/broken")["x-request-id"]
    known(gateway, identity)
    eventually(lambda: "KeyError: 'tenant'" in explain(gateway, identity).stdout, "the exception")
    assert 'mine.py:9 in wait: raise KeyError("tenant")' in explain(gateway, identity).stdout


def test_the_routes_of_the_running_gateway_have_their_last_minute_and_backends(gateway):
    gateway.get("/dead")
    command = [sys.executable, "-m", "gproxy", "routes", "--live", "--config", str(gateway.config)]
    found = forked.run(command, cwd=gateway.folder, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    dead = next(one for one in found.stdout.split("\n\n") if one.startswith("dead"))
    assert "chain     wait" in dead
    assert "http://127.0.0.1:1" in dead
    data = json.loads(forked.run([*command, "--json"], cwd=gateway.folder, capture_output=True, text=True).stdout)
    assert {route["name"] for route in data["routes"]} == {"dead", "all"}
