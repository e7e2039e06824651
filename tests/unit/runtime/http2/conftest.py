"""A transport on a scripted channel, with a client's session at its other end."""

import socket

import gevent.socket
import pytest

from gproxy.http.field_names import FieldNames
from gproxy.http.h2.events import DataReceived, HeadReceived, StreamRejected
from gproxy.http.h2.frames import MAX_STREAM_ID
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.headers import Headers
from gproxy.runtime.http2.stream import HTTP2Stream
from gproxy.runtime.http2.transport import HTTP2Transport
from gproxy.testing.scripted_channel import ScriptedChannel

NO_NAMES = FieldNames(lambda name, plain: 0)


class Scene:
    """A server's transport, and the client that it serves.

    The client's windows are large unless a test asks for others; its kernel takes `takes` bytes at a time.
    """

    def __init__(self, takes=None, window=1 << 20, connection_window=1 << 20):
        self.scripted = ScriptedChannel(takes=takes)
        options = SessionOptions(initial_window=window, max_window=window, connection_window=connection_window)
        self.client = Session(CLIENT, options, NO_NAMES)
        self.session = Session(SERVER, SessionOptions(), NO_NAMES)
        self.transport = HTTP2Transport(self.scripted.backend, self.session)
        self._writable, self._far = socket.socketpair()
        self._seen = 0
        self.events = []
        self.client.start()
        self.session.start()
        self.transport.flush()
        self.pump()

    def pump(self):
        """Let the client take all that was sent and answer, and the transport read and send, until nothing moves."""
        while True:
            sent = self.scripted.sent
            fresh, self._seen = sent[self._seen :], len(sent)
            self.events += self.client.receive(fresh)
            self.say()
            self.turn()
            if len(self.scripted.sent) == self._seen and not self.client.has_output and not self.transport.backlog:
                return

    def say(self):
        """Let the transport read what the client has to say."""
        data = b"".join(self.client.take_output())
        if data:
            self.scripted.add(data)
            for event in self.transport.read():
                if isinstance(event, HeadReceived | StreamRejected):
                    HTTP2Stream(self.transport, event.stream)
                elif event.stream is not None:
                    event.stream.owner.on_event(event)

    def turn(self):
        """Let the loop run two turns: callbacks, and what is readable and writable."""
        for _ in range(2):
            self.wait_writable()

    def wait_writable(self):
        """Let the loop run one turn."""
        gevent.socket.wait_write(self._writable.fileno())

    def open(self, path="/", *, end=True, priority=None):
        """Return the server's end of a new stream, and the client's."""
        headers = Headers({"priority": priority} if priority else ())
        theirs = self.client.request("GET" if end else "POST", "http", "gateway.test", path, headers, end=end)
        self.say()
        ours = next(one for one in self.session.streams.values() if one.id == theirs.id)
        return ours.owner, theirs

    def content(self, stream):
        """Return what the client has received of a stream's content, and whether it has ended."""
        pieces = [one for one in self.events if isinstance(one, DataReceived) and one.stream is stream]
        return b"".join(one.data for one in pieces), any(one.ended for one in pieces)

    def order(self):
        """Return the ids of the streams whose DATA has come, one for each frame."""
        return [one.stream.id for one in self.events if isinstance(one, DataReceived) and one.data]

    def close(self):
        self.transport.close()
        self.scripted.close()
        self._writable.close()
        self._far.close()


@pytest.fixture
def scene():
    """Make scenes; they are closed at the end."""
    made = []

    def make(**options):
        made.append(Scene(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


__all__ = ["MAX_STREAM_ID", "Scene"]
