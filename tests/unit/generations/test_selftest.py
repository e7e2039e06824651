"""The lines of a self-test: what passes, and what is said of what fails."""

import sys
import threading
import types

import gevent
import pytest
from gevent.monkey import get_original

from gproxy.config.ini.convert import convert
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.sections.server import ServerSettings
from gproxy.config.types.selftest import SelfTestLine
from gproxy.gateway import user_code
from gproxy.generations import selftest as module
from gproxy.generations.ask import Ask
from gproxy.generations.selftest import SelfTest
from gproxy.http.response import Response
from gproxy.http.trust import Trust

STATUSES = {"/fine": 200, "/secret": 401, "/broken": 500}


def gateway(request):
    if request.path == "/slow":
        gevent.sleep(60)
    if request.path == "/torn":
        return Response(200, torn())
    request.reason = "handler_error" if request.path == "/broken" else ""
    return Response(STATUSES[request.path], b"body")


def torn():
    yield b"a"
    raise OSError("gone")


def fine(ask):
    assert ask("GET", "/fine").status == 200


def says_false(ask):
    return ask("GET", "/fine").status == 201


def waits(ask):
    ask("GET", "/slow")


def blocks(ask):
    get_original("time", "sleep")(3)


def run(text, limit=5.0, blocked=pytest.fail):
    section = RawSection("server", "", "g.ini", 1, {"selftest": Value(text, "g.ini", 2)})
    lines = convert(tuple[SelfTestLine, ...], text, pytest.fail)
    ask = Ask(gateway, Trust(()), ServerSettings())
    reasons = SelfTest(lines, section, ask, user_code.place).run(blocked, limit)
    return [one.removeprefix("g.ini:") for one in reasons]


def gives_up(ask):
    with gevent.Timeout(0.01):
        ask("GET", "/slow")


def ends_itself(ask):
    raise gevent.GreenletExit


def fails_a_test(ask):
    pytest.fail("no users")


@pytest.fixture(autouse=True)
def checks(monkeypatch):
    found = types.ModuleType("checks")
    found.__dict__.update(fine=fine, false=says_false, waits=waits, blocks=blocks)
    found.__dict__.update(gives_up=gives_up, ends_itself=ends_itself, fails_a_test=fails_a_test)
    monkeypatch.setitem(sys.modules, "checks", found)


def test_what_passes_gives_no_reason():
    assert run("\nGET /fine 200\nGET /secret 200,401\nGET /broken 5xx\n\nchecks:fine") == []


def test_each_failure_has_its_line_and_what_came():
    assert run("GET /fine 200\nGET /fine 201-299, 404\n\nGET /broken 200\nchecks:false") == [
        "3: [server] selftest: GET /fine 201-299,404 answered 200; expected 201-299, 404",
        "5: [server] selftest: GET /broken 200 answered 500 (handler_error); expected 200",
        "6: [server] selftest: checks:false returned False",
    ]


def test_a_response_that_breaks_off_is_a_failure():
    (reason,) = run("GET /torn 200")
    assert reason.startswith("2: [server] selftest: GET /torn 200 failed: OSError: gone (")


def test_the_time_ends_all_lines():
    (reason,) = run("GET /slow 200\nGET /fine 404", limit=0.1)
    assert reason == "2: [server] selftest: GET /slow 200 did not finish within the 10 s of the self-test"
    (reason,) = run("checks:waits\nGET /fine 404", limit=0.1)
    line = waits.__code__.co_firstlineno + 1
    assert reason.endswith(f"checks:waits did not finish within the 10 s of the self-test ({__file__}:{line})")


def test_a_blocked_loop_is_reported_by_another_thread(monkeypatch):
    monkeypatch.setattr(module, "_MARGIN", 0.1)
    found = []
    run("checks:blocks", 0.1, lambda reasons: found.append((reasons, threading.get_ident())))
    ((reasons, _),) = found
    line = blocks.__code__.co_firstlineno + 1
    (reason,) = reasons
    assert "checks:blocks blocks the event loop, and did not finish within the 10 s of the self-test" in reason
    assert reason.endswith(f"({__file__}:{line})")


def test_what_is_no_exception_of_python_is_a_failure_too_and_the_other_lines_run():
    reasons = run("checks:gives_up\nchecks:ends_itself\nchecks:fails_a_test\nchecks:false")
    for reason, text in zip(
        reasons,
        ["failed: Timeout: 0.01 second", "failed: GreenletExit: ", "failed: Failed: no users", "returned False"],
        strict=True,
    ):
        assert text in reason
