"""A body that is at hand as a whole, and is a stream of one piece to whoever iterates over it."""

from collections.abc import Iterator


class Whole(bytes):
    """Bytes in everything but iteration, where they come as one piece and not as numbers.

    A backend's small answer is bytes and a large one a stream; a handler that says `map(redact, response.body)` means
    both. Not in the compiled part: a class made of bytes cannot be.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:  # type: ignore[override]
        return iter((bytes(self),))
