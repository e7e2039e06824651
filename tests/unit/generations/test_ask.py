"""`ask`: what the gateway gets of it, and what it returns of a response."""

import pytest

from gproxy.config.sections.server import ServerSettings
from gproxy.generations.ask import Ask
from gproxy.http.errors import BadMessage
from gproxy.http.response import Response
from gproxy.http.trust import Trust
from gproxy.runtime.served import served_request


class Gateway:
    """A gateway that keeps its requests, and returns what the test wants."""

    def __init__(self):
        self.requests = []
        self.response = Response(200, b"fine")
        self.ended = 0

    def __call__(self, request):
        assert served_request() is request
        request.at_end(self.end)
        self.requests.append(request)
        return self.response

    def end(self):
        self.ended += 1


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def ask(gateway):
    return Ask(gateway, Trust(()), ServerSettings())


def test_a_request_is_that_of_a_client_on_this_machine(ask, gateway):
    response = ask("GET", "/users/1?a=b", {"X-A": "b"})
    (request,) = gateway.requests
    assert (request.method, request.path, request.query, request.host) == ("GET", "/users/1", "a=b", "localhost")
    assert (request.client, request.scheme, request.headers["X-A"]) == ("127.0.0.1", "http", "b")
    assert (response.status, response.read()) == (200, b"fine")
    assert gateway.ended == 1


def test_a_url_gives_host_and_scheme(ask, gateway):
    ask("GET", "https://a.example/b", {"Host": "other"})
    (request,) = gateway.requests
    assert (request.host, request.scheme, request.path, request.headers["Host"]) == (
        "a.example",
        "https",
        "/b",
        "a.example",
    )


def test_a_body_arrives_with_its_length(ask, gateway):
    ask("POST", "/", body=b"question")
    (request,) = gateway.requests
    assert (request.body.read(), request.body.length) == (b"question", 8)


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/a b"), ("G T", "/"), ("GET", "/\r\nX: y"), ("CONNECT", "a:1")]
)
def test_what_no_client_can_send_raises(ask, method, target):
    with pytest.raises(BadMessage):
        ask(method, target)


def test_a_streamed_body_is_read_and_closed_and_its_fields_stay(ask, gateway):
    closed = []
    gateway.response = Response(200, iter([b"a", bytearray(b"b")]), {"Content-Length": "2"})
    gateway.response.on_close(lambda: closed.append(True))
    response = ask("GET", "/")
    assert (response.read(), response.headers["Content-Length"], closed) == (b"ab", "2", [True])


def test_a_body_that_breaks_off_raises_and_is_closed(ask, gateway):
    def body():
        yield b"a"
        raise OSError("gone")

    closed = []
    gateway.response = Response(200, body())
    gateway.response.on_close(lambda: closed.append(True))
    with pytest.raises(OSError, match="gone"):
        ask("GET", "/")
    assert closed == [True]
    assert gateway.ended == 1


def test_a_body_without_end_is_not_kept(ask, gateway):
    gateway.response = Response(200, (bytes(2**20) for _ in range(20)))
    with pytest.raises(ValueError, match="longer than 16777216 bytes"):
        ask("GET", "/big")
    gateway.response = Response(200, (bytes(2**20) for _ in range(20)))
    response, _ = ask.exchange("GET", "/big", is_kept=False)
    assert response.read() == b""


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_a_body_has_none(ask, gateway, method, status):
    gateway.response = Response(status, iter([b"a"]))
    assert ask(method, "/").read() == b""
