"""What a session has received: one object for each thing that its user acts on, in the order of the bytes."""

from gproxy.http.errors import BadMessage
from gproxy.http.h2.fields import RequestHead
from gproxy.http.h2.stream import Stream
from gproxy.http.response import ResponseHead


class Event:
    """Anything received; `stream` is None for what concerns the connection."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __repr__(self) -> str:
        names = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        shown = [f"{name}={getattr(self, name)!r}" for name in names if name != "stream"]
        return f"{type(self).__name__}({self.stream.id if self.stream else 0}{''.join(f', {one}' for one in shown)})"


class HeadReceived(Event):
    """A request's head, or the final head of a response; `ended`: without a body."""

    __slots__ = ("ended", "head")

    def __init__(self, stream: Stream, head: RequestHead | ResponseHead, ended: bool) -> None:
        self.stream = stream
        self.head = head
        self.ended = ended


class InterimReceived(Event):
    """The head of a 1xx response."""

    __slots__ = ("head",)

    def __init__(self, stream: Stream, head: ResponseHead) -> None:
        self.stream = stream
        self.head = head


class DataReceived(Event):
    """A piece of the content; empty only where it `ended`. Its user calls `Session.consumed` for the bytes it read."""

    __slots__ = ("data", "ended")

    def __init__(self, stream: Stream, data: bytes, ended: bool) -> None:
        self.stream = stream
        self.data = data
        self.ended = ended


class TrailersReceived(Event):
    """The fields after the content; they end it."""

    __slots__ = ("pairs",)

    def __init__(self, stream: Stream, pairs: list[tuple[str, str]]) -> None:
        self.stream = stream
        self.pairs = pairs


class StreamReset(Event):
    """An RST_STREAM of the peer, or a GOAWAY that excludes the stream (code REFUSED_STREAM: nothing was done).

    A server drops what it has not read of an incomplete request: the session has returned its window. What has come of
    a response may yet be read.
    """

    __slots__ = ("code",)

    def __init__(self, stream: Stream, code: int) -> None:
        self.stream = stream
        self.code = code


class StreamMalformed(Event):
    """A fault of the peer that ends one stream; the session has sent RST_STREAM with the code.

    The stream has an owner only if its head came before. Unread content is treated as after StreamReset.
    """

    __slots__ = ("code", "detail", "line")

    def __init__(self, stream: Stream, code: int, detail: str, line: tuple[str, str, str]) -> None:
        self.stream = stream
        self.code = code
        self.detail = detail
        #: Method, path and protocol of the request as far as they are readable; for the log.
        self.line = line


class StreamRejected(Event):
    """A well-formed request that gets an error response. The stream counts until `Session.ended`, like any other."""

    __slots__ = ("ended", "error")

    def __init__(self, stream: Stream, error: BadMessage, ended: bool) -> None:
        self.stream = stream
        self.error = error
        self.ended = ended


class WindowOpened(Event):
    """A window for sending that was used up and is no longer; None: that of the connection."""

    __slots__ = ()

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream


class SettingsReceived(Event):
    """SETTINGS of the peer; the session has taken them over."""

    __slots__ = ()

    def __init__(self) -> None:
        self.stream = None


class PingAcknowledged(Event):
    """The answer to a PING of ours."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.stream = None
        self.data = data


class GoAwayReceived(Event):
    """The peer's GOAWAY: it acts on no stream of ours above `last_id`. StreamReset follows for each of these."""

    __slots__ = ("code", "debug", "last_id")

    def __init__(self, last_id: int, code: int, debug: bytes) -> None:
        self.stream = None
        self.last_id = last_id
        self.code = code
        self.debug = debug


class SessionFailed(Event):
    """The end of the connection by a fault of the peer: GOAWAY with the code is in the output. The last event."""

    __slots__ = ("code", "detail")

    def __init__(self, code: int, detail: str) -> None:
        self.stream = None
        self.code = code
        self.detail = detail
