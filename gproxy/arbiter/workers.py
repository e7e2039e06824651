"""All workers that live, of whatever generation: what they say, when they end, and whether they are alone."""

import logging
import os
import selectors
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic
from typing import Final

from gproxy.arbiter.control import Message
from gproxy.arbiter.event_loop import Timers
from gproxy.arbiter.generation import Generation
from gproxy.arbiter.worker_process import STACK_SIGNAL, WorkerProcess, WorkerState, describe_end
from gproxy.state.shared.memory import SharedState

_log = logging.getLogger("gproxy")

#: How often what a worker left to be read is read, 64 KiB at a time; something it started may still hold the socket.
_LAST_WORDS: Final = 4
_LOOK_AFTER: Final = 1.0
#: What a process needs to write its stack, in seconds.
_WRITING_STACK: Final = 0.5
#: After this time we say what keeps a start or a reload waiting, in seconds.
_SLOW: Final = 5.0
#: What a worker may take to import, build and open what the user has written, in seconds; more if `worker_timeout` is.
_STARTING: Final = 60.0


class Workers:
    """`heard` is told what workers say, `ended` who has ended and how ("exited with status 1")."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        timers: Timers,
        heard: Callable[[WorkerProcess, Message], None],
        ended: Callable[[WorkerProcess, Generation, str], None],
    ) -> None:
        self._selector = selector
        self._timers = timers
        self._heard = heard
        self._ended = ended
        self._state = SharedState.create()
        self._workers: dict[int, WorkerProcess] = {}  # by process id
        self._generations: dict[int, Generation] = {}  # by number, those that have workers
        timers.every(_LOOK_AFTER, self._look_after)

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def admit(self, worker: WorkerProcess, generation: Generation) -> None:
        """It belongs to this generation from now on."""
        self._workers[worker.pid] = worker
        self._generations[generation.number] = generation
        self._selector.register(worker.control.socket, selectors.EVENT_READ, partial(self._hear, worker))
        generation.add(worker)

    def generation_of(self, worker: WorkerProcess) -> Generation:
        """Return the generation that a live worker belongs to."""
        return self._generations[worker.generation_number]

    def fill(self, generation: Generation) -> None:
        """Start those of its workers that are missing. Raises CannotStartError."""
        for number in generation.missing():
            self.admit(WorkerProcess.spawn(generation.number, number), generation)

    def tell(self, name: str) -> None:
        """All that have come so far as to take such words."""
        for worker in self:
            if worker.phase >= WorkerState.OPENING:
                worker.send(name)

    @staticmethod
    def discard(workers: Iterable[WorkerProcess]) -> None:
        """Kill them: they have nothing to finish."""
        for worker in list(workers):
            worker.is_discarded = True
            worker.kill()

    def open_waiting(self) -> None:
        """Let those who wait open, once those who serve know that they are not alone; or tell the last that it is.

        A generation's first opens first: what it cannot open the others need not complain about.
        """
        workers = list(self)
        opened = [worker for worker in workers if worker.phase >= WorkerState.OPENING]
        for worker in (worker for worker in workers if self.generation_of(worker).may_open(worker)):
            alone = len(workers) == 1 == self.generation_of(worker).worker_count
            for other in () if alone else opened:
                other.share()
            if not all(alone or other.is_sharing or other.is_hung for other in opened):
                return
            self._open(worker, shared=not alone)
            opened.append(worker)
        if len(workers) == 1 == self.generation_of(workers[0]).worker_count and workers[0].is_shared:
            workers[0].unshare()

    def _open(self, worker: WorkerProcess, *, shared: bool) -> None:
        worker.phase = WorkerState.OPENING
        worker.is_shared = worker.is_sharing = shared
        fds = self._state.fd, *(sock.fileno() for sock in self.generation_of(worker).sockets.values())
        worker.send("open", shared, fds=fds)

    def _hear(self, worker: WorkerProcess) -> None:
        if self._workers.get(worker.pid) is not worker:
            return  # it ended between being heard of and being heard
        for message in worker.control.receive():
            worker.heard = monotonic()
            self._heard(worker, message)
        if worker.control.ended:
            self._stop_hearing(worker)

    def _stop_hearing(self, worker: WorkerProcess) -> None:
        if worker.control.socket in self._selector.get_map():
            self._selector.unregister(worker.control.socket)

    def reap(self) -> None:
        """Take note of every process that has ended; for process 1 of a container some of them are no workers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._workers:
                self._remove(self._workers[pid], status)

    def _remove(self, worker: WorkerProcess, status: int) -> None:
        for _ in range(_LAST_WORDS):
            self._hear(worker)
        self._stop_hearing(worker)
        worker.control.close()
        del self._workers[worker.pid]
        generation = self.generation_of(worker)
        if worker in generation.workers:
            generation.workers.remove(worker)
        if all(other.generation_number != generation.number for other in self):
            del self._generations[generation.number]
        if worker.is_hung:
            _log_stack(worker)
        self._ended(worker, generation, describe_end(status))

    def _look_after(self) -> None:
        """Who has said nothing for too long hangs."""
        now = monotonic()
        for worker in self:
            limit: float = self.generation_of(worker).server.worker_timeout
            if worker.phase < WorkerState.READY:
                limit = limit and max(limit, _STARTING)
                _report_slow_start(worker, now - worker.heard, limit)
            if 0 < limit < now - worker.heard and not worker.is_hung:
                _log.error("%s has not answered for %g s and is killed", worker, limit)
                self.kill_with_stack(worker)

    def kill_with_stack(self, worker: WorkerProcess) -> None:
        """It hangs: whoever is to mend that wants to know where."""
        worker.is_hung = True
        worker.signal(STACK_SIGNAL)
        self._timers.after(_WRITING_STACK, worker.kill)


def _report_slow_start(worker: WorkerProcess, waited: float, limit: float) -> None:
    """Say, once, that it takes its time: it may be the user's code that hangs, and nothing happens meanwhile."""
    if waited < _SLOW or worker.is_slow or worker.is_discarded or worker.phase is WorkerState.BUILT:
        return
    worker.is_slow = True
    doing = "imports or builds" if worker.phase is WorkerState.STARTING else "opens"
    patience = f", and has {limit:g} s for it" if limit else ""
    _log.warning("%s still %s what the settings name%s", worker, doing, patience)


def _log_stack(worker: WorkerProcess) -> None:
    stack = "\n".join(worker.control.stray) or "it could not say where"
    record = _log.makeRecord(_log.name, logging.ERROR, "", 0, "%s was stuck here:", (worker,), None, sinfo=stack)
    _log.handle(record)
