"""The file that `gproxy record` writes: a recording or an archive, plain or compressed, for its owner only."""

import gzip
import os
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final, Protocol

from gproxy.recording.har import archive_beginning, archive_end, archive_entry
from gproxy.recording.json_lines import exchange_line, header_line
from gproxy.recording.record import RecordedExchange, RecordHeader

_MODE: Final = 0o600
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class _Form(Protocol):
    """A form of files: the bytes of each part."""

    def beginning(self, header: RecordHeader, /) -> bytes: ...
    def exchange(self, exchange: RecordedExchange, /) -> bytes: ...
    def end(self) -> bytes: ...


class _Lines:
    """The form of recordings: JSON lines."""

    def beginning(self, header: RecordHeader) -> bytes:
        return header_line(header)

    def exchange(self, exchange: RecordedExchange) -> bytes:
        return exchange_line(exchange)

    def end(self) -> bytes:
        return b""


class _HAR:
    """The form of an HTTP Archive."""

    def __init__(self) -> None:
        self._is_first = True

    def beginning(self, header: RecordHeader) -> bytes:
        return archive_beginning(header)

    def exchange(self, exchange: RecordedExchange) -> bytes:
        is_first, self._is_first = self._is_first, False
        return archive_entry(exchange, is_first=is_first)

    def end(self) -> bytes:
        return archive_end()


class RecordFile:
    """A new file of recorded exchanges. Raises OSError; after one, `close` leaves what was written whole."""

    def __init__(self, path: Path, *, is_har: bool) -> None:
        self.path = path
        #: The number of exchanges in the file.
        self.count = 0
        self._form: _Form = _HAR() if is_har else _Lines()
        self._raw = os.fdopen(os.open(path, _NEW, _MODE), "wb", buffering=0)
        self._gzip = gzip.GzipFile("", "wb", fileobj=self._raw) if path.suffix == ".gz" else None
        #: The size of the file after the last whole part.
        self._whole = 0

    def begin(self, header: RecordHeader) -> None:
        """Write the beginning."""
        self._write(self._form.beginning(header))

    def add(self, exchange: RecordedExchange) -> None:
        """Write an exchange."""
        self._write(self._form.exchange(exchange))
        self.count += 1

    def flush(self) -> None:
        """Let a reader see all exchanges so far, if the file is compressed; others do at once."""
        if self._gzip is not None:
            self._gzip.flush()

    def close(self, *, is_full: bool = False) -> None:
        """Write the end, and close the file. With `is_full`, cut off a part that had no room."""
        with self._raw:
            if is_full and self._gzip is None:
                os.ftruncate(self._raw.fileno(), self._whole)
            with suppress(OSError) if is_full else nullcontext():
                self._write(self._form.end())
                if self._gzip is not None:
                    self._gzip.close()

    def remove(self) -> None:
        """Close the file and remove it: nothing was recorded."""
        self._raw.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        if self._gzip is not None:
            self._gzip.write(data)
            return
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) or 0 :]
        self._whole += len(data)
