"""The time account of a watched request: Server-Timing for a client with the token, and the log field `handlers`."""

import re
import time

import pytest

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway

TOKEN = "timing-token-of-16-bytes"
#: The milliseconds that rounded figures may differ by.
ROUNDED = 1
HANDLERS = """
import time
def slow(request, next):
    began = time.monotonic()
    time.sleep(0.05)
    called = time.monotonic()
    response = next(request)
    returned = time.monotonic()
    time.sleep(0.05)
    response.headers["X-Next"] = f"{1000 * (returned - called)}"
    response.headers["X-Own"] = f"{1000 * (time.monotonic() - returned + called - began)}"
    return response
def quick(request, next):
    return next(request)
"""
INI = f"""
[log]
fields = default, handlers
[trace]
timing_token = {TOKEN}
[gateway]
handlers = quick
timeout = 10s
[handler:slow]
use = mine:slow
[handler:quick]
use = mine:quick
[route:slow]
path = /slow
upstream = app
handlers = slow
[route:all]
path = /
upstream = app
[upstream:app]
backends = http://127.0.0.1:PORT
retries = 2
retry_on = connect, reset
"""


def parts_of(answer):
    """The parts in Server-Timing, in milliseconds."""
    return {name: float(took) for name, took in re.findall(r"([\w.]+);dur=([0-9.]+)", answer["server-timing"] or "")}


def answer_after(seconds, **kind):
    """A script that answers each request after so many seconds."""
    inner = answering(**kind)

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            time.sleep(seconds)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer-Timing: db;dur=5\r\n\r\nhi")

    return script if seconds else inner


@pytest.fixture(scope="module")
def backend():
    with Backend(answer_after(0.1)) as backend:
        yield backend


@pytest.fixture(scope="module")
def running(tmp_path_factory, backend):
    folder = tmp_path_factory.mktemp("account")
    (folder / "mine.py").write_text(HANDLERS)
    with RunningGateway(INI.replace("PORT", str(backend.port)), folder) as gateway:
        yield gateway


def test_with_the_token_the_parts_add_up_to_the_total(running):
    began = time.monotonic()
    answer = running.get("/slow", f"X-Gproxy-Timing: {TOKEN}")
    waited = (time.monotonic() - began) * 1000
    parts = parts_of(answer)
    own, called = float(answer["x-own"]), float(answer["x-next"])  # as the handler has measured
    total = parts.pop("total")
    assert sum(parts.values()) == pytest.approx(total, rel=0.05)
    assert own + called - ROUNDED <= total <= waited + ROUNDED
    assert own - ROUNDED <= parts["slow"] <= total - called + ROUNDED
    assert 100 - ROUNDED <= parts["backend"] <= called + ROUNDED
    assert parts["quick"] <= total - own - called + ROUNDED
    assert list(parts)[:2] == ["quick", "slow"], "the outermost handler first"


def test_the_lines_of_the_backend_stay_behind(running):
    value = running.get("/", f"X-Gproxy-Timing: {TOKEN}")["server-timing"]
    assert value.startswith("total;dur=")
    assert value.endswith(", db;dur=5")
    assert 'desc="app"' in value
    assert "127.0.0.1" not in value


@pytest.mark.parametrize(
    "header", ["X-Other: 1", "X-Gproxy-Timing: wrong", f"X-Gproxy-Timing: {TOKEN}x", "X-Gproxy-Timing:"]
)
def test_without_the_token_there_is_only_what_the_backend_sends(running, header):
    assert running.get("/", header)["server-timing"] == "db;dur=5"


def test_the_token_never_reaches_the_backend(running, backend):
    for name in ("X-Gproxy-Timing", "x_gproxy_timing", "X-GPROXY-TIMING"):
        running.get("/seen", f"{name}: {TOKEN}")
    heads = [request.head.lower() for request in backend.requests]
    assert heads
    assert not [head for head in heads if b"gproxy-timing" in head or b"gproxy_timing" in head]


def test_the_access_line_of_a_watched_request_has_its_handlers(running):
    running.get("/slow/line", f"X-Gproxy-Timing: {TOKEN}")
    running.get("/slow/plain")
    assert re.fullmatch(r"quick=\d+\.\dms,slow=\d{2,3}\.\dms", running.line("/slow/line")["handlers"])
    assert running.line("/slow/plain").get("handlers", "-") in {"-", ""}
