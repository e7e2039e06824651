"""The files of a log: found with their rotated ones, in order of time, and cut to the lines that a period may have.

A line is written when its request has ended. Its end is its time and its duration, so the order of ends is that of a
file, but for what workers hold back. Without durations the latest time among some lines takes this place.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import BinaryIO, Final, cast

from isal import igzip, igzip_threaded, isal_zlib

from gproxy.observe.access_files.layout import Layout, Row, layout_of
from gproxy.observe.access_files.moments import moment

#: Bytes that are read at a time, and bytes of which the time is read.
_BLOCK: Final = 1 << 19
_PROBE: Final = 1 << 16
#: Longer lines are broken, and are given in pieces.
_LONGEST: Final = 16 << 20
#: So many bytes before the beginning of a period have no line of it: requests that ended together may have begun apart.
_CLEAN: Final = 4 << 20
#: Seconds that a worker may hold a line back, and for which a worker may write to a rotated file.
_HELD: Final = 10.0
#: Requests that last longer, in seconds, are not found beyond the end of a period.
LONGEST_REQUEST: Final = 3600.0
#: The errors of reading a damaged file.
DAMAGES: Final[tuple[type[Exception], ...]] = (OSError, EOFError, cast("type[Exception]", isal_zlib.error))
_TIMES: Final = frozenset({"time", "duration"})
#: Names of rotated files, by the gateway and by logrotate: .2026-11-28.1.gz, .1, -20261128.gz, .2.gz
_ROTATED: Final = r"(?:[.-]\d{4}-?\d\d-?\d\d(?:[.-]?\d+)?|\.\d{1,6})(\.gz)?"


class LogFile:
    """An opened file of a log. `stop` is where its lines end that had been written when it was opened."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        found = os.fstat(file.fileno())
        self.path = path
        self.file = file
        self.is_packed = path.name.endswith(".gz")
        self.identity = found.st_dev, found.st_ino
        self.stop = found.st_size
        self.written = found.st_mtime
        #: The first lines; none if the file is damaged.
        self.head = b""
        with contextlib.suppress(*DAMAGES):
            self.head = self._read_head()

    def _read_head(self) -> bytes:
        if not self.is_packed:
            return _whole(os.pread(self.file.fileno(), _PROBE, 0))
        with igzip.open(self.file, "rb") as unpacked:  # type: ignore[no-untyped-call]
            return _whole(unpacked.read(_PROBE))

    def content(self) -> BinaryIO:
        """Return the unpacked content, at its beginning."""
        self.file.seek(0)
        return cast("BinaryIO", igzip.open(self.file, "rb") if self.is_packed else self.file)  # type: ignore[no-untyped-call]

    def end_with_a_line(self) -> None:
        """Move `stop` behind the last line that has an end, so that what is being written is left for later."""
        if not self.is_packed:
            self.stop = _line_at(self, self.stop)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def blocks(self, since: float = -inf, until: float = inf) -> Iterator[bytes]:
        """Yield blocks of whole lines, of which no line of the period is missing. Raises one of DAMAGES."""
        if self.is_packed:
            self.file.seek(0)
            with igzip_threaded.open(self.file, "rb", threads=1) as unpacked:  # type: ignore[no-untyped-call]
                yield from _lines(cast("BinaryIO", unpacked), inf)
            return
        start = _beginning(self, since) if since > -inf else 0
        stop = _end_of(self, until + LONGEST_REQUEST) if until < inf else self.stop
        self.file.seek(start)
        yield from _lines(self.file, stop - start)


def _whole(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _lines(file: BinaryIO, size: float) -> Iterator[bytes]:
    """Yield blocks of whole lines of the next `size` bytes. A last line without an end gets one."""
    rest = b""
    while size > 0 and (data := file.read(min(_BLOCK, int(min(size, _BLOCK))))):
        size -= len(data)
        end = data.rfind(b"\n") + 1
        if end:
            yield rest + data[:end]
            rest = data[end:]
        else:
            rest += data
            if len(rest) > _LONGEST:
                yield rest + b"\n"
                rest = b""
    if rest:
        yield rest + b"\n"


def found_files(path: Path) -> list[Path]:
    """Return the files of a log that exist, rotated ones too; a file that is packed at the moment is there once."""
    pattern = re.compile(re.escape(path.name) + f"(?:{_ROTATED})?")
    names = {name for name in os.listdir(path.parent) if pattern.fullmatch(name)}  # noqa: PTH208 names only
    return [path.with_name(name) for name in sorted(names) if name.removesuffix(".gz") not in names - {name}]


def opened(path: Path) -> LogFile | None:
    """Return the file, or the packed one that has taken its place; None if there is neither or if it is empty."""
    for place in (path, path.with_name(f"{path.name}.gz")):
        with contextlib.suppress(FileNotFoundError):
            file = LogFile(place, place.open("rb", buffering=0))
            if file.stop:
                return file
            file.close()
    return None


def opened_files(path: Path) -> list[LogFile]:
    """Open all files of a log and return them in order of time. Raises OSError.

    The file that is written is opened first: if it is rotated meanwhile, it is found again by its new name.
    """
    while True:
        current = opened(path)
        files = {current.identity: current} if current else {}
        for name in found_files(path):
            file = opened(name) if name != path else None
            if file is not None and files.setdefault(file.identity, file) is not file:
                file.close()
        if current is None or os.fstat(current.file.fileno()).st_nlink:
            return ordered(list(files.values()))
        for file in files.values():  # the first one was packed meanwhile
            file.close()


def ordered(files: list[LogFile]) -> list[LogFile]:
    """Return the files in the order of their lines: by the time of the first ones, or without by the last change."""
    begins = {file.identity: ends(file.head) for file in files}
    if all(begins.values()):
        return sorted(files, key=lambda file: max(begins[file.identity]))
    return sorted(files, key=lambda file: file.written)


def within(files: Sequence[LogFile], since: float, until: float) -> list[LogFile]:
    """Return the files that may have lines of a period, by their first lines, and close the others."""
    kept = []
    for file, later in zip(files, [*files[1:], None], strict=True):
        own, next_ones = ends(file.head), ends(later.head) if later else []
        is_over = bool(next_ones) and max(next_ones) + _HELD < since
        if is_over or (own and min(own) > until + LONGEST_REQUEST):
            file.close()
        else:
            kept.append(file)
    return kept


def ends(lines: bytes) -> list[float]:
    """Return when the requests of the lines have ended, in seconds since the epoch, of lines that have a time.

    Without a duration, return when they have begun.
    """
    found: list[float] = []
    layout: Layout | None = None
    for line in lines.split(b"\n")[:-1]:
        match = layout.pattern(_TIMES).fullmatch(line) if layout else None
        if match is None:
            layout = layout_of(line)
            if layout is None or "time" not in layout.names:
                layout = None
                continue
            match = layout.pattern(_TIMES).fullmatch(line)
        if match is not None and layout is not None:
            found += _end(layout.columns(_TIMES), match.groups(b""))
    return found


def _end(places: dict[str, int], row: Row) -> list[float]:
    when = moment(row[places["time"]])
    return [] if when is None else [when + (float(row[places["duration"]]) if "duration" in places else 0.0)]


def _latest(file: LogFile, start: int, size: int) -> tuple[float | None, int]:
    """Return the latest end among the whole lines from `start`, None if there is none; and where these lines stop.

    `start` may be inside of a line, which then does not count.
    """
    data = os.pread(file.file.fileno(), min(size, file.stop - start), start)
    first = data.find(b"\n") + 1 if start else 0
    lines = _whole(data[first:])
    return max(ends(lines), default=None), start + first + len(lines)


def _bounds(file: LogFile, when: float) -> tuple[int, int]:
    """Return two places of a file that has the order of ends, at most two probes apart.

    Lines before the first one ended before `when`, lines after the second one did not.
    """
    low, high = 0, file.stop
    while high - low > _PROBE:
        middle = (low + high) // 2
        latest, stop = _latest(file, middle, _PROBE)
        if latest is not None and latest < when:
            low = max(middle + 1, stop)
        else:
            high = middle
    return low, min(file.stop, max(low, high) + _PROBE)


def _end_of(file: LogFile, when: float) -> int:
    """Return the end of a line. Lines after it did not end before `when`."""
    _, place = _bounds(file, when)
    more = os.pread(file.file.fileno(), _BLOCK, place).find(b"\n") + 1
    return place + more if more else file.stop


def _beginning(file: LogFile, since: float) -> int:
    """Return the beginning of a line. Lines before it are not of a period that begins then.

    Go back until enough lines have ended before: the lines of one moment may be in disorder.
    """
    found = place = _bounds(file, since - _HELD)[0]
    while place > 0 and found - place < _CLEAN:
        start = max(0, place - _BLOCK)
        latest, _ = _latest(file, start, place - start)
        if latest is not None and latest >= since:
            found = start
        place = start
    return _line_at(file, found)


def _line_at(file: LogFile, place: int) -> int:
    """Return the beginning of the line at this place; 0 at the end of a line that is longer than a block."""
    start = max(0, place - _BLOCK)
    return start + os.pread(file.file.fileno(), place - start, start).rfind(b"\n") + 1
