"""`gproxy admin`: every operation by its name, as the running gateway describes them."""

import json
import re
import signal
import subprocess
import sys
import threading

import forked
import pytest
from admin_listener import client_of, status_of, two_workers

from gproxy.monitor.api.operations import OPERATIONS
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway, eventually

HELD = "[route:held]\npath = /held\ntimeout = 1m\nupstream = held\n[upstream:held]\nbackends = {held}\n"
COMMAND = (sys.executable, "-m", "gproxy", "admin")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    def holding(peer, _):
        peer.read_request()
        peer.is_closed()

    folder = tmp_path_factory.mktemp("admin")
    with Backend(holding) as held, RunningGateway(two_workers() + HELD.format(held=held.url), folder) as gateway:
        status_of(client_of(gateway))
        yield gateway


def run(gateway, *arguments):
    """Return the exit code, what the command prints, and what it says on standard error."""
    command = [*COMMAND, *arguments, "--config", str(gateway.config)]
    done = forked.run(command, cwd=gateway.folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def answer(gateway, *arguments):
    code, text, errors = run(gateway, *arguments)
    assert (code, errors) == (0, "")
    return json.loads(text)


def test_it_lists_the_operations_of_the_table_but_those_for_browsers_and_record(gateway):
    _, text, _ = run(gateway)
    lines = text.splitlines()
    names = [line.split(" ")[0] for line in lines if not line.startswith(" ")]
    assert set(names) == {one.name.replace("_", "-") for one in OPERATIONS} - {
        "login-form", "log-in", "log-out", "page", "style", "script", "record",
    }  # fmt: skip
    assert "set-log-level LEVEL [logger=] [for=]" in lines
    assert lines[lines.index("cut ID") + 1] == "    end a request: 503, or its response is broken off"
    assert answer(gateway, "--json")["cut"]["values"] == ["ID"]


def test_a_request_is_cut(gateway):
    found = []
    client = threading.Thread(target=lambda: found.append(gateway.get("/held")))
    client.start()
    eventually(lambda: answer(gateway, "requests", "route=held")["requests"], "the request in flight")
    (entry,) = answer(gateway, "requests", "route=held", "--json")["requests"]
    assert answer(gateway, "cut", entry["id"])["before"]["id"] == entry["id"]
    client.join()
    assert found[0].status == 503
    code, text, errors = run(gateway, "cut", entry["id"])
    assert (code, text) == (1, "")
    assert errors.startswith("404 Not Found: ")


def test_a_reload_comes_back_with_its_outcome(gateway):
    before = answer(gateway, "status")["generation"]
    assert answer(gateway, "reload") == {"generation": before + 1}
    good = gateway.config.read_text()
    gateway.config.write_text(f"{good}\n[route:bad]\npath = /bad\nupstream = none\n")
    code, text, errors = run(gateway, "reload")
    gateway.config.write_text(good)
    assert (code, text) == (1, "")
    assert re.match(r"409 Conflict: .*\.ini:\d+: \[route:bad\] upstream: unknown upstream 'none'", errors)
    assert answer(gateway, "rollback")["generation"] > before + 1


def test_the_log_level_and_the_number_of_workers_change(gateway):
    level = answer(gateway, "set_log_level", "debug", "for=1m", "logger=urllib3")["log_level"]
    assert (level["level"], level["logger"]) == ("debug", "urllib3")
    assert answer(gateway, "scale", "3") == {"workers": 3}
    assert answer(gateway, "scale", "count=2") == {"workers": 2}


def test_what_is_no_json_is_printed_as_it_comes(gateway):
    code, text, _ = run(gateway, "metrics")
    assert code == 0
    assert text.startswith("# HELP gproxy_")
    command = [*COMMAND, "events", "--config", str(gateway.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as events:
        for line in events.stdout:
            if line == "event: values\n":
                break
        events.send_signal(signal.SIGINT)
        assert (events.wait(30), events.stderr.read()) == (0, "")


def test_a_reader_that_leaves_ends_it_quietly(gateway):
    shell = f"{' '.join(COMMAND)} logs follow=yes source=error --config {gateway.config} | head -1"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("relod", 2, "unknown operation 'relod'; did you mean 'reload'?"),
        ("nothing", 2, "unknown operation 'nothing'; known: change-backend, config, "),
        ("cut", 2, "missing: ID"),
        ("rollback now", 2, "unknown value 'now'; it takes none"),
        ("set-log-level", 2, "missing: LEVEL, the lowest level in the error log"),
        ("set-log-level loud", 1, "400 Bad Request: level: expected one of debug, info, warning, error"),
        ("set-log-level debug logge=x", 2, "unknown value 'logge'; did you mean 'logger'?"),
        ("scale many", 2, "count: expected a number; found 'many'"),
        ("change-backend users a force=perhaps", 2, "force: expected yes or no; found 'perhaps'"),
    ],
)
def test_it_says_what_is_wrong_in_one_line(gateway, arguments, code, text):
    found = run(gateway, *arguments.split())
    assert found[:2] == (code, ""), found
    assert text in found[2]
    assert found[2].count("\n") == 1
