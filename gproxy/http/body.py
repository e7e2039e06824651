"""A request's body as handlers see it: read it, iterate over it, or buffer it so that it can be read again."""

from collections.abc import Callable, Iterator
from typing import Protocol

from gproxy.http.errors import BadMessage, HTTPError, Incomplete
from gproxy.http.forwarding import passable
from gproxy.http.framing import Reader
from gproxy.http.header_names import FORBIDDEN_TRAILERS


class Tape(Protocol):
    """Keeps what passes, so that it can be played again from the beginning, while that is within its limits."""

    @property
    def is_whole(self) -> bool:
        """Does it have everything that has passed?"""

    def add(self, data: bytes) -> None:
        """What has just passed; it counts as played."""

    def rewind(self) -> None:
        """Play from the beginning."""

    def play(self) -> bytes:
        """The next of what was kept; b"" at its end."""


class Body:
    """Bytes on their way from the client, or bytes at hand.

    Whoever reads takes the bytes from those after it, unless `buffer` kept them.
    """

    __slots__ = (
        "_at_hand", "_kept", "_reader", "_tape", "in_flight", "length", "limit", "no_trailers", "on_first_read",
        "received",
    )  # fmt: skip

    def __init__(self, at_hand: bytes = b"", reader: Reader | None = None, length: int | None = None) -> None:
        self._at_hand = at_hand
        self._reader = reader
        self._kept: bytes | None = at_hand if reader is None else None
        self._tape: Tape | None = None
        #: Bytes, if the client said how many; None for a chunked body.
        self.length = len(at_hand) if reader is None else length
        #: Bytes read from the client so far.
        self.received = 0
        #: The most it may have, in bytes; 0 for no limit. HTTPError 413 past it.
        self.limit = 0
        #: Is somebody else reading it, beside the response?
        self.in_flight = False
        #: Names that no trailer may have.
        self.no_trailers = FORBIDDEN_TRAILERS
        #: Called before the first byte is asked of the client: sends `100 Continue` where it is awaited.
        self.on_first_read: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Has all of it come from the client?"""
        return self._reader is None or self._reader.done

    @property
    def at_hand(self) -> bytes:
        """What next_piece would give without waiting, as far as it is known."""
        return self._at_hand

    @property
    def replayable(self) -> bool:
        """Is all of it kept, so that it can be read again at once?"""
        return self._kept is not None

    @property
    def can_begin_again(self) -> bool:
        """Can `rewind` bring it back to its beginning? It has gone nowhere yet, or all that has gone was kept."""
        if self._kept is not None or self.received == len(self._at_hand):
            return True
        return self._tape is not None and self._tape.is_whole and not self.in_flight

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields that may be passed on, known once the body was read to its end."""
        return passable(self._reader.trailers, self.no_trailers) if self._reader and self._reader.trailers else []

    def next_piece(self) -> bytes:
        """The next bytes as they come; b"" at the end.

        Raises HTTPError: 400 for a malformed or cut-off body, 413 past the limit.
        """
        if self._at_hand:
            data, self._at_hand = self._at_hand, b""
            return data
        if self._tape is not None and (data := self._tape.play()):
            return data
        if self._reader is None or self._reader.done:
            return b""
        if self.on_first_read is not None:
            ask, self.on_first_read = self.on_first_read, None
            ask()
        try:
            data = self._reader.next_piece()
        except BadMessage as error:
            raise HTTPError(400, error.detail, reason=_reason(error)) from None
        self.received += len(data)
        if self.limit and self.received > self.limit:
            raise HTTPError(413, f"a body may have {self.limit} bytes here")
        if self._tape is not None:
            self._tape.add(data)
        return data

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, blocking until there are so many or the body ends; all that is left by default."""
        pieces: list[bytes] = []
        total = 0
        while (total < size or size < 0) and (piece := self.next_piece()):
            pieces.append(piece)
            total += len(piece)
        data = b"".join(pieces)
        if 0 <= size < total:
            self._at_hand = data[size:] + self._at_hand
            data = data[:size]
        return data

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.next_piece():
            yield piece

    def buffer(self, limit: int) -> bytes:
        """All of the body, kept so that those after you can read it too, and a retry can send it again.

        Raises HTTPError 413 if it has more than `limit` bytes.
        """
        if not self.collect(limit):
            raise HTTPError(413, f"a body may have {limit} bytes here")
        return self._at_hand

    def collect(self, limit: int) -> bool:
        """Wait for all of the body and keep it; return False, with nothing lost, if it has more than `limit` bytes."""
        if self._kept is None:
            data = self.read(limit + 1)
            if len(data) > limit:
                self._at_hand = data + self._at_hand
                return False
            self._kept = data
            self.length = len(data)
        self._at_hand = self._kept
        return True

    def record(self, tape: Tape) -> None:
        """Keep what passes from now on. Nothing may have been read yet."""
        self._tape = tape
        if self._at_hand:
            tape.add(self._at_hand)

    def rewind(self) -> None:
        """Start again with what was kept, if it was; for the next attempt."""
        if self._kept is not None:
            self._at_hand = self._kept
        elif self._tape is not None and self._tape.is_whole:
            self._tape.rewind()
            self._at_hand = self._tape.play()


def _reason(error: BadMessage) -> str:
    return "client_gone" if isinstance(error, Incomplete) else "bad_request"


#: For the requests that have none; it has nothing that could change.
NO_BODY = Body()
