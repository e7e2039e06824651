"""All live worker processes, of every generation: their messages, ends, heartbeats and sharing."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from time import monotonic, time
from typing import Final

from gproxy.arbiter import messages
from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.messages import Message
from gproxy.arbiter.spawn import STACK_SIGNAL, CannotStartError, Spawned, spawn
from gproxy.arbiter.worker_process import ExitStatus, Kill, Sharing, WorkerProcess, WorkerState
from gproxy.observe.log import Origin, log_with_stack
from gproxy.state.shared.memory import SharedState

_log = logging.getLogger("gproxy")

#: Reads of 64 KiB from an ended worker's socket; bounded, since a child of the worker may hold the socket open.
_LAST_READS: Final = 4
_CHECK_EVERY: Final = 1.0
#: Seconds that a worker has to write its stacks before it is killed.
_STACK_SECONDS: Final = 0.5
#: Characters of the reason of a failed reload that workers get.
_LONGEST_FAILURE: Final = 1000
#: Seconds after which a slow start of a worker is logged.
_SLOW: Final = 5.0
#: Seconds that a worker may spend in imports, build and open, where user code runs; `worker_timeout` if longer.
_STARTING: Final = 60.0


class Workers:
    """All live workers; calls `received` with each message, and `ended` with each ended worker.

    `ended` also gets the generation of the worker, and its exit status. Raises CannotStartError if no memory can be
    shared.
    """

    def __init__(
        self,
        loop: EventLoop,
        received: Callable[[WorkerProcess, Message], None],
        ended: Callable[[WorkerProcess, Generation, ExitStatus], None],
    ) -> None:
        self._loop = loop
        self._received = received
        self._ended = ended
        try:
            self._state = SharedState.create()
        except OSError as error:
            raise CannotStartError(error) from None
        self._workers: dict[int, WorkerProcess] = {}  # by process id
        self._generations: dict[int, Generation] = {}  # by number, those that have workers
        self._others: dict[int, Callable[[ExitStatus], None]] = {}
        #: Those who wait for the stack of a worker, by its process id.
        self._stacks: dict[int, list[Callable[[Sequence[str]], None]]] = {}
        self._reloads = messages.Reloads()
        loop.every(_CHECK_EVERY, self._check)
        loop.after_pause(self._forgive)

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def admit(self, spawned: Spawned, generation: Generation) -> None:
        """Add a started worker to the generation, and send it the settings to build."""
        worker = self._workers[spawned.pid] = WorkerProcess(spawned)
        self._generations[generation.number] = generation
        self._loop.register(worker.control.socket, partial(self._receive, worker))
        generation.add(worker)

    def generation_of(self, worker: WorkerProcess) -> Generation:
        """Return the generation that a live worker belongs to."""
        return self._generations[worker.generation_number]

    def fill(self, generation: Generation) -> None:
        """Start the missing workers of the generation. Raises CannotStartError."""
        for number in generation.missing():
            self.start(generation, number)

    def start(self, generation: Generation, number: int) -> None:
        """Start the worker of this number. Raises CannotStartError."""
        self.admit(spawn(generation.number, number), generation)

    def send(self, message: Message) -> None:
        """Send the command to every worker that has received `open`."""
        for worker in self:
            if worker.state >= WorkerState.OPENING:
                worker.send(message)

    def count_reload(self, generation: int, *, succeeded: bool, failure: str = "") -> None:
        """Announce a reload, or the start, to all workers, and to those that open later; `failure` is its reason."""
        before = self._reloads
        self._reloads = messages.Reloads(
            generation,
            before.succeeded + (succeeded and before.generation > 0),
            before.failed + (not succeeded),
            last_succeeded=succeeded,
            success_time=time() if succeeded else before.success_time,
            failure=failure[:_LONGEST_FAILURE],
        )
        self.send(self._reloads)

    @staticmethod
    def discard(workers: Iterable[WorkerProcess]) -> None:
        """Kill the workers, which have no requests to finish."""
        for worker in list(workers):
            worker.kill()

    def open_waiting(self) -> None:
        """Send `open` to the waiting workers (4) once all serving ones share their state (3); unshare the last worker.

        A generation's first worker opens first, so that a failure to open is logged once.
        """
        workers = list(self)
        opened = [worker for worker in workers if WorkerState.OPENING <= worker.state < WorkerState.KILLED]
        for worker in (worker for worker in workers if self.generation_of(worker).may_open(worker)):
            alone = len(workers) == 1 == self.generation_of(worker).worker_count
            for other in opened:
                other.share()
            if not all(other.sharing is Sharing.ACTIVE for other in opened):
                return
            self._open(worker, shared=not alone)
            opened.append(worker)
        if len(workers) == 1 == self.generation_of(workers[0]).worker_count and workers[0].sharing is Sharing.ACTIVE:
            workers[0].send(messages.Unshare())

    def _open(self, worker: WorkerProcess, *, shared: bool) -> None:
        fds = self._state.fd, *(sock.fileno() for sock in self.generation_of(worker).sockets.values())
        worker.send(messages.Open(shared), fds)
        worker.send(self._reloads)

    def _receive(self, worker: WorkerProcess) -> None:
        for message in worker.control.receive():
            if not isinstance(message, messages.Blocked):  # which says that the worker hangs
                worker.last_message = monotonic()
            if worker.apply(message):
                self._received(worker, message)
        if worker.control.ended:
            self._loop.unregister(worker.control.socket)

    def reap(self) -> None:
        """Collect all ended child processes; as process 1 of a container the arbiter also gets orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._workers:
                self._remove(self._workers[pid], status)
            elif ended := self._others.pop(pid, None):
                ended(ExitStatus.of(status))

    def watch(self, pid: int, ended: Callable[[ExitStatus], None]) -> None:
        """Call `ended` when the child process, which is no worker, has ended."""
        self._others[pid] = ended

    def forget(self, pid: int) -> None:
        """Watch the child process no longer."""
        self._others.pop(pid, None)

    @property
    def memory(self) -> int:
        """The descriptor of the memory that processes share."""
        return self._state.fd

    def _remove(self, worker: WorkerProcess, status: int) -> None:
        worker.is_reaped = True
        for _ in range(_LAST_READS):
            self._receive(worker)
        self._loop.unregister(worker.control.socket)
        worker.control.close()
        del self._workers[worker.pid]
        generation = self.generation_of(worker)
        if all(other.generation_number != generation.number for other in self):
            del self._generations[generation.number]
        if worker.is_hung or (worker.state is WorkerState.BUILT and worker.control.stray):  # or a self-test has hung
            _log_stack(worker)
        self._ended(worker, generation, ExitStatus.of(status))

    def _check(self) -> None:
        """Kill the workers that have sent no message within their limit; log slow starts."""
        now = monotonic()
        for worker in (worker for worker in self if worker.state is not WorkerState.KILLED):
            limit: float = self.generation_of(worker).server.worker_timeout
            if worker.state < WorkerState.READY:
                limit = limit and max(limit, _STARTING)
                _log_slow_start(worker, now - worker.last_message, limit)
            if 0 < limit < now - worker.last_message:
                _log.error("%s has sent no heartbeat for %g s; killing it", worker, limit)
                self.kill_with_stack(worker)

    def _forgive(self, seconds: float) -> None:
        """Count the silence of workers without a pause of the arbiter, which has paused or deafened them all."""
        for worker in self:
            worker.last_message = min(worker.last_message + seconds, monotonic())

    def ask_stack(self, worker: WorkerProcess, answer: Callable[[Sequence[str]], None]) -> None:
        """Let the worker, which serves on, write its stacks; `answer` gets their lines, none if it writes none."""
        waiting = self._stacks.setdefault(worker.pid, [])
        waiting.append(answer)
        if len(waiting) == 1:
            worker.control.stray.clear()
            worker.signal(STACK_SIGNAL)
            self._loop.after(_STACK_SECONDS, partial(self._answer_stack, worker))

    def _answer_stack(self, worker: WorkerProcess) -> None:
        lines, worker.control.stray = worker.control.stray, []
        for answer in self._stacks.pop(worker.pid):
            answer(lines)

    @staticmethod
    def log_block(worker: WorkerProcess, blocked: messages.Blocked) -> None:
        """Log a block of the worker's event loop, which the worker cannot log itself."""
        log_with_stack(logging.WARNING, blocked.message, blocked.stack, Origin(*blocked.origin), worker.names)

    def keep_code(self, worker: WorkerProcess, imported: messages.Imported) -> None:
        """Keep the code of modules that the worker has imported, for later workers of its generation."""
        self.generation_of(worker).reading.code.add(worker.control.take_fds(1), imported.files)

    def kill_with_stack(self, worker: WorkerProcess) -> None:
        """Kill a hung worker after it has written its stacks, for the log."""
        worker.apply(Kill())
        worker.is_hung = True
        worker.control.stray.clear()
        worker.signal(STACK_SIGNAL)
        self._loop.after(_STACK_SECONDS, worker.kill)


def _log_slow_start(worker: WorkerProcess, waited: float, limit: float) -> None:
    """Log once that a worker starts slowly: user code may hang, and the start or reload waits meanwhile."""
    if waited < _SLOW or worker.slow_start_was_logged or worker.state is WorkerState.BUILT:
        return
    worker.slow_start_was_logged = True
    doing = "imports or builds" if worker.state is WorkerState.STARTING else "opens"
    bound = f" (limit {limit:g} s)" if limit else ""
    _log.warning("%s starts slowly: it still %s the parts of the settings%s", worker, doing, bound)


def _log_stack(worker: WorkerProcess) -> None:
    stack = worker.control.stray or ["no stack received"]
    log_with_stack(logging.ERROR, f"{worker} hung here:", stack, names=worker.names)
