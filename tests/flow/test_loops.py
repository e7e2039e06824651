"""A backend that leads back to the gateway: the request is rejected when it comes back for the first time."""

import pytest

from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway

ITSELF = """
[server]
bind = 127.0.0.1:8080
[route:r]
upstream = itself
[upstream:itself]
backends = http://127.0.0.1:{port}
retries = 3
retry_on = 503
"""


class SelfAsking(RunningGateway):
    """A gateway whose settings name its own port."""

    def __init__(self, folder, *arguments):
        super().__init__(ITSELF, folder, *arguments)
        self.config.write_text(ITSELF.replace("{port}", str(self.port)))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_gateway_that_is_its_own_backend_answers_508(tmp_path, workers):
    """Whichever worker gets it, and over one connection more than once."""
    with SelfAsking(tmp_path, "--workers", workers) as gateway, gateway.connect() as wire:
        gateway.wait_for_line("is this gateway")
        for _ in range(3):
            wire.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response()
            assert (answer.status, answer["proxy-status"]) == (508, "gproxy; error=proxy_loop_detected")
        lines = gateway.access(6)
        assert len(lines) == 6
        # Two workers write their lines in any order.
        assert sorted((line["status"], line["reason"]) for line in lines) == 3 * [("508", "-")] + 3 * [("508", "loop")]


def test_another_gateway_is_no_loop(tmp_path, protocol):
    """Each has an id of its own, also from the same folder."""
    ini = "[route:r]\nupstream = u\n[upstream:u]\nbackends = %s\n"
    with Actor() as backend, RunningGateway(ini % backend.url, tmp_path) as inner:
        with RunningGateway(ini % f"http://127.0.0.1:{inner.port}", tmp_path) as outer:
            assert outer.get("/a").status == 200
        (request,) = backend.requests
        first, second = request["via"].split(", ")
        assert first.startswith("2.0 gproxy-" if protocol == "http2" else "1.1 gproxy-")
        assert second.startswith("1.1 gproxy-")
        assert first != second


def test_the_id_survives_a_reload(tmp_path):
    ini = "[route:r]\nupstream = u\n[upstream:u]\nbackends = %s\n"
    with Actor() as backend, RunningGateway(ini % backend.url, tmp_path) as gateway:
        gateway.get("/a")
        gateway.signal(1)
        gateway.wait_for_line("reloaded: ")
        gateway.get("/b")
        before, after = [request["via"] for request in backend.requests]
        assert before == after
