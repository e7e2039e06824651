"""A connection of HTTP/2 whose other end is a session in the role of the backend, without a thread."""

import socket
from contextlib import suppress

import gevent
import pytest

from gproxy.http.buffers import Buffers
from gproxy.http.field_names import FieldNames
from gproxy.http.h2.sender import SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.headers import Headers
from gproxy.testing import Clock
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http2.backend_stream import BackendStream
from gproxy.upstream.http2.connection import HTTP2Connection

_NAMES = FieldNames(lambda _name, _: 0)


def turn_until(condition):
    """Let the event loop turn until something holds."""
    for _ in range(1000):
        if condition():
            return
        gevent.sleep(0.00001)
    raise AssertionError("the event loop has turned in vain")


class Peer:
    """The backend's end: `event` waits for one of a kind, `respond`, `data` and others answer at once."""

    def __init__(self, sock, **options):
        self.sock = sock
        self.sock.setblocking(False)
        self.session = Session(SERVER, SessionOptions(**options), _NAMES)
        self.events = []
        self.is_closed = False

    def start(self):
        self.session.start()
        self.flush()

    def flush(self):
        with suppress(BrokenPipeError):
            self.sock.sendall(b"".join(self.session.take_output()))

    def look(self):
        """Take what has arrived."""
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.is_closed = self.is_closed or not data
        self.events += self.session.receive(data)
        if data and self.session.has_output:
            self.flush()

    def event(self, kind):
        """The next event of this class; earlier ones of other classes are dropped."""

        def is_there():
            self.look()
            while self.events and not isinstance(self.events[0], kind):
                self.events.pop(0)
            return bool(self.events)

        turn_until(is_there)
        return self.events.pop(0)

    def ended(self):
        """Whether the gateway has closed the connection."""
        self.look()
        return self.is_closed

    def respond(self, stream, status=200, *, end=False, **headers):
        fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
        self.session.respond(stream, status, fields, end=end)
        self.flush()

    def data(self, stream, data=b"", *, end=False):
        self.session.send_data(stream, data, end=end)
        self.flush()

    def reset(self, stream, code):
        self.session.reset(stream, code)
        self.flush()


class Socket:
    """What urllib3 closes; `protocol` is what the backend has chosen by ALPN."""

    ssl_context = None

    def __init__(self, sock, protocol="h2"):
        self.sock, self.protocol = sock, protocol
        self.is_closed = False

    def channel(self):
        return BackendChannel(self.sock)

    def close(self):
        self.is_closed = True
        self.sock.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pair():
    """Makes a socket of the gateway and the peer at its other end."""
    peers = []

    def make(protocol="h2", **options):
        near, far = socket.socketpair()
        near.setblocking(False)
        peer = Peer(far, **options)
        peers.append((peer, near))
        return Socket(near, protocol), peer

    yield make
    for peer, near in peers:
        peer.sock.close()
        near.close()


@pytest.fixture
def buffers():
    return Buffers(1000)


@pytest.fixture
def connected(pair, clock, buffers):
    """Makes an open connection and its peer; `changes` of the connection has a True for each call of `changed`."""
    made = []

    def make(**options):
        sock, peer = pair(**options)
        connection = HTTP2Connection(sock, sock.channel(), lambda _: None, is_tls=False, buffers=buffers, clock=clock)
        made.append(connection)
        connection.start()
        peer.start()
        turn_until(connection.settled.is_set)
        return connection, peer

    yield make
    for connection in made:
        connection.close()


def lease(connection, observe=None):
    connection.leases += 1
    return BackendStream(connection, "10.0.0.1:80", observe)


class Writer:
    """A writer of heads without the gateway's own fields."""

    def __init__(self, *pairs, target="/"):
        self._lines, self._target = [f"{name}: {value}" for name, value in [("Host", "a"), *pairs]], target

    def lines(self, request, authority):
        return self._lines

    def target(self, request):
        return self._target
