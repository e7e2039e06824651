"""The retry budget under overload: how many attempts the backends get for so many requests."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[route:r]
upstream = u
[upstream:u]
backends = %s, %s
retry_on = 503
retries = 2
max_fails = 0
"""
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
CLIENTS = 20


def busy(seconds):
    """Return a script that always answers 503 after so many seconds."""

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            time.sleep(seconds)
            peer.send(BUSY)

    return script


@pytest.mark.parametrize(("seconds", "each"), [(0.0, 100), (0.1, 15)])
def test_overloaded_backends_get_a_fifth_more(tmp_path, seconds, each):
    with (
        Backend(busy(seconds)) as one,
        Backend(busy(seconds)) as two,
        RunningGateway(INI % (one.url, two.url), tmp_path) as gateway,
    ):

        def ask(_):
            with gateway.connect() as wire:
                for _ in range(each):
                    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert wire.read_response().status == 503

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(ask, range(CLIENTS)))
        took = time.monotonic() - began
        attempts, requests = len(one.requests) + len(two.requests), CLIENTS * each
        assert requests * 1.1 < attempts <= requests * 1.2 + 3 * (took + 1)
        eventually(lambda: "the retry budget is exhausted" in gateway.errors, "the warning")
