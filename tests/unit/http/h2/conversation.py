"""A session and its peer without a socket: what the tests of this folder share."""

import h2.config
import h2.connection
import hpack

from gproxy.http.buffers import Buffers
from gproxy.http.field_names import HOP_BY_HOP, FieldNames
from gproxy.http.h2 import frames
from gproxy.http.h2.events import Event
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.header_names import HOP_BY_HOP as HOP_BY_HOP_NAMES
from gproxy.http.headers import Headers
from unit.http.h2.test_frames import parsed

NAMES = FieldNames(lambda name, _: HOP_BY_HOP if name in HOP_BY_HOP_NAMES else 0)
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]
OK = [(":status", "200")]


def frame(kind, stream_id=0, payload=b"", flags=0):
    return frames.frame(kind, flags, stream_id, payload)


def data(stream_id, content=b"", *, end=False, padding=None):
    flags = frames.END_STREAM if end else 0
    if padding is None:
        return frame(frames.DATA, stream_id, content, flags)
    return frame(frames.DATA, stream_id, bytes([padding]) + content + bytes(padding), flags | frames.PADDED)


class Peer:
    """One side of a connection, our session under test, and raw frames for it; its clock is moved by the test."""

    def __init__(self, role=SERVER, settings=(), *, acknowledge=True, buffers=0, **options):
        self.now = 100.0
        self.buffers = Buffers(buffers)
        self.session = Session(role, SessionOptions(**options), NAMES, lambda: self.now, self.buffers)
        self.session.start()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.taken()
        start = frames.PREFACE if role == SERVER else b""
        self.send(start + frames.settings(list(settings)) + (frames.SETTINGS_ACK if acknowledge else b""))
        self.taken()

    def send(self, *data) -> list[Event]:
        return self.session.receive(b"".join(data))

    def taken(self):
        """Return the frames that the session has sent since, as hyperframe reads them."""
        return parsed(b"".join(self.session.take_output()).removeprefix(frames.PREFACE))

    def headers(self, stream_id, fields=GET, *, end=True):
        return frames.headers_frames(stream_id, self.encoder.encode(fields), end=end)

    def open(self, stream_id, fields=POST, *, end=False):
        """Send a head; return its stream."""
        (event,) = self.send(self.headers(stream_id, fields, end=end))
        return event.stream

    def request(self, method="GET", *, end=True):
        """As a client: open a stream."""
        stream = self.session.request(method, "https", "example.com", "/", Headers(), end=end)
        self.taken()
        return stream

    def answer(self, stream, content=b"x"):
        self.session.respond(stream, 200, Headers(), end=not content)
        self.session.send_data(stream, content, end=True)

    def names(self, *data):
        """Return the names of the events of these frames."""
        return [type(event).__name__ for event in self.send(*data)]


def client(**options):
    return Peer(CLIENT, **options)


def failure(peer, *data):
    """Return the code with which these frames end the session; None if they do not. Nothing is received afterwards."""
    events = peer.send(*data)
    if peer.session.failure is None:
        return None
    assert events[-1] is peer.session.failure
    last = peer.taken()[-1]
    assert (type(last).__name__, last.error_code) == ("GoAwayFrame", events[-1].code)
    assert peer.send(frames.ping(b"12345678")) == []
    assert not peer.session.has_output
    return events[-1].code


def resets(peer):
    """Return the streams that the session has reset since, with their codes."""
    return [(one.stream_id, one.error_code) for one in peer.taken() if type(one).__name__ == "RstStreamFrame"]


def updates(peer):
    """Return the windows that the session has given back since, by stream."""
    found = {}
    for one in peer.taken():
        if type(one).__name__ == "WindowUpdateFrame":
            found[one.stream_id] = found.get(one.stream_id, 0) + one.window_increment
    return found


def other_side(role, **options):
    """Return a connection of the library h2 in the role that faces ours."""
    config = h2.config.H2Configuration(client_side=role == SERVER, header_encoding="utf-8", **options)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    return connection
