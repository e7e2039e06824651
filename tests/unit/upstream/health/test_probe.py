"""One probe's verdict."""

import re

import gevent
import pytest
from urllib3.exceptions import NewConnectionError

from gproxy.config.types import Seconds
from gproxy.http.errors import Incomplete
from gproxy.upstream.health.probe import Probe
from unit.upstream.health.probed import Backend, settings


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
