"""Handlers that ask from greenlets of their own: several at once, or without waiting for the answer."""

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway, eventually

HANDLERS = """
import gevent

def both(request, next):
    request.body.buffer(1000)
    parts = [gevent.spawn(next, request) for _ in range(2)]
    gevent.joinall(parts)
    response = parts[0].value
    response.body = b"+".join(part.value.read() for part in parts)
    response.headers["X-From"] = request.backend
    return response

def shadow(request, next):
    gevent.spawn(next, request)
    from gproxy import Response
    return Response(200, b"at once")
"""

INI = """
[gateway]
handlers = health
timeout = 700ms
[route:both]
path = /both
upstream = one
handlers = both
[route:shadow]
path = /shadow
upstream = one
handlers = shadow
[handler:both]
use = mine:both
[handler:shadow]
use = mine:shadow
[upstream:one]
backends = {url}
"""


def script(peer, backend):
    while (request := peer.read_request()) is not None:
        backend.requests.append(request)
        if "/hang" in request.line:
            peer.read_all()
            return
        body = b"<" + request.body + b">"
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_they_neither_hang_nor_keep_their_leases_nor_disturb_the_connection(tmp_path):
    (tmp_path / "mine.py").write_text(HANDLERS)
    with Backend(script) as backend, RunningGateway(INI.format(url=backend.url), tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send("POST /both HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            answer = wire.read_response()
            assert (answer.body, answer["x-from"]) == (b"<abc>+<abc>", f"127.0.0.1:{backend.port}")
            wire.send("GET /both/hang HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 504
            wire.send("GET /shadow/hang HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().body == b"at once"
            eventually(lambda: "/shadow/hang" in backend.requests[-1].line, "the shadow at the backend")
            eventually(lambda: gateway.health()["upstreams"]["one"][0]["active"] == 0, "the shadow's lease")
            wire.send("POST /both HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")  # the same connection lives on
            assert wire.read_response().body == b"<x>+<x>"
