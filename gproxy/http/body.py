"""The body of a request as handlers see it: read it, iterate over it, or buffer it for another reading."""

from collections.abc import Callable, Iterator
from typing import Protocol

from gproxy.http.errors import BadMessage, HTTPError, Incomplete
from gproxy.http.forwarding import passable
from gproxy.http.framing import Reader
from gproxy.http.header_names import FORBIDDEN_TRAILERS


class Tape(Protocol):
    """A recording of the bytes that pass, for another playback from the beginning, within a limit."""

    @property
    def is_whole(self) -> bool:
        """Return whether the recording has every byte that passed."""

    @property
    def has_failed(self) -> bool:
        """Return whether the disk has failed, so that another recording would fail too."""

    def add(self, data: bytes) -> None:
        """Record bytes that just passed; they count as played. Discard the recording if that is not possible."""

    def keep(self, data: bytes) -> bool:
        """Record bytes that have not passed yet; return False, without loss of others, if that is not possible."""

    def rewind(self) -> None:
        """Restart playback at the beginning."""

    def play(self) -> bytes:
        """Return the next recorded bytes; b"" at the end."""


class Body:
    """Bytes that arrive from the client, or bytes in memory.

    A reader consumes the bytes, unless `buffer` keeps them. With a `reader`, it has read `at_hand` already.
    """

    __slots__ = (
        "_at_hand", "_behind", "_forbidden_trailers", "_kept", "_tape", "failure", "in_flight", "length", "limit",
        "on_first_read", "reader", "received",
    )  # fmt: skip

    def __init__(
        self,
        at_hand: bytes = b"",
        reader: Reader | None = None,
        length: int | None = None,
        *,
        limit: int = 0,
        forbidden_trailers: frozenset[str] = FORBIDDEN_TRAILERS,
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        self._at_hand = at_hand
        #: The source of the bytes that have not arrived yet; None for bytes in memory.
        self.reader = reader
        self._kept: bytes | None = at_hand if reader is None else None
        self._tape: Tape | None = None
        #: A piece received after the available bytes and those of the tape.
        self._behind = b""
        #: The length in bytes that the client declares; None for a chunked body.
        self.length = len(at_hand) if reader is None else length
        #: Bytes read from the client so far.
        self.received = 0 if reader is None else len(at_hand)
        #: The largest permitted size in bytes; 0 for no limit. A larger body raises HTTPError 413.
        self.limit = limit
        #: Why reading from the client has failed, and fails again; None while it has not.
        self.failure: HTTPError | None = None
        #: True while another greenlet reads the body, beside the response.
        self.in_flight = False
        self._forbidden_trailers = forbidden_trailers
        #: Called before the first read from the client: sends `100 Continue` to a client that expects it.
        self.on_first_read = on_first_read

    @property
    def done(self) -> bool:
        """Return whether the client has sent the whole body, and it is valid."""
        return self.reader is None or (self.reader.done and self.failure is None)

    @property
    def at_hand(self) -> bytes:
        """The bytes that next_piece would return without waiting, as far as known."""
        return self._at_hand

    @property
    def buffered(self) -> int:
        """The number of bytes received and not read yet, apart from recorded ones."""
        return len(self._at_hand) + len(self._behind)

    @property
    def replayable(self) -> bool:
        """Return whether the whole body is in memory and can be read again at once."""
        return self._kept is not None

    @property
    def can_begin_again(self) -> bool:
        """Return whether `rewind` can restore the beginning: nothing was read yet, or all was recorded."""
        if self._kept is not None or self.received == self.buffered:
            return True
        return self._tape is not None and self._tape.is_whole and not self.in_flight

    @property
    def may_be_recorded(self) -> bool:
        """Return whether a recording is worth an attempt: the disk has not failed in an earlier one."""
        return self._tape is None or not self._tape.has_failed

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields that may be passed on; complete once the body is read to its end."""
        if self.reader is None or not self.reader.trailers:
            return []
        return passable(self.reader.trailers, self._forbidden_trailers)

    def next_piece(self) -> bytes:
        """Return the next bytes as they arrive; b"" at the end.

        Raises HTTPError: 400 for a malformed or truncated body, 413 over the limit.
        """
        if self._at_hand:
            data, self._at_hand = self._at_hand, b""
            return data
        if self._tape is not None and (data := self._tape.play()):
            return data
        data, self._behind = self._behind or self._receive(), b""
        if data and self._tape is not None:
            self._tape.add(data)
        return data

    def _receive(self) -> bytes:
        """Return the next bytes from the client; b"" at the end. Raises HTTPError."""
        if self.failure is not None:  # nothing may take the rest of an invalid body for the end of a valid one
            raise self.failure
        if self.reader is None or self.reader.done:
            return b""
        if self.on_first_read is not None:
            ask, self.on_first_read = self.on_first_read, None
            ask()
        try:
            data = self.reader.next_piece()
        except BadMessage as error:
            self.failure = HTTPError(400, error.detail, reason=_reason(error))
            raise self.failure from None
        except HTTPError as error:
            self.failure = error
            raise
        self.received += len(data)
        if self.limit and self.received > self.limit:
            self.failure = HTTPError(413, f"request body exceeds the limit of {self.limit} bytes")
            raise self.failure
        return data

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; block until they are there or the body ends. By default, read all that remains."""
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
        """Read the whole body and keep it, so that later handlers can read it and a retry can send it again.

        Raises HTTPError 413 if the body has more than `limit` bytes.
        """
        if not self.collect(limit):
            raise HTTPError(413, f"request body exceeds the limit of {limit} bytes")
        return self._at_hand

    def collect(self, limit: int) -> bool:
        """Wait for the whole body and keep it. Return False, without loss, if it has more than `limit` bytes."""
        if self._kept is None:
            data = self.read(limit + 1)
            if len(data) > limit:
                self._at_hand = data + self._at_hand
                return False
            self._kept = data
            self.length = len(data)
        self._at_hand = self._kept
        return True

    def collect_ahead(self, limit: int, admit: Callable[[int], bool]) -> bool:
        """Wait for `limit` bytes or the end, and keep what has arrived. No byte may have been read before.

        `admit` gets the size of the bytes that are there, then that of each further piece, and returns whether to wait
        for more. Return whether the body is complete.
        """
        pieces, size = [self._at_hand], len(self._at_hand)
        goes_on = admit(size)
        try:
            while goes_on and size < limit and not self.done:
                piece = self._receive()
                pieces.append(piece)
                size += len(piece)
                goes_on = admit(len(piece))
        finally:
            if size > limit and len(pieces) > 1:
                # PERF: the last piece is long, and to copy it would cost more than a send of its own
                self._behind = pieces.pop()
            self._at_hand = b"".join(pieces)
        return self.done

    def record_ahead(self) -> bool:
        """Wait for a piece and record it; return whether another one may follow.

        `record` comes before, and `rewind` after it. No byte may be read between them.
        """
        assert self._tape is not None  # noqa: S101 the caller has called `record`
        data, self._behind = self._behind or self._receive(), b""
        if data and not self._tape.keep(data):
            self._behind = data
            return False
        return not self.done

    def record(self, tape: Tape) -> None:
        """Record all bytes from now on. No byte may have been read before."""
        self._tape = tape
        if self._at_hand:
            tape.add(self._at_hand)

    def rewind(self) -> None:
        """Restart at the beginning of the bytes kept, if any; for the next attempt."""
        if self._kept is not None:
            self._at_hand = self._kept
        elif self._tape is not None and self._tape.is_whole:
            self._tape.rewind()
            self._at_hand = self._tape.play()


def _reason(error: BadMessage) -> str:
    return "client_gone" if isinstance(error, Incomplete) else "bad_request"


#: The body of requests without one; shared, because it has no state that changes.
NO_BODY = Body()
