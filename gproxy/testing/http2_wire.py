"""A connection for tests that is written and read as HTTP/1.1 and speaks HTTP/2: one test serves both protocols."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Final

from gproxy.http.field_names import HOP_BY_HOP, FieldNames
from gproxy.http.h2.events import (
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    SessionFailed,
    StreamMalformed,
    StreamReset,
    TrailersReceived,
)
from gproxy.http.h2.frames import CANCEL
from gproxy.http.h2.session import CLIENT, Session, SessionOptions
from gproxy.http.h2.stream import Stream
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.response import PHRASES, ResponseHead
from gproxy.testing.gateway import PATIENCE, Wire

#: Fields of an HTTP/1.1 connection. `te` stays if it names trailers.
_HOP_BY_HOP: Final = frozenset({
    "connection", "host", "http2-settings", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
})  # fmt: skip

Fields = list[tuple[str, str]]


class NotHTTP2Error(ValueError):
    """Bytes of HTTP/1.1 that say something for which HTTP/2 has no words."""


class _Head:
    """The head of a request as the test has written it."""

    def __init__(self, text: str) -> None:
        line, *lines = text.split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or words[2] != "HTTP/1.1" or words[0] == "CONNECT":
            raise NotHTTP2Error(f"request line {line!r}")
        self.method, self.target, _ = words
        self._fields: Fields = [_field(one) for one in lines]
        self.authority = self.value("host")
        self._options = {option.strip().lower() for option in self.value("connection").split(",")}
        self.is_chunked = self.value("transfer-encoding").lower() == "chunked"
        self.length = int(self.value("content-length") or 0)
        self.closes = "close" in self._options
        is_upgrade = "upgrade" in self._options and self.value("upgrade").lower() == "websocket"
        self.protocol = "websocket" if is_upgrade else ""

    def value(self, name: str) -> str:
        """Return the value of a field that comes once at most; empty without it."""
        found = [value for key, value in self._fields if key == name]
        if len(found) > 1:
            raise NotHTTP2Error(f"repeated {name}")
        return found[0] if found else ""

    def fields(self) -> Fields:
        """Return the fields that are the request's own."""
        gone = _HOP_BY_HOP | self._options
        kept = [field for field in self._fields if field[0] not in gone]
        return [*kept, ("te", "trailers")] if "trailers" in self.value("te") else kept


def _judge(key: str, _plain: str) -> int:
    """Return the uses of a field of a response: those of a connection are malformed."""
    return HOP_BY_HOP if key in RESPONSE_HOP_BY_HOP else 0


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or name != name.strip():
        raise NotHTTP2Error(f"field {line!r}")
    return name.lower(), value.strip(" \t")


class _Exchange:
    """A request and the bytes of its response that the test has not read yet."""

    def __init__(self, head: _Head) -> None:
        self.method = head.method
        self.is_tunnel = bool(head.protocol)
        self.closes = head.closes or self.is_tunnel
        self.output = bytearray()
        self.is_chunked = False
        self.is_over = False
        #: True if the response broke off, or if nothing of the request is read any longer.
        self.is_reset = False

    @property
    def has_news(self) -> bool:
        """True if there are bytes to read, or no more will come."""
        return bool(self.output) or self.is_over or self.is_reset

    def take(self, event: Event) -> None:
        """Append what an event says in HTTP/1.1."""
        if isinstance(event, InterimReceived):
            self.output += _head_bytes(event.head.status, event.head.headers.items())
        elif isinstance(event, HeadReceived) and isinstance(event.head, ResponseHead):
            self._begin(event.head.status, list(event.head.headers.items()), ended=event.ended)
        elif isinstance(event, DataReceived):
            self._add(event.data, ended=event.ended)
        elif isinstance(event, TrailersReceived):
            self.output += b"0\r\n" + _lines(event.pairs) + b"\r\n" if self.is_chunked else b""
            self.is_over = True
        elif isinstance(event, StreamReset):
            self.is_reset = True

    def _begin(self, status: int, fields: Fields, *, ended: bool) -> None:
        if self.is_tunnel and status == 200:
            status, fields = 101, [*fields, ("connection", "Upgrade"), ("upgrade", "websocket")]
        elif self.method != "HEAD" and status not in (204, 304) and "content-length" not in dict(fields):
            self.is_chunked = not ended
            fields.append(("transfer-encoding", "chunked") if self.is_chunked else ("content-length", "0"))
        self.output += _head_bytes(status, fields)
        self.is_over = ended

    def _add(self, data: bytes, *, ended: bool) -> None:
        if data:
            self.output += b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data
        if ended:
            self.output += b"0\r\n\r\n" if self.is_chunked else b""
            self.is_over = True


def _head_bytes(status: int, fields: "Fields") -> bytes:
    return f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() + _lines(fields) + b"\r\n"


def _lines(fields: "Fields") -> bytes:
    names = ("-".join(part.capitalize() for part in name.split("-")) for name, _ in fields)
    lines = (f"{name}: {value}\r\n" for name, (_, value) in zip(names, fields, strict=True))
    return "".join(lines).encode("latin-1")


class HTTP2Wire(Wire):
    """A client connection by prior knowledge. Each request gets a stream; responses are read in the order of requests.

    Chunks become DATA frames and the other way round. `reset` resets the streams before it closes the connection.
    Raises NotHTTP2Error for bytes that have no counterpart, and AssertionError for a fault of the gateway.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._session = Session(CLIENT, SessionOptions(max_head=1 << 20, max_fields=10_000), FieldNames(_judge))
        self._session.start()
        #: Held for each use of the session: a thread may send while another reads.
        self._lock = threading.Condition()
        self._is_receiving = False
        self._waiting: deque[_Exchange] = deque()
        self._unsent = b""
        self._parser = self._parse()
        self._is_over = False
        self._has_ended = False
        self._flush()

    # --- the request

    def send(self, raw: bytes | str) -> None:
        """Send what these bytes of HTTP/1.1 say, as far as they say anything yet."""
        self._unsent += raw.encode("latin-1") if isinstance(raw, str) else raw
        next(self._parser)
        with self._lock:
            self._flush()

    def send_while_taken(self, data: bytes, patience: float) -> int:
        """Send DATA of the last request until the windows stay closed for so many seconds; return the bytes."""
        stream, total = self._stream, 0
        self.sock.settimeout(patience)
        try:
            while not self._is_gone(stream):
                self._wait_for_window(stream)
                with self._lock:
                    size = min(len(data), self._session.sendable(stream))
                    self._session.send_data(stream, data[:size], end=False)
                    self._flush()
                total += size
        except TimeoutError:
            pass
        finally:
            self.sock.settimeout(PATIENCE)
        return total

    def shut_writing(self) -> None:
        """Send END_STREAM: the client's side of a tunnel ends."""
        self._data(self._stream, b"", end=True)
        with self._lock:
            self._flush()

    def reset(self) -> None:
        """Cancel all requests that are under way, and close the connection."""
        with self._lock:
            for stream in list(self._session.streams.values()):
                self._session.reset(stream, CANCEL)
            self._flush()
        with suppress(OSError):  # a close with unread bytes would take the frames back
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(65536):
                pass
        self.sock.close()

    def _parse(self) -> Generator[None, None, None]:
        """Turn the bytes that are sent into frames; wait for more by `yield`."""
        while True:
            text = (yield from self._until(b"\r\n\r\n")).decode("latin-1").lstrip("\r\n")
            head = _Head(text)
            has_body = head.is_chunked or head.length > 0
            stream = self._stream = self._begin(head, end=not has_body and not head.protocol)
            if head.protocol:
                while True:
                    self._data(stream, (yield from self._some(1 << 20)), end=False)
            elif head.is_chunked:
                yield from self._chunks(stream)
            else:
                yield from self._body(stream, head.length, ends=True)

    def _begin(self, head: _Head, *, end: bool) -> Stream:
        if head.protocol:
            self._pump_until(lambda: self._session.has_settings)
        with self._lock:
            method = "CONNECT" if head.protocol else head.method
            headers = Headers(head.fields())
            stream = self._session.request(
                method, "http", head.authority, head.target, headers, end=end, protocol=head.protocol
            )
            stream.owner = exchange = _Exchange(head)
            self._waiting.append(exchange)
            self._is_over = False
        return stream

    def _body(self, stream: Stream, size: int, *, ends: bool) -> Generator[None, None, None]:
        while size:
            piece = yield from self._some(size)
            size -= len(piece)
            self._data(stream, piece, end=ends and not size)

    def _chunks(self, stream: Stream) -> Generator[None, None, None]:
        while True:
            line = yield from self._until(b"\r\n")
            try:
                size = int(line, 16)
            except ValueError:
                raise NotHTTP2Error(f"chunk {line!r}") from None
            if not size:
                break
            yield from self._body(stream, size, ends=False)
            if (yield from self._until(b"\r\n")):
                raise NotHTTP2Error("a chunk that is longer than it says")
        trailers = []
        while line := (yield from self._until(b"\r\n")):
            trailers.append(_field(line.decode("latin-1")))
        if not trailers:
            self._data(stream, b"", end=True)
            return
        with self._lock:
            if stream.id in self._session.streams:
                self._session.send_trailers(stream, trailers)

    def _until(self, end: bytes) -> Generator[None, None, bytes]:
        while end not in self._unsent:
            yield
        found, _, self._unsent = self._unsent.partition(end)
        return found

    def _some(self, most: int) -> Generator[None, None, bytes]:
        while not self._unsent:
            yield
        piece, self._unsent = self._unsent[:most], self._unsent[most:]
        return piece

    def _data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send DATA as the windows allow; nothing if the gateway has reset the stream."""
        while True:
            if data:
                self._wait_for_window(stream)
            with self._lock:
                if self._is_gone(stream):
                    return
                size = min(len(data), self._session.sendable(stream))
                piece, data = data[:size], data[size:]
                self._session.send_data(stream, piece, end=end and not data)
            if not data:
                return

    def _wait_for_window(self, stream: Stream) -> None:
        self._pump_until(lambda: self._is_gone(stream) or self._session.sendable(stream) > 0)

    def _is_gone(self, stream: Stream) -> bool:
        return self._has_ended or stream.id not in self._session.streams

    # --- the response

    def read_more(self) -> bool:
        """Receive until there are bytes to read; return False where HTTP/1.1 would have closed the connection."""
        while True:
            self._pump_until(lambda: self._is_over or (self._waiting and self._waiting[0].has_news))
            if self._move():
                return True
            if self._is_over or self._has_ended:
                return False

    def _move(self) -> bool:
        """Move what has come of the first responses into the buffer; return whether there was anything."""
        before = len(self.buffer)
        with self._lock:
            while self._waiting and not self._is_over:
                exchange = self._waiting[0]
                self.buffer += bytes(exchange.output)
                exchange.output.clear()
                if not exchange.has_news:
                    break
                self._waiting.popleft()
                self.was_reset = self.was_reset or not exchange.is_over
                self._is_over = exchange.closes or exchange.is_reset
        return len(self.buffer) > before

    def _pump_until(self, is_done: Callable[[], object]) -> None:
        """Receive until the condition holds, or the connection ends; one thread receives for all that wait."""
        with self._lock:
            while not is_done() and not self._has_ended:
                self._flush()
                if not self._is_receiving:
                    self._receive()
                elif not self._lock.wait(PATIENCE):
                    raise TimeoutError

    def _receive(self) -> None:
        self._is_receiving = True
        self._lock.release()
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data, self.was_reset = b"", True
        finally:
            self._lock.acquire()
            self._is_receiving = False
            self._lock.notify_all()
        self._has_ended = not data
        for event in self._session.receive(data) if data else ():
            self._take(event)
        self._flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, SessionFailed | StreamMalformed):
            with suppress(OSError):
                self._flush()
            raise AssertionError(f"the gateway breaks HTTP/2: {event.detail}")  # noqa: TRY004 what a test expects
        stream = event.stream
        exchange = stream.owner if stream is not None else None
        if stream is None or not isinstance(exchange, _Exchange):
            return
        exchange.take(event)
        if exchange.is_reset and not self._waiting:  # what was left of the request is not read
            self._is_over = True
        if isinstance(event, DataReceived):
            self._session.consumed(stream, len(event.data))

    def _flush(self) -> None:
        if self._session.has_output:
            self.sock.sendall(b"".join(self._session.take_output()))
