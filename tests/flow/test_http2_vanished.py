"""A backend that has vanished without a word: only PING shows it. This takes the time that it takes."""

import pytest
from http2_backend import HTTP2Backend

from gproxy.testing.gateway import RunningGateway

INI = """
[gateway]
timeout = 60s
[server]
workers = 1
[route:all]
path = /
upstream = all
[upstream:all]
backends = {backend}
http2 = yes
max_fails = 0
retries = 0
"""


@pytest.mark.timeout(60)
def test_requests_that_wait_for_a_backend_that_has_vanished_fail_within_seconds(tmp_path, stopwatch):
    def act(exchange):
        if exchange.path == "/wait":
            exchange.link.backend.is_deaf = True
        else:
            exchange.answer(b"here")

    with HTTP2Backend(act) as backend, RunningGateway(INI.replace("{backend}", backend.url), tmp_path) as gateway:
        assert gateway.get("/").body == b"here"
        with stopwatch, gateway.connect() as one, gateway.connect() as other:
            for wire in (one, other):
                wire.sock.settimeout(30)
                wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            assert [wire.read_response().status for wire in (one, other)] == [502, 502]
        assert 14 < stopwatch.seconds < 20
        assert gateway.line("/wait")["reason"] == "backend_reset"
        gateway.wait_for_line("did not answer a PING")
        backend.is_deaf = False
        assert gateway.get("/").body == b"here"
        assert len(backend.links) == 2
