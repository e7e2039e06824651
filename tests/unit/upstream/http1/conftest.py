"""A connection to a backend whose every byte is scripted, and requests of scripted clients."""

import gevent
import pytest

from gproxy.http.body import Body
from gproxy.http.framing import LengthReader
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request, request
from gproxy.upstream.http1.connection import HTTP1Connection
from unit.upstream.backends import send

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Socket:
    """What urllib3 closes."""

    def __init__(self):
        self.is_closed = False

    def close(self):
        self.is_closed = True


@pytest.fixture
def backend(scripted):
    """A connection to a backend with this script, and the script's channel."""

    def make(*script, observe=None, **options):
        peer = scripted(*script, **options)
        return HTTP1Connection(Socket(), peer.backend, "10.0.0.1:80", observe), peer

    return make


@pytest.fixture
def idle(backend):
    """A connection that is idle after one exchange, to a backend that goes on with this script."""

    def make(*script, **options):
        connection, peer = backend(NO_CONTENT, **options)
        send(connection, HEAD, request())
        connection.become_idle(100.0)
        peer.add(*script)
        return connection, peer

    return make


def with_client(client, body=None, minor=1):
    """A request that came from this client."""
    asked = request("POST")
    if minor == 0:
        old = Received("GET", "/", 0, Headers(), "192.0.2.1")
        asked = Request(old, asked.headers, "a", "/", "")
    asked.client_stream = client.client
    asked.client_stream.deadline = asked.deadline
    if body is not None:
        asked.body = body
    return asked


def turn_until(condition):
    """Let the event loop turn until something holds; `sleep(0)` would run callbacks only, and look at no socket."""
    for _ in range(1000):
        if condition():
            return
        gevent.sleep(0.00001)
    raise AssertionError("the event loop has turned in vain")


def upload(client, length, **options):
    return Body(reader=LengthReader(client.client, length), length=length, **options)
