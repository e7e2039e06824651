"""The verdict of a probe by the health service of gRPC, and its messages."""

from types import SimpleNamespace

import pytest

from gproxy.http.headers import Headers
from gproxy.http.response import ResponseHead
from gproxy.upstream.health.grpc_probe import GRPCProbe, check_message
from gproxy.upstream.health.state import BackendHealth
from unit.upstream.backends import head
from unit.upstream.health.probed import settings

GRPC = [("content-type", "application/grpc")]
NO_SERVICE = "grpc-status 12: the backend has no health service (grpc.health.v1.Health)"
SERVING = b"\0\0\0\0\2\x08\1"


class Stream:
    """A stream of HTTP/2 that answers with a head, the pieces of a body, and trailers."""

    def __init__(self, head, pieces, trailers):
        self._head = head
        self._pieces = [*pieces, b""]
        self._trailers = trailers
        self.is_closed = False

    def send_request(self, write_head, request, authority):
        self.method, self.target = request.method, write_head.target(request)
        self.fields = dict(line.split(": ", 1) for line in write_head.lines(request, authority))
        self.body = request.body.buffer(1000)
        return self._head

    def receive_body(self, framing):
        if len(self._pieces) == 1:
            return b"", None
        rest = SimpleNamespace(next_piece=lambda: self._pieces.pop(0), trailers=self._trailers)
        return self._pieces.pop(0), rest

    def close(self):
        self.is_closed = True


class Backend:
    """Answers a probe."""

    authority = "a.test:81"

    def __init__(self, head, *pieces, trailers=(("grpc-status", "0"),)):
        self.connection = Stream(head, pieces, trailers)
        self.health = BackendHealth("unknown")

    def dial(self, timeout):
        return self.connection


def probe(**options):
    return GRPCProbe(settings(**{"http2": "yes", "health": "grpc", "health_path": None, **options}))


@pytest.mark.parametrize(
    ("pieces", "trailers", "why_not"),
    [
        ([SERVING], "0", ""),
        ([SERVING[:3], SERVING[3:]], "0", ""),
        ([b"\0\0\0\0\2\x08\2"], "0", "NOT_SERVING"),
        ([b"\0\0\0\0\2\x08\3"], "0", "SERVICE_UNKNOWN"),
        ([b"\0\0\0\0\2\x08\7"], "0", "status 7 of the service"),
        ([b"\0\0\0\0\0"], "0", "UNKNOWN"),
        ([SERVING], "5", "grpc-status 5: the backend does not know the service of health_service"),
        ([SERVING], "13", "grpc-status 13"),
        ([SERVING], None, "grpc-status missing"),
        ([b"\1\0\0\0\2\x08\1"], "0", "no message"),
        ([b"\0\0\0\0\3\x08\1"], "0", "no message"),
        ([b"\0\0\0\0\2\x10\1"], "0", "no message"),
        ([b"\0\0"], "0", "no message"),
    ],
)
def test_the_verdict(pieces, trailers, why_not):
    fields = [] if trailers is None else [("grpc-status", trailers)]
    backend = Backend(head(200, GRPC), *pieces, trailers=fields)
    assert probe()(backend) == why_not
    assert backend.connection.is_closed


@pytest.mark.parametrize(
    ("answer", "why_not"),
    [
        (head(200, [*GRPC, ("grpc-status", "12")]), NO_SERVICE),
        (head(200, [*GRPC, ("grpc-status", "0")]), "no message"),
        (head(404, [("content-type", "text/html")]), "status 404, and no gRPC"),
        (head(200), "status 200, and no gRPC"),
    ],
)
def test_a_response_that_is_only_a_head(answer, why_not):
    assert probe()(Backend(answer)) == why_not


def test_the_request():
    backend = Backend(head(200, GRPC), SERVING)
    assert probe(health_service="greeter.Greeter", health_headers={"X-A": "1"})(backend) == ""
    sent = backend.connection
    assert (sent.method, sent.target) == ("POST", "/grpc.health.v1.Health/Check")
    assert sent.body == b"\0\0\0\0\x11\x0a\x0fgreeter.Greeter"
    wanted = {"Host": "a.test:81", "Content-Type": "application/grpc", "TE": "trailers", "grpc-timeout": "1000000u"}
    assert {**wanted, "X-A": "1"}.items() <= sent.fields.items()


@pytest.mark.parametrize(
    ("service", "message"),
    [("", b""), ("a", b"\x0a\1a"), ("x" * 200, b"\x0a\xc8\1" + b"x" * 200)],
)
def test_the_message(service, message):
    assert check_message(service) == b"\0" + len(message).to_bytes(4, "big") + message


def test_a_backend_that_chooses_http1_is_unhealthy():
    class HTTP1(Stream):
        def send_request(self, write_head, request, authority):
            write_head(request, authority)

    backend = Backend(ResponseHead(200, "", Headers(), 0))
    backend.connection = HTTP1(None, (), ())
    assert probe()(backend) == "backend_protocol"
    assert backend.connection.is_closed
