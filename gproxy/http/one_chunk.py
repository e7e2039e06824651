"""A body in memory that iterates as a stream of one chunk."""

from collections.abc import Iterator


class Whole(bytes):
    """Bytes that iterate as one chunk, instead of as numbers.

    A small body of a backend is bytes and a large one is a stream; `map(redact, response.body)` in a handler works for
    both. This file is not compiled: mypyc cannot compile a subclass of bytes.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:  # type: ignore[override]
        return iter((bytes(self),))
