"""What our session and the library h2 make of the same bytes of a client. For the fuzz target and for a unit test.

The rule: frame by frame, both receive the same, until one of them objects. Then the other one objects too, except for
what we reject, or let pass, on purpose (`ours_alone_objects`, `theirs_alone_objects`).

How the bytes are split changes nothing: `changed_by_splitting` compares them whole and byte by byte.
"""

from typing import Any, Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from gproxy.http.field_names import HOP_BY_HOP, FieldNames
from gproxy.http.h2 import frames
from gproxy.http.h2.events import (
    DataReceived,
    GoAwayReceived,
    HeadReceived,
    SessionFailed,
    StreamMalformed,
    StreamRejected,
    StreamReset,
    TrailersReceived,
)
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.header_names import HOP_BY_HOP as HOP_BY_HOP_NAMES
from gproxy.http.headers import Headers

_NAMES: Final = FieldNames(lambda name, _: HOP_BY_HOP if name in HOP_BY_HOP_NAMES else 0)
#: What comes before the bytes that are compared.
START: Final = frames.PREFACE + frames.settings([]) + frames.SETTINGS_ACK
#: The streams that the client role has opened before its bytes.
OPENED: Final = 3

Event = tuple[Any, ...]


def session(role: int = SERVER) -> Session:
    """Return a session with the limits that h2 has by default, after its start."""
    options = SessionOptions(initial_window=65535, max_window=65535, connection_window=65535, max_streams=100)
    one = Session(role, options, _NAMES, lambda: 0.0)
    one.start()
    if role == CLIENT:
        for number in range(OPENED):
            one.request(["GET", "HEAD", "POST"][number], "https", "h", "/", Headers(), end=number < 2)
    one.take_output()
    one.receive(START if role == SERVER else START.removeprefix(frames.PREFACE))
    one.take_output()
    return one


def in_frames(data: bytes) -> list[bytes]:
    """Split the bytes into frames; the last one may be incomplete."""
    found = []
    while data:
        size = frames.HEAD + int.from_bytes(data[:3], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def described(event: Any) -> str:
    """Return an event as text, with what its head says."""
    head = getattr(event, "head", None)
    if head is None:
        return repr(event)
    start = getattr(head, "status", None) or f"{head.method} {head.target} {head.host} {head.protocol}"
    return f"{type(event).__name__} {event.stream.id} {start} {head.headers.items()} {getattr(event, 'ended', '')}"


def changed_by_splitting(data: bytes, role: int) -> str:
    """Empty if a session makes the same of the bytes at once, frame by frame, and byte by byte."""
    whole, parts, single = session(role), session(role), session(role)
    expected = [described(event) for event in whole.receive(data)], b"".join(whole.take_output())
    for one, pieces in ((parts, in_frames(data)), (single, [bytes([byte]) for byte in data])):
        events: list[str] = []
        for piece in pieces:
            events += [described(event) for event in one.receive(piece)]
        found = events, b"".join(one.take_output())
        if found != expected:
            return f"at once {expected}, in pieces {found}"
    return ""


def _pairs(pairs: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return the names with their values; cookies are joined, and the host is compared by itself."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    found.pop("host", None)
    if "cookie" in found:
        found["cookie"] = ["; ".join(value for value in found["cookie"] if value)]
    return sorted(found.items())  # h2 joins cookies at the end


class _Ours:
    """Our session as a server, one frame at a time."""

    def __init__(self) -> None:
        self.session = session()
        self.objection = ""

    def take(self, data: bytes) -> list[Event]:
        return [seen for event in self.session.receive(data) for seen in self._seen(event)]

    def _seen(self, event: object) -> list[Event]:
        match event:
            case HeadReceived():
                head = event.head
                pairs = [(name.lower(), value) for name, value in head.headers.items()]
                end = [("end", event.stream.id)] if event.ended else []
                return [("head", event.stream.id, head.method, head.target, head.host, _pairs(pairs)), *end]
            case DataReceived():
                end = [("end", event.stream.id)] if event.ended else []
                return [("data", event.stream.id, event.data), *end]
            case TrailersReceived():
                return [("trailers", event.stream.id, _pairs(event.pairs)), ("end", event.stream.id)]
            case StreamReset():
                return [("reset", event.stream.id)]
            case GoAwayReceived():
                return [("goaway", event.last_id, event.debug)]
            case SessionFailed() | StreamMalformed():
                self.objection = f"{frames.error_name(event.code)}: {event.detail}"
            case StreamRejected():
                self.objection = f"{event.error.status}: {event.error.detail}"
        return []


class _Theirs:
    """The library h2 as a server, one frame at a time."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.connection.receive_data(START)
        self.connection.clear_outbound_data_buffer()
        self.objection = ""

    def take(self, data: bytes) -> list[Event]:
        try:
            return [seen for event in self.connection.receive_data(data) for seen in self._seen(event)]
        except h2.exceptions.ProtocolError as error:
            self.objection = f"{type(error).__name__}: {error}"
            return []

    def _seen(self, event: object) -> list[Event]:
        match event:
            case h2.events.RequestReceived():
                fields = [(str(name), str(value)) for name, value in event.headers]
                pseudo = {name: value for name, value in fields if name.startswith(":")}
                pairs = [(name, value) for name, value in fields if not name.startswith(":")]
                host = pseudo.get(":authority") or dict(pairs).get("host", "")
                return [("head", event.stream_id, pseudo[":method"], pseudo.get(":path"), host, _pairs(pairs))]
            case h2.events.DataReceived():
                return [("data", event.stream_id, event.data)]
            case h2.events.TrailersReceived():
                return [
                    ("trailers", event.stream_id, _pairs([(str(name), str(value)) for name, value in event.headers]))
                ]
            case h2.events.StreamEnded():
                return [("end", event.stream_id)]
            case h2.events.StreamReset() if not event.remote_reset:
                self.objection = f"reset of stream {event.stream_id} with {event.error_code}"
            case h2.events.StreamReset():
                return [("reset", event.stream_id)]
            case h2.events.ConnectionTerminated():
                return [("goaway", (event.last_stream_id or 0) & 0x7FFFFFFF, event.additional_data or b"")]
        return []


class _Content:
    """The events of one side, with the content of each stream joined: we hold the piece that completes it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.content: dict[int, bytes] = {}

    def add(self, events: list[Event]) -> None:
        for event in events:
            if event[0] == "data":
                self.content[event[1]] = self.content.get(event[1], b"") + event[2]
            else:
                self.events.append(event)


class _Comparison:
    """Both sides, and what they have received so far."""

    def __init__(self) -> None:
        self.ours, self.theirs = _Ours(), _Theirs()
        self.our_seen, self.their_seen = _Content(), _Content()
        self.is_over = False

    def take(self, frame: bytes) -> str:
        """Give a frame to both; return where they differ, empty if all is well."""
        self.our_seen.add(self.ours.take(frame))
        self.their_seen.add(self.theirs.take(frame))
        ours, theirs = self.our_seen, self.their_seen
        if self.ours.objection or self.theirs.objection:
            self.is_over = True
            return self._judged(frame)
        if ours.events != theirs.events:
            return f"we received {ours.events}, h2 {theirs.events}"
        if ours.events and ours.events[-1][0] == "goaway":  # h2 takes nothing after it
            self.is_over = True
        differing = [
            one for one, content in ours.content.items() if not theirs.content.get(one, b"").startswith(content)
        ]
        return f"the content of streams {differing} differs" if differing else ""

    def _judged(self, frame: bytes) -> str:
        ours, theirs = self.ours.objection, self.theirs.objection
        if ours and not theirs and not ours_alone_objects(ours):
            return f"only we object: {ours}"
        if theirs and not ours and not theirs_alone_objects(theirs, frame, self.ours.session):
            return f"only h2 objects: {theirs}"
        return ""


def disagreement(data: bytes) -> str:
    """Empty if all is well."""
    for role in (SERVER, CLIENT):
        if changed := changed_by_splitting(data, role):
            return changed
    comparison = _Comparison()
    for frame in in_frames(data):
        if len(frame) < frames.HEAD or len(frame) < frames.HEAD + int.from_bytes(frame[:3], "big"):
            break  # h2 rejects some frames by their first bytes
        if problem := comparison.take(frame):
            return f"{frame!r}: {problem}"
        if comparison.is_over:
            break
    return ""


#: The beginnings of what we reject and h2 lets pass, each with its reason.
_OURS_ALONE: Final = (
    "PROTOCOL_ERROR: PRIORITY_UPDATE",  # h2 does not know RFC 9218
    "FRAME_SIZE_ERROR: PRIORITY_UPDATE",  # likewise
    "PROTOCOL_ERROR: a malformed field",  # h2 lets more characters pass
    "PROTOCOL_ERROR: no valid host",  # likewise
    "PROTOCOL_ERROR: the :path is no path",  # h2 rejects only an empty one
    "PROTOCOL_ERROR: SETTINGS: setting 9",  # likewise
    "PROTOCOL_ERROR: Content-Length promises",  # h2 compares a length with DATA frames only
    "PROTOCOL_ERROR: RST_STREAM on idle stream",  # RFC 9113 section 6.4 wants it
    "PROTOCOL_ERROR: HEADERS: the padding",  # h2 takes it off the priority
    "PROTOCOL_ERROR: HEADERS: a stream depends",  # h2 looks once the block is complete
    "PROTOCOL_ERROR: PUSH_PROMISE",  # h2 ignores it on some closed streams
    "PROTOCOL_ERROR: CONTINUATION without",  # likewise
    "STREAM_CLOSED: ",  # h2 answers some late frames by RST_STREAM
    "ENHANCE_YOUR_CALM: ",  # h2 has no budget
)
#: The types of frames that h2 parses and we ignore, from ALTSVC on.
_UNKNOWN: Final = 10


def ours_alone_objects(objection: str) -> bool:
    """Return whether we reject on purpose what h2 lets pass."""
    return objection.startswith(_OURS_ALONE) or objection[:3] in {"400", "414", "431", "501"}


def theirs_alone_objects(objection: str, frame: bytes, ours: Session) -> bool:
    """Return whether we let pass on purpose what h2 rejects.

    These are unknown frames, windows of closed streams, the reserved bit of a window, and padding that leaves nothing.
    """
    if frame[3] == frames.WINDOW_UPDATE and frame[9] & 0x80:
        return True
    if frame[3] == frames.HEADERS and "invalid padding" in objection:
        return True
    stream_id = int.from_bytes(frame[5:9], "big") & 0x7FFFFFFF
    is_late = stream_id != 0 and stream_id not in ours.streams
    return frame[3] >= _UNKNOWN or (frame[3] in {frames.WINDOW_UPDATE, frames.PRIORITY} and is_late)
