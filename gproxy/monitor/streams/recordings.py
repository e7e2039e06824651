"""The recordings under way: the rules that all workers are given, and the lines that they feed, to the command."""

import json
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import gevent
from gevent.event import Event

from gproxy import __version__
from gproxy.monitor.processes.worker_lines import WorkerAnswer, WorkerLines, WorkerRef

#: The most recordings at the same time.
MOST: Final = 4
#: The most bytes of lines that wait for a command that reads slowly; further lines are dropped.
_MOST_BYTES: Final = 32 * 1024 * 1024
#: Seconds for which workers record after a question, between two questions, and between two looks for new workers.
_LEASE: Final = 4.0
_RENEW: Final = 1.0
_LOOK: Final = 0.1
#: Seconds that the last lines may take.
_REST: Final = 2.0
_KEY_BYTES: Final = 32


class Recording:
    """A recording: its rule, and the lines that wait for the command."""

    def __init__(self, lines: WorkerLines, options: Mapping[str, Any], limit: int, seconds: float) -> None:
        self.name = secrets.token_hex(8)
        #: Why it has ended; empty while it goes on.
        self.ended = ""
        self._lines = lines
        #: The key of the pseudonyms never leaves the gateway's processes.
        self._arguments = {"name": self.name, "key": secrets.token_bytes(_KEY_BYTES).hex(), "options": options}
        self._limit = limit
        self._until = time.monotonic() + seconds
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._has_more = Event()
        self._next_progress = 0.0
        #: The numbers of lines that have come, that were passed on, and that were dropped here.
        self._received = self._passed = self._dropped = 0
        #: What each worker has recorded and dropped, by its process id; and those that a fault has ended.
        self._counts: dict[int, tuple[int, int]] = {}
        self._failed: set[int] = set()

    def begin(self) -> list[WorkerAnswer]:
        """Give all workers the rule, and return their answers."""
        return self._ask(_LEASE)

    def take(self, line: bytes) -> None:
        """Take a line that a worker feeds."""
        self._received += 1
        if self._bytes + len(line) > _MOST_BYTES:
            self._dropped += 1
        else:
            self._waiting.append(line)
            self._bytes += len(line)
        self._has_more.set()

    def end(self, why: str) -> None:
        """End the recording; the lines that wait are still passed on."""
        self.ended = self.ended or why
        self._has_more.set()

    def stream(self, settings: str) -> Iterator[bytes]:
        """Yield what the command reads, a JSON object a line: facts, exchanges, progress, and the end."""
        asking = gevent.spawn(self._keep_asking)
        try:
            facts = {"name": self.name, "created": time.time(), "gproxy": __version__, "settings": settings}
            yield _line(begun=facts)
            while not self.ended:
                yield from self._pass_on()
            asking.kill()
            self._ask(0)
            yield from self._rest()
            yield _line(end={"why": self.ended, **self.progress})
        finally:
            asking.kill()
            if not self.ended:  # the command has left
                self._ask(0)

    @property
    def progress(self) -> dict[str, int]:
        """The numbers of exchanges that were passed on and that were lost, and of workers that record no more."""
        dropped = self._dropped + sum(lost for _, lost in self._counts.values())
        return {"recorded": self._passed, "dropped": dropped, "failed": len(self._failed)}

    def _pass_on(self) -> Iterator[bytes]:
        """Wait up to a second, and yield the lines that wait, and once a second the progress."""
        self._has_more.wait(min(_RENEW, max(self._until - time.monotonic(), 0)))
        self._has_more.clear()
        yield from self._take_waiting()
        if time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + _RENEW
            yield _line(progress=self.progress)
        if self._passed >= self._limit:
            self.end("limit")
        elif time.monotonic() >= self._until:
            self.end("time")

    def _take_waiting(self) -> Iterator[bytes]:
        while self._waiting and self._passed < self._limit:
            line = self._waiting.popleft()
            self._bytes -= len(line)
            self._passed += 1
            yield line

    def _rest(self) -> Iterator[bytes]:
        """Yield the lines that are still on their way."""
        ends = time.monotonic() + _REST
        expected = sum(recorded for recorded, _ in self._counts.values())
        while self._received < expected and self._passed < self._limit and time.monotonic() < ends:
            self._has_more.wait(_LOOK)
            self._has_more.clear()
            yield from self._take_waiting()
        yield from self._take_waiting()

    def _keep_asking(self) -> None:
        """Renew the rule until its time is over, and give it to workers that are new.

        The command may have stopped reading, so that nothing else ends the recording.
        """
        while True:
            known, ends = {*self._lines}, time.monotonic() + _RENEW
            while {*self._lines} <= known and time.monotonic() < ends:
                gevent.sleep(_LOOK)
            if time.monotonic() >= self._until:
                return
            self._ask(_LEASE)

    def _ask(self, seconds: float) -> list[WorkerAnswer]:
        answers = self._lines.ask("record", {**self._arguments, "seconds": seconds})
        for one in answers:
            for part in one.parts:
                self._counts[one.worker.pid] = part["recorded"], part["dropped"]
                if part.get("failed"):  # a worker of an older version does not say
                    self._failed.add(one.worker.pid)
        return answers


class Recordings:
    """The recordings of a gateway, by their names."""

    def __init__(self, lines: WorkerLines) -> None:
        self._lines = lines
        self._all: dict[str, Recording] = {}

    @property
    def is_full(self) -> bool:
        """True if there are so many recordings that no further one is admitted."""
        return len(self._all) >= MOST

    def find(self, name: str) -> Recording | None:
        """Return the recording of that name; None if there is none."""
        return self._all.get(name)

    def take(self, _: WorkerRef, __: float, fields: Mapping[str, Any]) -> None:
        """Take a line that a worker feeds."""
        recording = self._all.get(fields["recording"])
        if recording is not None:
            recording.take(fields["line"])

    def begin(self, options: Mapping[str, Any], limit: int, seconds: float) -> tuple[Recording, list[WorkerAnswer]]:
        """Begin a recording, and return it with the answers of the workers. The caller streams or forgets it."""
        recording = Recording(self._lines, options, limit, seconds)
        self._all[recording.name] = recording
        return recording, recording.begin()

    def forget(self, recording: Recording) -> None:
        """Take no further lines of the recording."""
        self._all.pop(recording.name, None)


def _line(**content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"
