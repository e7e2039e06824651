"""The ends of the logs: of the access log by its file or by the workers, and of the error log by the feed."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import gevent

from gproxy.monitor.processes.worker_lines import WorkerLines, WorkerRef
from gproxy.monitor.streams.hidden_fields import hidden
from gproxy.monitor.streams.subscriptions import Record, Subscriptions
from gproxy.monitor.times import rfc3339
from gproxy.observe.access_files.follow import Follower, first_line
from gproxy.observe.access_files.log_files import opened_files

#: The most records of the error log that are kept, and the most lines that a client gets of a file's end.
MOST: Final = 1000
_MOST_CLIENTS: Final = 20
#: The most bytes that are read of a file's end.
_END: Final = 1 << 20
#: Seconds between two looks at a file, and after which a client gets a sign of life.
_POLL: Final = 0.25
_SILENCE: Final = 5.0
#: Seconds for which workers feed lines after a question, and between two questions.
_TAPPED: Final = 6.0
_RENEW: Final = 2.0
_NO_WORKER: Final = WorkerRef(0, 0, 0)


class ErrorRecords:
    """The last MOST records of the error log, of all processes."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=MOST)
        self._followers = Subscriptions()

    def take(self, worker: WorkerRef, when: float, fields: Mapping[str, Any]) -> None:
        """Add a record that a worker feeds, or the arbiter sends; the latter's number is 0."""
        place = {"worker": worker.number, "generation": worker.generation} if worker.number else {}
        record = {**fields, **place, "time": rfc3339(when)}
        self._records.append(record)
        self._followers.put(record)

    def take_own(self, fields: Mapping[str, Any]) -> None:
        """Add a record of the monitor itself, such as a change by an operator."""
        self.take(_NO_WORKER, time.time(), {name: value for name, value in fields.items() if value not in ("", None)})

    def last(self, count: int) -> list[Record]:
        """Return the last records, oldest first."""
        return list(self._records)[max(0, len(self._records) - count) :]

    def follow(self, count: int) -> Iterator[Record | None]:
        """Return the last records, then each new one, as `Subscriptions.follow` does; None is a sign of life."""
        return self._followers.follow(partial(self.last, count))


class LineTap:
    """The access lines that workers feed while a client follows them."""

    def __init__(self, lines: WorkerLines) -> None:
        self._lines = lines
        self._followers = Subscriptions()
        self._asking: gevent.Greenlet | None = None

    def take(self, worker: WorkerRef, _: float, fields: Mapping[str, Any]) -> None:
        """Pass on a line that a worker feeds, without the fields that no client sees."""
        if fields["omitted"]:
            self._followers.omit(fields["omitted"])
        if fields["line"]:
            self._followers.put({"line": hidden(fields["line"]), "worker": worker.number})

    def follow(self) -> Iterator[Record | None]:
        """Let the workers feed lines, and return the lines from now on; None is a sign of life."""
        self._ask()
        if self._asking is None or self._asking.dead:
            self._asking = gevent.spawn(self._keep_tapping)
        return self._followers.follow()

    def _ask(self) -> None:
        self._lines.ask("tap", {"seconds": _TAPPED})

    def _keep_tapping(self) -> None:
        """Ask again as long as a client follows; new workers are asked, too."""
        gevent.sleep(_RENEW)
        while self._followers:
            self._ask()
            gevent.sleep(_RENEW)


class LogTails:
    """The logs of a gateway, and their clients, of which there is a bounded number."""

    def __init__(self, lines: WorkerLines) -> None:
        self.errors = ErrorRecords()
        self.tap = LineTap(lines)
        self._clients = 0

    @property
    def is_full(self) -> bool:
        """True if there are so many clients that no further one is admitted."""
        return self._clients >= _MOST_CLIENTS

    def stream(self, records: Iterator[Record | None]) -> Iterator[bytes]:
        """Return the records as server-sent events; none that comes after this call is missing."""
        next(records)  # the place from which the client follows: later it would miss what comes while the head is sent
        return self._events(records)

    def _events(self, records: Iterator[Record | None]) -> Iterator[bytes]:
        self._clients += 1
        try:
            yield b":\n\n"  # so that a client knows at once that it is admitted
            for one in records:
                yield b":\n\n" if one is None else _event(one)
        finally:
            self._clients -= 1
            records.close()  # type: ignore[attr-defined]


def _event(record: Record) -> bytes:
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return f"data: {data}\n\n".encode("utf-8", "surrogatepass")


def file_end(path: Path, count: int) -> list[Record]:
    """Return the last lines of a file; none if it does not exist. Raises OSError."""
    try:
        with path.open("rb") as file:
            return _end(file, os.fstat(file.fileno()).st_size, count)
    except FileNotFoundError:
        return []


def follow_file(path: Path, count: int) -> Iterator[Record | None]:
    """Yield the last lines of a file, then those that are added, over rotations; None is a sign of life.

    The first one is None, too: from then on no line is missing.
    """
    files = opened_files(path)
    for file in files:
        file.end_with_a_line()
    last = next((_end(one.file, one.stop, count) for one in files if one.path == path), [])
    follower = Follower(path, files, {first_line(file.head) for file in files})
    try:
        yield None
        yield from last
        yield from _polled(follower)
    finally:
        follower.close()


def _end(file: BinaryIO, stop: int, count: int) -> list[Record]:
    """Return the last whole lines before `stop`."""
    start = max(0, stop - _END) if count else stop
    data = os.pread(file.fileno(), stop - start, start)
    lines = data[: data.rfind(b"\n") + 1].splitlines()[1 if start else 0 :]
    return [_shown(line) for line in lines[max(0, len(lines) - count) :]]


def _polled(follower: Follower) -> Iterator[Record | None]:
    silence = 0.0
    while True:
        for block in follower.poll():
            silence = 0.0
            yield from map(_shown, block.splitlines())
        gevent.sleep(_POLL)
        silence += _POLL
        if silence >= _SILENCE:
            silence = 0.0
            yield None


def _shown(line: bytes) -> Record:
    return {"line": hidden(line.decode("utf-8", "replace"))}
