"""A client of HTTP/2 whose windows, priorities and resets a test decides."""

import socket
from contextlib import suppress

from gproxy.http.field_names import FieldNames
from gproxy.http.h2.events import (
    DataReceived,
    GoAwayReceived,
    HeadReceived,
    InterimReceived,
    StreamReset,
    TrailersReceived,
)
from gproxy.http.h2.frames import CANCEL
from gproxy.http.h2.sender import CLIENT
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.headers import Headers
from gproxy.testing.gateway import PATIENCE


class StreamClient:
    """A connection by prior knowledge, or on a socket that has chosen HTTP/2. `take` alone gives window back."""

    def __init__(self, port, *, window=65535, connection_window=65535, sock=None):
        self._sock = sock or socket.create_connection(("127.0.0.1", port), PATIENCE)
        options = SessionOptions(initial_window=window, max_window=window, connection_window=connection_window)
        self.session = Session(CLIENT, options, FieldNames(lambda name, plain: 0))
        self.session.start()
        self.events = []
        self.is_closed = False
        self.send()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._sock.close()

    def send(self):
        with suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(b"".join(self.session.take_output()))

    def request(self, path="/", *fields, method="GET", body=None, end=True, host="gateway.test"):
        """Open a stream; with a body, `end` says whether it is complete."""
        stream = self.session.request(method, "http", host, path, Headers(fields), end=end and body is None)
        if body:
            self.upload(stream, body, end=end)
        self.send()
        return stream

    def upload(self, stream, data, *, end):
        """Send content as the windows allow."""
        while True:
            if data:
                self.read_until(lambda: self.session.sendable(stream))
            size = min(len(data), self.session.sendable(stream))
            piece, data = data[:size], data[size:]
            self.session.send_data(stream, piece, end=end and not data)
            self.send()
            if not data:
                return

    def take(self, stream, size):
        """Read so many bytes of a stream's content: its window grows by them."""
        self.session.consumed(stream, size)
        self.send()

    def reset(self, stream):
        self.session.reset(stream, CANCEL)
        self.send()

    def read_until(self, is_enough):
        """Read until the condition holds. Raises AssertionError if the connection ends before."""
        while not is_enough():
            assert not self.is_closed, "the connection has ended"
            self.read()

    def read(self):
        data = self._sock.recv(65536)
        self.is_closed = not data
        self.events += self.session.receive(data)
        self.send()

    def of(self, stream, kind):
        return [one for one in self.events if one.stream is stream and isinstance(one, kind)]

    def content(self, stream):
        return b"".join(one.data for one in self.of(stream, DataReceived))

    def head(self, stream):
        self.read_until(lambda: self.of(stream, HeadReceived))
        return self.of(stream, HeadReceived)[0].head

    def interim(self, stream):
        return [one.head.status for one in self.of(stream, InterimReceived)]

    def goaways(self):
        return [one for one in self.events if isinstance(one, GoAwayReceived)]

    def is_over(self, stream):
        ended = [one for one in self.of(stream, HeadReceived) + self.of(stream, DataReceived) if one.ended]
        return bool(ended or self.of(stream, StreamReset) or self.of(stream, TrailersReceived))

    def response(self, stream):
        """Read to the end of the stream, taking all content; return the status and the content."""
        taken = 0
        while not self.is_over(stream):
            assert not self.is_closed, "the connection has ended"
            self.read()
            size = len(self.content(stream))
            self.take(stream, size - taken)
            taken = size
        heads = self.of(stream, HeadReceived)
        return heads[0].head.status if heads else 0, self.content(stream)

    def reset_code(self, stream):
        self.read_until(lambda: self.of(stream, StreamReset))
        return self.of(stream, StreamReset)[0].code
