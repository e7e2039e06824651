"""One probe's verdict, and how many verdicts in a row decide."""

import re
from types import SimpleNamespace

import gevent
import pytest
from urllib3.exceptions import NewConnectionError

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL, Seconds
from gproxy.http.errors import Incomplete
from gproxy.runtime import Runtime
from gproxy.testing import Clock
from gproxy.upstream.health.active import ActiveHealthCheck, Probe
from gproxy.upstream.health.state import BackendHealth
from gproxy.upstream.http1.response_head import parse_response_head


class Connection:
    """Answers with a status and the pieces of a body."""

    def __init__(self, status, pieces):
        self._status = status
        self._pieces = [*pieces, b""]
        self.is_closed = False

    def send_request(self, write_head, request, authority):
        self.head, self.path = write_head(request, authority), request.path
        if isinstance(self._status, BaseException):
            raise self._status
        return parse_response_head(f"HTTP/1.1 {self._status} X\r\nConnection: close\r\n\r\n".encode(), "GET")

    def receive_body(self, framing):
        return self._pieces.pop(0), SimpleNamespace(next_piece=lambda: self._pieces.pop(0))

    def close(self):
        self.is_closed = True


class Backend:
    """Dials a scripted connection, or fails to."""

    authority = "a.test:81"

    def __init__(self, status=200, *pieces, error=None):
        self.connection = Connection(status, pieces)
        self.error = error
        self.health = BackendHealth("unknown")

    def dial(self, timeout):
        self.timeout = timeout
        if self.error is not None:
            raise self.error
        return self.connection


def settings(**options):
    parsed = {"health_path": "/up", **options}
    return construct(UpstreamSettings, name="u", backends=(BackendURL("http", "a.test", 81),), **parsed)


@pytest.mark.parametrize(("status", "why_not"), [(200, ""), (399, ""), (400, "status 400"), (503, "status 503")])
def test_the_status_decides(status, why_not):
    backend = Backend(status)
    assert Probe(settings())(backend) == why_not
    assert backend.connection.is_closed


@pytest.mark.parametrize(
    ("error", "why_not"),
    [
        (NewConnectionError(None, "refused"), "connect_refused"),
        (ConnectionResetError(), "backend_reset"),
        (KeyError("x"), "KeyError"),
        (OSError(24, "too many open files"), None),
    ],
)
def test_what_dialling_raises_is_the_reason_but_a_shortage_is_none(error, why_not):
    assert Probe(settings())(Backend(error=error)) == why_not


def test_a_connection_is_closed_after_a_failure_too():
    backend = Backend(Incomplete("cut"))
    assert Probe(settings())(backend) == "backend_reset"
    assert backend.connection.is_closed


def test_a_probe_takes_health_timeout_at_most():
    backend = Backend()
    backend.dial = lambda timeout: gevent.sleep(60)
    assert Probe(settings(health_timeout=Seconds(0.001)))(backend) == "timeout"


@pytest.mark.parametrize(
    ("pieces", "why_not"),
    [
        ((b"all ", b"ready"), ""),
        ((b"not yet",), "body"),
        ((b"x" * 65536, b"ready"), "body"),
        ((b"x" * 65531, b"ready"), ""),
    ],
)
def test_the_beginning_of_the_body_is_searched(pieces, why_not):
    probe = Probe(settings())
    probe._body = re.compile(b"ready")
    assert probe(Backend(200, *pieces)) == why_not


@pytest.mark.parametrize(
    ("options", "host"),
    [({}, "a.test:81"), ({"host": "backend"}, "a.test:81"), ({"host": "own.test"}, "own.test"),
     ({"host": "own.test", "health_host": "health.test"}, "health.test")],
)  # fmt: skip
def test_the_head_of_a_probe(options, host):
    backend = Backend()
    Probe(settings(**options))(backend)
    assert backend.connection.head == (
        f"GET /up HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gproxy-health\r\nConnection: close\r\n\r\n".encode()
    )
    assert backend.connection.path == "/up"


class Checked:
    """A check whose verdicts are applied and recorded."""

    def __init__(self, **options):
        self.backend = Backend()
        self.marks = []
        runtime = Runtime(monotonic=Clock(100.0))
        self.check = ActiveHealthCheck(settings(**options), self.backend, self.mark, runtime)

    def mark(self, backend, passes, why):
        backend.health.mark_probe(passes, why)
        self.marks.append((passes, why))

    def judge(self, *verdicts):
        for why_not in verdicts:
            self.check.judge(why_not)
        found, self.marks = self.marks, []
        return found


def test_the_very_first_verdict_decides():
    assert Checked(fall=3).judge("timeout") == [(False, "timeout")]


def test_fall_failures_in_a_row_take_a_backend_out():
    some = Checked(fall=3)
    some.judge("")
    assert some.judge("timeout", "timeout") == []
    assert some.judge("") == [(True, "")]  # the row is broken
    assert some.judge("timeout", "timeout") == []
    assert some.judge("timeout") == [(False, "timeout")]


def test_rise_passes_in_a_row_bring_a_backend_back():
    some = Checked(rise=2)
    some.backend.health.mark_probe(True)
    some.backend.health.mark_probe(False, "timeout")
    assert some.judge("") == []
    assert some.judge("") == [(True, "")]


def test_a_started_check_probes_at_once_and_notes_when_the_next_one_is_due():
    some = Checked(health_interval=Seconds(10))
    some.check._runtime.random.seed(1)
    some.check.start()
    greenlet = some.check._greenlet
    some.check.start()
    assert some.check._greenlet is greenlet
    gevent.sleep(0)
    assert some.marks == [(True, "")]
    assert 109.0 <= some.backend.health.next_probe <= 111.0
    some.check.stop()
    assert greenlet.dead
