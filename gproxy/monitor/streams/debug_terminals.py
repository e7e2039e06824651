"""The terminals of `gproxy debug`: a rule goes to all workers, and the first one that asks gets the terminal.

The monitor passes bytes on: what the terminal types goes to the worker's socket, and what the worker writes goes to the
terminal as server-sent events. A closed stream ends the rule, or lets the request go on.
"""

import codecs
import json
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import gevent
from gevent.queue import Empty, Full, Queue

from gproxy.monitor.processes.worker_lines import WorkerAnswer, WorkerLines, WorkerRef

#: The most terminals at a time, and the most pieces of output and of input that wait for one of them.
MOST: Final = 20
_MOST_WAITING: Final = 100
_MOST_TYPED: Final = 4
#: Seconds after which a silent stream shows that it lives, and between two looks for new workers.
_SILENCE: Final = 5.0
_EVERY: Final = 0.5
#: Seconds that a worker has to take what is typed.
_PATIENCE: Final = 2.0
#: The longest line in which a worker asks for the terminal.
_LONGEST: Final = 65536
#: What the worker gets with the terminal, and what it sends last when the session ends.
_GRANTED: Final = b"y"
_ENDED: Final = b"\xff"

Event = Mapping[str, Any]


class DebugTerminal:
    """A terminal, and the streams to the workers until one of them has it. Times are in seconds."""

    def __init__(
        self, lines: WorkerLines, rule: Mapping[str, Any], wait: float, begun: Callable[[Event], None]
    ) -> None:
        self.name = secrets.token_urlsafe(16)
        self._lines = lines
        self._rule = rule
        self._ends = monotonic() + wait
        self._begun = begun
        self._streams: dict[WorkerRef, socket.socket] = {}
        self._owner: socket.socket | None = None
        self._output: Queue[Event | None] = Queue(_MOST_WAITING)
        self._input: Queue[str] = Queue(_MOST_TYPED)
        self._greenlets: list[gevent.Greenlet] = []

    @property
    def has_request(self) -> bool:
        """True once a worker has the terminal."""
        return self._owner is not None

    def start(self) -> list[WorkerAnswer]:
        """Give all workers the rule, and return their answers; new workers get it until one has the terminal."""
        answers = self._arm()
        self._greenlets.append(gevent.spawn(self._keep_arming))
        return answers

    def _arm(self) -> list[WorkerAnswer]:
        new = [worker for worker in self._lines if worker not in self._streams]
        asking = [gevent.spawn(self._ask, worker) for worker in new]
        gevent.joinall(asking)
        return [one.get() for one in asking]

    def _ask(self, worker: WorkerRef) -> WorkerAnswer:
        ours, theirs = socket.socketpair()
        self._streams[worker] = ours
        with theirs:
            answer = self._lines.ask_worker(worker, "debug", {"rule": self._rule}, theirs)
        if answer.error:
            ours.close()
        else:
            self._greenlets.append(gevent.spawn(self._listen, worker, ours))
        return answer

    def _keep_arming(self) -> None:
        while self._owner is None and monotonic() < self._ends:
            gevent.sleep(_EVERY)
            if self._owner is None:
                self._arm()
        if self._owner is None:
            self._end("nothing has matched within the time of --wait")

    def _listen(self, worker: WorkerRef, sock: socket.socket) -> None:
        """Give the worker the terminal if it is the first one that asks, and pass on what it writes."""
        has_ended = False
        with suppress(OSError), sock:
            asked = _line(sock)
            if not asked or self._owner is not None:
                return
            self._owner = sock
            sock.sendall(_GRANTED)
            taken = {**json.loads(asked), "pid": worker.pid}
            self._begun(taken)
            self._output.put({"taken": taken})
            self._greenlets.append(gevent.spawn(self._pass_input_on, sock))
            self._close_others(sock)
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            while data := sock.recv(65536):
                has_ended = data.endswith(_ENDED)
                if text := decoder.decode(data.removesuffix(_ENDED)):
                    self._output.put({"output": text})
        if self._owner is sock:
            self._end("" if has_ended else f"process {worker.pid} has ended, or its output was not read in time")

    def _close_others(self, owner: socket.socket) -> None:
        for sock in self._streams.values():
            if sock is not owner:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _end(self, reason: str) -> None:
        self._output.put({"ended": reason})
        self._output.put(None)

    def type(self, text: str) -> bool:
        """Pass lines on, whole or not at all, and return whether there was room; an empty text ends the input."""
        with suppress(Full):
            self._input.put(text, timeout=_PATIENCE)
            return True
        return False

    def _pass_input_on(self, owner: socket.socket) -> None:
        with suppress(OSError):  # the session has ended
            while text := self._input.get():
                owner.sendall(text.encode("utf-8", "replace"))
            owner.shutdown(socket.SHUT_WR)

    def stream(self) -> Iterator[bytes]:
        """Yield what happens as server-sent events: first the name; a comment is a sign of life."""
        yield _event({"session": self.name})
        while True:
            try:
                found = self._output.get(timeout=_SILENCE)
            except Empty:
                yield b":\n\n"
                continue
            if found is None:
                return
            yield _event(found)

    def close(self) -> None:
        """End the rule, or let the request go on."""
        gevent.killall(self._greenlets, block=False)
        for sock in self._streams.values():
            sock.close()


class DebugTerminals:
    """The terminals that are open, by their names. A name is a secret of its owner."""

    def __init__(self, lines: WorkerLines) -> None:
        self._lines = lines
        self._open: dict[str, DebugTerminal] = {}

    @property
    def is_full(self) -> bool:
        """True if no further one may be opened."""
        return len(self._open) >= MOST

    def open(self, rule: Mapping[str, Any], wait: float, begun: Callable[[Event], None]) -> DebugTerminal:
        """Return a new terminal, which waits for a request. Raises ValueError if no worker accepts the rule."""
        terminal = DebugTerminal(self._lines, rule, wait, begun)
        self._open[terminal.name] = terminal
        answers = terminal.start()
        problems = [one.error for one in answers if one.error]
        if answers and len(problems) == len(answers):
            self.close(terminal)
            raise ValueError(problems[0])
        return terminal

    def find(self, name: str) -> DebugTerminal | None:
        """Return the open terminal of this name."""
        return self._open.get(name)

    def close(self, terminal: DebugTerminal) -> None:
        """Forget the terminal, and end its rule, or let its request go on."""
        self._open.pop(terminal.name, None)
        terminal.close()


def _event(value: Event) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=True).encode() + b"\n\n"


def _line(sock: socket.socket) -> bytes:
    """Return the first line that a worker sends, and nothing behind it; empty if there is none."""
    line = b""
    while not line.endswith(b"\n"):
        data = sock.recv(1)
        if not data or len(line) > _LONGEST:
            return b""
        line += data
    return line
