"""A response on the wire (RFC 9112 sections 4 to 7): which framing, which head, which pieces."""

import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from gproxy.http.errors import BadMessage
from gproxy.http.forwarding import RESPONSE_HOP_BY_HOP, strip_hop_by_hop
from gproxy.http.framing import LAST_CHUNK, chunk, content_length
from gproxy.http.headers import Headers
from gproxy.http.response import PHRASES, Response
from gproxy.server.client import ClientChannel

#: Head and body up to this leave in one send; beyond it copying costs more than a second send, in bytes.
_TOGETHER: Final = 64 * 1024
_NO_OPTIONS: Final[frozenset[str]] = frozenset()


class BrokenResponseError(Exception):
    """A body did not have the length that its head had promised."""


class Outgoing:
    """One response being sent. `sent` counts body bytes; `keep` says whether the connection can go on after it."""

    __slots__ = ("_channel", "_chunked", "_length", "_response", "head_sent", "is_delimited", "keep", "sent")

    def __init__(self, channel: ClientChannel, response: Response, *, keep: bool) -> None:
        self._channel = channel
        self._response = response
        self._chunked = False
        self._length: int | None = None
        self.keep = keep
        #: Could the client tell a broken-off body from a complete one?
        self.is_delimited = True
        self.head_sent = False
        self.sent = 0

    def send(self, method: str, minor: int) -> None:
        """All of it. Raises ClientGone, and whatever the body raises."""
        response = self._response
        headers, body, status = response.headers, response.body, response.status
        strip_hop_by_hop(headers, _NO_OPTIONS, RESPONSE_HOP_BY_HOP)
        if status == 204 or (status == 304 and not isinstance(body, bytes)):
            headers.discard("content-length")
        if method == "HEAD" or status in (204, 304):
            if isinstance(body, bytes) and body and status not in (204, 304):
                headers.put("Content-Length", "content-length", str(len(body)))
            self._channel.send(self._head(minor))
            self.head_sent = True
        elif isinstance(body, bytes):
            self._send_whole(body, headers, minor)
        else:
            self._choose_framing(headers, minor)
            self._send_stream(body, minor)

    def _send_whole(self, body: bytes, headers: Headers, minor: int) -> None:
        headers.put("Content-Length", "content-length", str(len(body)))
        head = self._head(minor)
        self.head_sent = True
        if len(body) <= _TOGETHER:
            self._channel.send(head + body)
        else:
            self._channel.send(head)
            self._channel.send(body)
        self.sent = len(body)

    def _choose_framing(self, headers: Headers, minor: int) -> None:
        """RFC 9112 section 6.1: a length if it is known, chunks if the client knows them, else until we close."""
        if "content-length" in headers:
            try:
                self._length = content_length(headers)
                return
            except BadMessage:  # a handler's mistake
                headers.discard("content-length")
        if minor:
            self._chunked = True
        else:
            self.keep = self.is_delimited = False

    def _send_stream(self, body: Iterable[bytes], minor: int) -> None:
        """The head at once, with what of the body came with it; then each piece when it comes."""
        first = getattr(body, "at_hand", b"")
        head = self._head(minor)
        self.head_sent = True
        pieces = iter(body)
        if first:
            self._channel.send(head + self._framed(next(pieces)))
        else:
            self._channel.send(head)
        for piece in pieces:
            if piece:
                self._channel.send(self._framed(piece))
        if self._length is not None and self.sent != self._length:
            raise BrokenResponseError(f"the body has {self.sent} bytes, its Content-Length says {self._length}")
        if self._chunked:
            self._channel.send(LAST_CHUNK)

    def _framed(self, piece: bytes) -> bytes:
        self.sent += len(piece)
        if self._length is not None and self.sent > self._length:
            raise BrokenResponseError(f"the body goes beyond its Content-Length of {self._length}")
        return chunk(piece) if self._chunked else piece

    def _head(self, minor: int) -> bytes:
        response = self._response
        headers = response.headers
        status = response.status
        extra = "Transfer-Encoding: chunked\r\n" if self._chunked else ""
        if not self.keep:
            extra += "Connection: close\r\n"
        elif not minor:
            extra += "Connection: keep-alive\r\n"
        if "date" not in headers:
            extra += f"Date: {_date(int(time.time()))}\r\n"  # RFC 9110 section 6.6.1
        phrase = response.phrase or PHRASES.get(status, "")
        return f"HTTP/1.1 {status} {phrase}\r\n{headers.lines()}{extra}\r\n".encode("latin-1")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
