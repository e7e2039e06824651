"""The file wrapper of PEP 3333: a file as a body; threads read and close long ones, because disks block."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

PIECE: Final = 256 * 1024
#: Files from this size on are read and closed in threads.
LONG: Final = 1024 * 1024


class Readable(Protocol):
    """A file, or another object of an app that is read like one."""

    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """The pieces of a file, from its position on. `offload` runs a function in a thread."""

    def __init__(self, offload: Callable[..., Any], file: Readable, _size: int = PIECE) -> None:
        self._offload = offload
        self._file = file
        self._is_long = _size_of(file) >= LONG
        if hasattr(file, "close"):
            self.close = self._close_in_thread if self._is_long else file.close

    def _close_in_thread(self) -> None:
        error = self._offload(_close, self._file)
        if error is not None:
            raise error

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = self._offload(_read, self._file) if self._is_long else _read(self._file)
        if isinstance(data, BaseException):
            raise data
        if not data:
            raise StopIteration
        return data


def _read(file: Readable) -> bytes | Exception:
    """Return the next piece, or the error: gevent prints an exception that is raised in a thread."""
    try:
        return file.read(PIECE)
    except Exception as error:  # noqa: BLE001 the file may be any object of the app
        return error


def _close(file: Any) -> Exception | None:  # noqa: ANN401 a file with `close`
    """Close the file; return the error, as above."""
    try:
        file.close()
    except Exception as error:  # noqa: BLE001 as above
        return error
    return None


def _size_of(file: object) -> int:
    """Return the size of a file of the system; 0 for another object."""
    try:
        return os.fstat(file.fileno()).st_size  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return 0
