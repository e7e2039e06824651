"""A connection that serves HTTP/2 by prior knowledge in a greenlet, and a client's session in the test's own."""

import socket

import gevent.socket
import pytest

from gproxy.config.sections.server import ServerSettings
from gproxy.http.field_names import FieldNames
from gproxy.http.h2.events import DataReceived, HeadReceived, InterimReceived, StreamReset, TrailersReceived
from gproxy.http.h2.frames import PREFACE
from gproxy.http.h2.sender import CLIENT
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.headers import Headers
from gproxy.runtime import Runtime
from gproxy.server.connection import ClientConnection
from gproxy.server.context import H2C, ServerContext
from gproxy.server.http2.connection import HTTP2ClientConnection
from unit.server.conftest import ScriptedGateway


class AcceptingConnection(ClientConnection):
    """A connection whose `accept_request` is the scene's."""

    accept = None

    def accept_request(self, host, headers):
        return self.accept is None or self.accept(host, headers)


class Scene:
    """A connection and its client. `gateway.answer` answers; the client's windows are large unless a test asks."""

    def __init__(self, *, window=1 << 20, connection_window=1 << 20, speaks=True, **settings):
        self.gateway = ScriptedGateway()
        self.runtime = Runtime()
        protocols = {H2C: HTTP2ClientConnection}
        self.context = ServerContext.of(ServerSettings(**settings), self.gateway, self.runtime, protocols)
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        options = SessionOptions(initial_window=window, max_window=window, connection_window=connection_window)
        self.client = Session(CLIENT, options, FieldNames(lambda name, plain: 0))
        self.accept = lambda host, headers: True
        self.events = []
        self.is_closed = False
        self._serving = gevent.spawn(self._serve)
        self.client.start()
        self._speaks = speaks
        self.send_raw(b"" if speaks else PREFACE)

    def _serve(self):
        self.connection = AcceptingConnection(self._near, ("192.0.2.1", 5000), self.context)
        self.connection.accept = self._accept
        self.connection.handle()

    def _accept(self, host, headers):
        return self.accept(host, headers)

    def send(self):
        """Send what the client's session has to say."""
        data = b"".join(self.client.take_output())
        while data and self._speaks:
            gevent.socket.wait_write(self._far.fileno(), timeout=5)
            try:
                data = data[self._far.send(data) :]
            except OSError:
                return  # what the gateway has sent before it closed can be read all the same

    def mute(self):
        """Let the client send nothing any more, not even answers."""
        self._speaks = False

    def send_raw(self, data):
        """Send bytes that no session would send."""
        self.send()
        self._far.sendall(data)

    def request(self, method="GET", path="/", fields=(), *, body=None, end=None, protocol=""):
        """Open a stream, with a body that ends it; `end` is False for a body that goes on."""
        ends = body is None if end is None else end
        stream = self.client.request(
            method, "http", "gateway.test", path, Headers(fields), end=ends and body is None, protocol=protocol
        )
        if body is not None:
            self.client.send_data(stream, body, end=end is None or end)
        self.send()
        return stream

    @staticmethod
    def headers(fields=()):
        return Headers(fields)

    def read_until(self, is_enough):
        """Read until the condition holds, or the connection ends."""
        while not is_enough() and not self.is_closed:
            gevent.socket.wait_read(self._far.fileno(), timeout=5)
            data = self._far.recv(1 << 20)
            self.is_closed = not data
            self.events += self.client.receive(data)
            self.send()

    def of(self, stream, kind):
        """Return the events of a kind that have come for a stream."""
        return [one for one in self.events if one.stream is stream and isinstance(one, kind)]

    def is_over(self, stream):
        return any(one.ended for one in self.of(stream, HeadReceived) + self.of(stream, DataReceived)) or bool(
            self.of(stream, StreamReset) + self.of(stream, TrailersReceived)
        )

    def response(self, stream):
        """Read to the stream's end; return status, headers and content."""
        self.read_until(lambda: self.is_over(stream))
        heads = self.of(stream, HeadReceived)
        head = heads[0].head if heads else None
        return head.status if head else 0, head.headers if head else Headers(), self.content(stream)

    def content(self, stream):
        return b"".join(one.data for one in self.of(stream, DataReceived))

    def interim(self, stream):
        return [one.head.status for one in self.of(stream, InterimReceived)]

    def reset_code(self, stream):
        """Read until the stream is reset; return the code."""
        self.read_until(lambda: self.of(stream, StreamReset))
        return self.of(stream, StreamReset)[0].code

    def recorded(self, count=1):
        """Let the gateway finish so many exchanges; return status and reason of each."""
        self.until(lambda: len(self.gateway.recorded) >= count)
        return [(one.status, one.reason) for one in self.gateway.recorded]

    def until(self, is_so):
        """Let the loop turn until the condition holds."""
        for _ in range(1000):
            if is_so():
                return
            gevent.socket.wait_write(self._far.fileno(), timeout=5)
        raise AssertionError("the condition did not come true")

    def end_writing(self):
        """Let the gateway see the client's end; it may still send."""
        self._far.shutdown(socket.SHUT_WR)

    def close(self):
        self._far.close()
        self._serving.join(5)
        assert self._serving.ready()


@pytest.fixture
def scene():
    """Make scenes; at the end their clients leave, and the connections must end."""
    made = []

    def make(**options):
        made.append(Scene(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()
