"""The response on the wire (RFC 9112 sections 4 to 7): its framing, head and pieces."""

import math
import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from gproxy.config.types.units import plural
from gproxy.http.body import Body
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.framing import chunk, content_length, last_chunk
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.response import PHRASES, Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.server.client_channel import ClientChannel, DisconnectWatch
from gproxy.server.dispatch import Output

_HOP_BY_HOP_EXCEPT_UPGRADE: Final = RESPONSE_HOP_BY_HOP - {"upgrade"}
#: Bytes of a body that is copied behind its head; from here on, a call with two buffers costs less.
_LONG: Final = 16 * 1024


class BrokenResponseError(Exception):
    """A body whose length differs from the Content-Length of its head."""


class ResponseWriter(Output):
    """The writer of a connection's responses, one after the other.

    is_delimited: True if the client can distinguish a broken-off body from a complete one. leaves_unread: True if the
    client may still send bytes that the gateway does not read as a request. is_aborted: True if a response was broken
    off with a reset.
    """

    __slots__ = ("_channel", "_chunked", "_length", "head_sent", "is_aborted", "is_delimited", "leaves_unread")

    def __init__(self, channel: ClientChannel) -> None:
        super().__init__()
        self._channel = channel
        self.leaves_unread = self.is_aborted = False
        self.reset(keep=False)

    def reset(self, *, keep: bool) -> None:
        """Reset the state for the connection's next response."""
        self._channel.send_ahead_limit = 0
        self._chunked = False
        self._length: int | None = None
        self.keep = keep
        self.is_delimited = True
        self.head_sent = False
        self.sent = 0

    def leave(self, body: Body) -> None:
        """Read the rest of the request's body if that needs no waiting; else the connection ends."""
        if not self._skip(body):
            self.leaves_unread = True
            self.keep = False
            body.on_first_read = None  # no 100 may follow the head of the response (RFC 9110 section 15.2)

    def _skip(self, body: Body) -> bool:
        """Read the rest of the body if that needs no waiting; return whether the body is complete."""
        if body.failure is not None:
            return body.reader is None or body.reader.done
        if body.on_first_read is not None or body.length is None or body.in_flight:
            return False
        if body.length - body.received > len(self._channel.buffer):
            return False
        try:
            while body.next_piece():
                pass
        except HTTPError:  # it is too long, and the response does not need it
            return False
        return body.done

    def send(self, response: Response, method: str, minor: int) -> None:
        headers, body, status = response.headers, response.raw_body, response.status
        if not headers.is_stripped:
            headers.discard_all(RESPONSE_HOP_BY_HOP if status not in (101, 426) else _HOP_BY_HOP_EXCEPT_UPGRADE)
        if status == 101:
            self._send_tunnel(response, body)
        elif method == "HEAD" or status in (204, 304):
            self._send_bodiless(response, body, minor)
        elif isinstance(body, bytes):
            headers.put("Content-Length", "content-length", str(len(body)))
            head = self._head(response, minor)
            self.head_sent = True
            if len(body) >= _LONG:
                self._channel.send_both(head, body)
            elif self.keep or response.has_callbacks:
                self._channel.send(head + body)
            else:
                self._channel.send_last(head + body)
            self.sent = len(body)
        else:
            self._choose_framing(response, minor)
            self._send_stream(response, body, minor)

    def give_up(self) -> None:
        self.sent = max(0, self.sent - self._channel.drop())

    def abort(self) -> None:
        if not self.is_delimited:
            self.leaves_unread = False  # a graceful close would mark the body as complete
            self.is_aborted = True
            self._channel.abort()

    def end(self) -> None:
        channel = self._channel
        channel.alarm.expires = math.inf
        channel.deadline = None
        channel.request = None

    def _send_bodiless(self, response: Response, body: bytes | Iterable[bytes], minor: int) -> None:
        """Send a head only. RFC 9110 section 8.6: 204 has no length; HEAD and 304 have that of the omitted body."""
        declared_length(response.headers)
        if response.status == 204:
            response.headers.discard("content-length")
        elif isinstance(body, bytes) and body and response.status != 304:
            response.headers.put("Content-Length", "content-length", str(len(body)))
        self._channel.send(self._head(response, minor))
        self.head_sent = True

    def _choose_framing(self, response: Response, minor: int) -> None:
        """Choose the framing (RFC 9112 section 6.1): a known length, else chunks, else the connection's close."""
        length = declared_length(response.headers)
        if length >= 0:
            self._length = length
        elif minor:
            self._chunked = True
        else:
            self.keep = self.is_delimited = False

    def _send_stream(self, response: Response, body: Iterable[bytes], minor: int) -> None:
        """Send the head at once, with the first piece if it is available; then send each piece as it comes."""
        first = getattr(body, "at_hand", None)  # only of a BackendBody, which watches the client itself
        head = self._head(response, minor)
        self.head_sent = True
        pieces: Iterator[Any] = iter(body)
        channel = self._channel
        try:
            if first:
                self._send_beginning(head, self._framed(next(pieces)))
            else:
                channel.send_ahead(head)
            if first is None:
                self._send_watching(pieces)
            else:
                self._send_pieces(pieces)
            if self._length is not None:
                check_length(self.sent, self._length)
        except (Exception, Expired) as error:
            if not isinstance(error, Expired) or error.limit == TimeLimit.READ:
                channel.flush()  # the client gets what the backend has sent before it failed
            raise
        if self._chunked:
            channel.send_ahead(last_chunk(getattr(body, "trailers", [])))
        channel.flush()

    def _send_beginning(self, head: bytes, first: bytes) -> None:
        if len(first) >= _LONG:
            self._channel.send_both_ahead(head, first)
        else:
            self._channel.send_ahead(head + first)

    def _send_pieces(self, pieces: Iterator[Any]) -> None:
        for piece in pieces:
            if piece:
                self._channel.send_ahead(self._framed(piece))

    def _send_own(self, pieces: Iterator[Any]) -> None:
        """Send the pieces of a handler's iterator; each may take as long as the first."""
        deadline = self._channel.deadline
        for piece in pieces:
            if piece:
                self._channel.send_ahead(self._framed(piece))
            if deadline is not None:
                deadline.resume()

    def _send_watching(self, pieces: Iterator[Any]) -> None:
        """Send the pieces of a handler's iterator, which may block. Raises ClientGone while it blocks, too."""
        channel = self._channel
        if channel.buffer:  # a pipelined request hides the client's end
            self._send_own(pieces)
            return
        before = channel.watch(DisconnectWatch(channel.alarm.greenlet))
        try:
            self._send_own(pieces)
        finally:
            channel.watch(before)

    def _send_tunnel(self, response: Response, body: bytes | Iterable[bytes]) -> None:
        """Send a 101 (RFC 9110 section 15.2.2), then the tunnel's bytes without framing."""
        self.keep = False
        fields = f"{response.headers.lines()}Connection: Upgrade\r\n"
        self._channel.send(f"HTTP/1.1 101 {PHRASES[101]}\r\n{fields}\r\n".encode("latin-1"))
        self.head_sent = True
        for piece in body if not isinstance(body, bytes) else ():
            self._channel.send(piece)
            self.sent += len(piece)

    def _framed(self, data: object) -> bytes:
        piece: bytes = data if isinstance(data, bytes) else as_bytes(data)
        self.sent += len(piece)
        if self._length is not None and self.sent > self._length:
            raise BrokenResponseError(f"response body exceeds its Content-Length of {self._length}")
        return chunk(piece) if self._chunked else piece

    def _head(self, response: Response, minor: int) -> bytes:
        headers = response.headers
        extra = "" if self.keep and minor else "Connection: keep-alive\r\n" if self.keep else "Connection: close\r\n"
        if headers.lookup("upgrade") is not None:  # of a 426: RFC 9110 section 7.8 requires this option
            extra += "Connection: Upgrade\r\n"
        if self._chunked:
            extra += "Transfer-Encoding: chunked\r\n"
        if headers.lookup("date") is None:
            extra += f"{date_line(int(time.time()))}\r\n"  # RFC 9110 section 6.6.1
        status = response.status
        phrase = response.phrase or PHRASES.get(status, "")
        return f"HTTP/1.1 {status} {phrase}\r\n{headers.lines()}{extra}\r\n".encode("latin-1")


def check_length(sent: int, length: int) -> None:
    """Raise BrokenResponseError if a body ends short of its Content-Length."""
    if sent != length:
        raise BrokenResponseError(f"response body has {plural(sent, 'byte')}, expected {length} by its Content-Length")


def declared_length(headers: Headers) -> int:
    """Return the Content-Length, or -1; drop an invalid one, which is a handler's mistake."""
    if headers.lookup("content-length") is not None:
        try:
            return content_length(headers)
        except BadMessage:
            headers.discard("content-length")
    return -1


def as_bytes(piece: object) -> bytes:
    """Return a bytes-like piece as bytes. Raises TypeError for anything else that a handler yields."""
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"response body yields {type(piece).__name__}, expected bytes")


@lru_cache(maxsize=2)
def date_line(second: int) -> str:
    """Return the field Date for a second since the epoch, as a line."""
    return f"Date: {formatdate(second, usegmt=True)}"
