"""The monitor's ends of the worker lines: it asks all workers side by side, and receives what they feed."""

import json
import logging
import marshal
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from time import monotonic, time
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from gproxy.introspection.frames import (
    END,
    FEED,
    PART,
    QUESTION,
    BrokenLineError,
    read_frame,
    write_descriptor,
    write_frame,
)

_log = logging.getLogger("gproxy")

#: Seconds that a worker has to answer a question.
PATIENCE: Final = 1.0
#: Seconds of rest after a batch of records: a worker that always has more must not keep the monitor from its clients.
_REST: Final = 0.001
#: The most workers that are tried if one is enough.
_TRIED: Final = 3
#: Seconds for which answers are shared: a view that asks each second always gets new ones, unless another has asked.
_FRESH: Final = 0.9
#: Questions that change what other answers are.
_CHANGES: Final = frozenset({"override", "cut"})

#: Receives what a worker feeds: the worker, the kind of the record, its Unix time and its fields.
Receive = Callable[["WorkerRef", str, float, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class WorkerRef:
    """The name of a worker process: its generation, its number within it, and its process id."""

    generation: int
    number: int
    pid: int


@dataclass(slots=True)
class WorkerAnswer:
    """The answer of one worker: its parts, or why there is none."""

    worker: WorkerRef
    parts: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    #: Unix time since which the worker has not answered; 0: it has.
    silent_since: float = 0.0


class _Question:
    """A question under way."""

    def __init__(self, answer: WorkerAnswer) -> None:
        self.answer = answer
        self.is_answered = Event()


class _Line:
    """The line to one worker."""

    def __init__(
        self, worker: WorkerRef, sock: socket.socket, receive: Receive, ended: Callable[["_Line"], None]
    ) -> None:
        self.worker = worker
        self.silent_since = 0.0
        self._socket = sock
        self._receive = receive
        self._ended = ended
        self._writing = BoundedSemaphore()
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}
        self._reader = gevent.spawn(self._read)

    def ask(
        self, question: str, arguments: Mapping[str, Any], until: float, stream: socket.socket | None = None
    ) -> WorkerAnswer:
        """Return the answer; one with an error if none comes until that monotonic time. The worker gets the stream."""
        number, asked = next(self._numbers), _Question(WorkerAnswer(self.worker))
        self._questions[number] = asked
        content = {"number": number, "question": question, "arguments": arguments, "has_stream": stream is not None}
        data = json.dumps(content).encode()
        is_answered = False
        with gevent.Timeout(max(until - monotonic(), 0), False):
            try:
                with self._writing:
                    write_frame(self._socket, QUESTION, data)
                    if stream is not None:
                        write_descriptor(self._socket, stream.fileno())
                is_answered = asked.is_answered.wait()
            except OSError as error:
                asked.answer.error = f"the line is broken: {error.strerror}"
                is_answered = True
        del self._questions[number]
        if not is_answered:
            self.silent_since = self.silent_since or time()
            asked.answer.error = "does not answer"
            asked.answer.silent_since = self.silent_since
        else:
            self.silent_since = 0.0
        return asked.answer

    def close(self) -> None:
        self._reader.kill(block=False)
        self._socket.close()

    def _read(self) -> None:
        try:
            while True:
                kind, content = read_frame(self._socket)
                self._take(kind, content)
                if kind == FEED:
                    gevent.sleep(_REST)
        except BrokenLineError:
            for question in self._questions.values():
                question.answer.error = "has ended"
                question.is_answered.set()
            self._ended(self)

    def _take(self, kind: bytes, content: bytes) -> None:
        if kind == FEED:
            for what, when, fields in marshal.loads(content):  # noqa: S302 the line is ours
                self._pass_on(what, when, fields)
            return
        message = json.loads(content)
        question = self._questions.get(message["number"])
        if question is None:
            return  # the answer came too late
        if kind == PART:
            question.answer.parts.append(message["part"])
        elif kind == END:
            question.answer.error = message["error"]
            question.is_answered.set()

    def _pass_on(self, kind: str, when: float, fields: Mapping[str, Any]) -> None:
        try:
            self._receive(self.worker, kind, when, fields)
        except Exception:  # noqa: BLE001 one record must not end the line
            _log.exception("monitor: a record of the kind %r failed", kind)


class _SharedAnswers:
    """The last answers to one question, and when it was asked."""

    def __init__(self) -> None:
        self.asking = BoundedSemaphore()
        self.asked = -math.inf
        self.answers: list[WorkerAnswer] = []


class WorkerLines:
    """The lines to all workers. `receive` gets what they feed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._lines: dict[int, _Line] = {}  # by process id
        #: By question. Views ask few different ones.
        self._shared: dict[str, _SharedAnswers] = {}

    def __iter__(self) -> Iterator[WorkerRef]:
        """Return the workers that have a line, in the order of their generations and numbers."""
        workers = (line.worker for line in self._lines.values())
        return iter(sorted(workers, key=lambda worker: (worker.generation, worker.number)))

    def attach(self, worker: WorkerRef, sock: socket.socket) -> None:
        """Add the line to a worker."""
        self.detach(worker.pid)
        self._lines[worker.pid] = _Line(worker, sock, self._receive, self._forget)

    def detach(self, pid: int) -> None:
        """Remove the line to a worker that has ended."""
        line = self._lines.pop(pid, None)
        if line is not None:
            line.close()

    def _forget(self, line: _Line) -> None:
        if self._lines.get(line.worker.pid) is line:
            del self._lines[line.worker.pid]

    def ask(self, question: str, arguments: Mapping[str, Any] | None = None) -> list[WorkerAnswer]:
        """Ask all workers side by side, and return an answer of each within PATIENCE, in their order."""
        if question in _CHANGES:
            self._shared.clear()
        until = monotonic() + PATIENCE
        lines = [self._lines[worker.pid] for worker in self]
        asking = [gevent.spawn(line.ask, question, arguments or {}, until) for line in lines]
        gevent.joinall(asking)
        return [greenlet.get() for greenlet in asking]

    def ask_shared(self, question: str) -> list[WorkerAnswer]:
        """Return answers of all workers that are younger than a second: the views of all pages ask the same."""
        shared = self._shared.setdefault(question, _SharedAnswers())
        with shared.asking:
            if monotonic() - shared.asked >= _FRESH:
                shared.answers = self.ask(question)
                shared.asked = monotonic()
            return shared.answers

    def ask_one(self, question: str) -> WorkerAnswer | None:
        """Ask the newest workers in turn until one answers; None if none does within PATIENCE for each of three."""
        for worker in [*self][: -_TRIED - 1 : -1]:
            line = self._lines.get(worker.pid)
            if line is not None and not (answer := line.ask(question, {}, monotonic() + PATIENCE)).error:
                return answer
        return None

    def ask_worker(
        self, worker: WorkerRef, question: str, arguments: Mapping[str, Any], stream: socket.socket
    ) -> WorkerAnswer:
        """Ask one worker, which gets the socket too, and return its answer within PATIENCE."""
        line = self._lines.get(worker.pid)
        if line is None:
            return WorkerAnswer(worker, error="has ended")
        return line.ask(question, arguments, monotonic() + PATIENCE, stream)

    def parts(self, question: str, arguments: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Ask all workers, and return the parts of those that answer."""
        return [part for one in self.ask(question, arguments) for part in one.parts]
