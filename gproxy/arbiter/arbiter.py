"""The parent process: it opens sockets, starts and watches workers, reloads and stops.

The arbiter handles no request, imports neither gevent nor user code, and does one thing at a time: it takes signals,
messages from workers, ends of processes and timers in turn. A start is a reload without an old generation:

    1. The arbiter spawns a first worker, which builds all parts of the settings.      build -> built
    2. The arbiter opens the missing sockets and spawns the other workers.
    3. Workers that serve already move their state into the shared memory.             share -> shared
    4. Each new worker opens its parts.                                                open -> ready
    5. When all are ready they accept, and the old generation retires.                 accept, retire

The same numbers mark the steps in the code. A failure before step 5 leaves the old generation unchanged, and the
arbiter's log level.
"""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Any, Final

from gproxy import __version__
from gproxy.arbiter import messages
from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.generations.generation import Generation, Sockets
from gproxy.arbiter.generations.history import GenerationHistory, Reading
from gproxy.arbiter.generations.probation import Probation
from gproxy.arbiter.generations.reload import Reload, ReloadQueue
from gproxy.arbiter.generations.reload_on_change import ReloadOnChange
from gproxy.arbiter.generations.trial import Trial
from gproxy.arbiter.messages import Message
from gproxy.arbiter.monitoring import Monitoring, NoMonitor
from gproxy.arbiter.shutdown import PendingLine, Shutdown
from gproxy.arbiter.sockets import CannotListenError
from gproxy.arbiter.spare_worker import SpareWorker
from gproxy.arbiter.spawn import CannotStartError, Spawned, name_process, spawn
from gproxy.arbiter.staff import Staff
from gproxy.arbiter.systemd import Notifier, listen_fds, watchdog_interval
from gproxy.arbiter.worker_process import ExitStatus, WorkerProcess, WorkerState
from gproxy.arbiter.workers import Workers
from gproxy.config.load import Overrides
from gproxy.observe import log

_log = logging.getLogger("gproxy")

_STOPPING: Final = "the gateway is stopping"


class Arbiter:
    """The parent process that serves the settings at `path`, beginning with an already spawned worker.

    Raises CannotStartError.
    """

    def __init__(self, path: str, overrides: Overrides, first: Spawned) -> None:
        name_process("gproxy: arbiter")
        log.setup("info")
        self._path = path
        self._overrides = overrides
        self._inherited = listen_fds()
        self._first = first
        self._notifier = Notifier()
        self._loop = EventLoop()
        self._workers = Workers(self._loop, self._received, self._ended)
        #: Unix time of the start.
        self._started = time()
        self._number = 0
        self._current: Generation | None = None
        self._next: Generation | None = None
        self._reloads = ReloadQueue()
        self._history = GenerationHistory()
        self._probation = Probation(self._history, self._reloads, self.reload)
        self._reload_on_change = ReloadOnChange(
            path, self._loop, self._reload, is_reloading=lambda: self._next is not None
        )
        self._spare = SpareWorker(self._loop, self._workers, spawn)
        self._monitor: Monitoring = NoMonitor()
        self._line = PendingLine(self._loop, self._workers)
        self._shutdown = Shutdown(
            self._loop,
            self._workers,
            self._notifier,
            self._line,
            serving=lambda: self._current,
            drop_next=self._abandon,
        )
        self._staff = Staff(self._loop, self._workers, self._shutdown, serving=lambda: self._current)
        self._code = 0
        self._reactions: dict[type[Message], Callable[[WorkerProcess, Any], None]] = {
            messages.Built: self._on_built,
            messages.Judged: self._on_judged,
            messages.Failed: self._on_failed,
            messages.Ready: self._on_ready,
            messages.Shared: lambda *_: self._workers.open_waiting(),  # (4)
            messages.Closed: lambda *_: self._line.closed(),
            messages.Stopped: self._shutdown.count_cut,
            messages.Blocked: self._workers.log_block,
            messages.Lacks: lambda worker, lacks: self._monitor.lacks(worker, lacks.upstream, lacks.backend),
            messages.Beat: self._probation.note,
            messages.Imported: self._workers.keep_code,
        }

    def run(self) -> int:
        """Serve until a signal stops the arbiter; return the exit code."""
        self._handle_signals()
        self._begin(self._first)
        self._workers.reap()  # a worker that ended before the handler existed left no SIGCHLD
        self._loop.run()
        self._loop.block_signals()
        self._spare.discard()
        self._monitor.close()
        self._workers.discard(self._workers)
        return self._code

    def _exit(self, code: int) -> None:
        self._code = code
        self._loop.stop()

    def _handle_signals(self) -> None:
        self._loop.handle_signals(
            {
                signal.SIGCHLD: self._workers.reap,
                signal.SIGTERM: partial(self._shutdown.stop, "SIGTERM"),
                signal.SIGINT: partial(self._shutdown.stop, "SIGINT"),
                signal.SIGQUIT: self._shutdown.quit,
                signal.SIGHUP: partial(self._reload, "SIGHUP"),
                signal.SIGUSR1: partial(self._workers.send, messages.Reopen()),
                signal.SIGUSR2: partial(_log.warning, "SIGUSR2: ignored"),
                signal.SIGTTIN: partial(self._staff.change, 1, "SIGTTIN"),
                signal.SIGTTOU: partial(self._staff.change, -1, "SIGTTOU"),
            }
        )

    # Generations.

    def _begin(self, first: Spawned, reading: Reading | None = None) -> None:
        """Let the first worker of the next generation build `reading`, or what is on the disk (1)."""
        self._number += 1
        self._next = Generation(self._number, self._path, self._overrides, self._inherited, reading)
        if self._current is None:
            log.setup("info", self._next.log.errors)
        self._workers.admit(first, self._next)

    def _reload(self, why: str) -> None:
        self.reload(Reload(why))

    def reload(self, reload: Reload) -> None:
        """Begin the reload, or let it follow the current one; its replies get the outcome."""
        if self._shutdown.began:
            reload.settle(succeeded=False, reasons=[_STOPPING])
        elif self._next is not None:
            _log.info("%s: another reload follows the current one", reload.cause)
            self._reloads.wait(reload)
        elif reload.is_rollback and self._history.previous is None:
            _log.warning("%s: there is no earlier generation to return to", reload.cause)
            reload.settle(succeeded=False, reasons=["there is no earlier generation to return to"])
            self._settle()
        else:
            self._start_reload(reload)

    def _start_reload(self, reload: Reload) -> None:
        self._line.log()  # the outcome of the reload before comes first
        self._reloads.current = reload
        if reload.is_rollback and (reading := reload.reading or self._history.previous):
            reload.reading = reading
            _log.info("%s: returning to generation %d", reload.cause, reading.generation)
        else:
            _log.info("%s: %s", reload.cause, "trying the settings and the code" if reload.is_dry else "reloading")
        if not reload.is_dry:
            self._notifier.reloading()
        try:
            self._begin(self._spare.take(self._number + 1), reload.reading)
        except CannotStartError as error:
            self._give_up(1, [str(error)])

    def _prepare(self, generation: Generation, warnings: list[str]) -> None:
        """Open the sockets and spawn the other workers of a generation whose settings are valid (2)."""
        try:
            generation.open(self._current_sockets)
            if self._reloads.is_dry:  # the others would do the same
                generation.worker_count = 1
            if self._current is None:  # else in step 5
                log.setup(generation.log.level, generation.log.errors)
            self._prepare_monitor(generation)
        except CannotListenError as error:
            self._give_up(1, [str(error)])
            return
        for warning in warnings:
            _log.warning("%s", warning)
        try:
            self._workers.fill(generation)
        except CannotStartError as error:
            self._give_up(1, [str(error)])

    def _prepare_monitor(self, generation: Generation) -> None:
        """Open the sockets of `[admin]`, if there is or was a monitor. Raises CannotListenError."""
        if isinstance(self._monitor, NoMonitor) and generation.has_monitor:
            from gproxy.arbiter.monitor.monitor_process import MonitorProcess  # late: most gateways have no monitor

            self._monitor = MonitorProcess(self._loop, self._workers, self)
        self._monitor.prepare(generation.admin)

    @property
    def _current_sockets(self) -> Sockets:
        return self._current.sockets if self._current else {}

    def _give_up(self, code: int, reasons: Sequence[str], *, is_logged: bool = False) -> None:
        """Discard the next generation: the current one keeps serving; without one the arbiter exits with `code`."""
        self._drop_next()
        if self._current is None:
            for reason in reasons if not is_logged else ():
                sys.stderr.write(f"{reason}\n") if code == 2 else _log.error("%s", reason)
            self._exit(code)
            return
        serving, what = self._current.number, "dry reload" if self._reloads.is_dry else "reload"
        for reason in reasons if not is_logged else ():
            _log.error("%s: %s", what, reason)
        _log.error("%s failed; generation %d keeps serving", what, serving)
        if not self._reloads.is_dry:
            self._workers.count_reload(serving, succeeded=False, failure=next(iter(reasons), "unknown reason"))
            self._notifier.ready("the last reload failed; see the log")
        self._reloads.settle(serving, reasons, succeeded=False)
        self._settle()

    def _end_dry(self, tried: Generation, serving: Generation) -> None:
        """Discard a generation that could accept: its worker closes its parts and exits."""
        removed = tried.close(serving.sockets)
        for worker in list(tried.workers):
            self._staff.retire(worker, removed)
        self._drop_next()
        _log.info("dry reload succeeded; generation %d keeps serving", serving.number)
        self._reloads.settle(serving.number, succeeded=True)
        self._settle()

    def _drop_next(self) -> None:
        generation, self._next = self._next, None
        self._monitor.give_up()
        if generation:
            self._workers.discard(generation.workers)
            generation.close(self._current_sockets)

    def _abandon(self) -> None:
        """Discard the next generation and all reloads, because the gateway stops."""
        self._drop_next()
        self._line.log()
        self._reloads.abandon(_STOPPING)

    def _promote(self, new: Generation) -> None:
        """Let a generation whose workers are all ready accept, and retire the old one (5)."""
        old, self._current, self._next = self._current, new, None
        self._workers.count_reload(new.number, succeeded=True)
        for worker in new.workers:
            new.accept(worker)
        if old is None:
            interval = watchdog_interval()
            if interval:
                self._loop.every(interval, self._notifier.alive)
            _log.info("gproxy %s serves on %s", __version__, new)
        else:
            log.setup(new.log.level, new.log.errors)
            removed = old.close(new.sockets)
            for worker in list(old.workers):
                self._staff.retire(worker, removed)
            settle = partial(self._reloads.settle, new.number, succeeded=True)
            self._line.put(f"reloaded: generation {new.number} serves on {new}", settle)
        self._notifier.ready(f"serves on {new}")
        reload = self._reloads.current
        is_proven = self._probation.is_passed
        self._probation.begin(new, reload)
        self._history.serve(new.reading, reload.reading if reload else None, is_proven=is_proven)
        self._monitor.serve(new)
        self._reload_on_change.follow(new)
        self._settle()

    def _settle(self) -> None:
        """Finish a start or reload, successful or not: start a queued reload."""
        if reload := self._reloads.next():
            self.reload(reload)
        elif self._current and self._current.server.reload:
            self._spare.prepare(self._number + 1)

    def scale(self, count: int, cause: str) -> None:
        """Run so many workers until the next reload."""
        self._staff.scale(count, cause)

    # Messages of workers.

    def _received(self, worker: WorkerProcess, message: Message) -> None:
        self._reactions[type(message)](worker, message)

    def _on_built(self, worker: WorkerProcess, built: messages.Built) -> None:
        generation = self._workers.generation_of(worker)
        generation.note_files(built.files)
        if generation is self._next and generation.trial and not generation.trial.is_over:
            generation.trial.begin(built.warnings)
        elif generation is self._next and not generation.is_built:
            self._prepare(generation, built.warnings)
        self._workers.open_waiting()  # (3) (4)

    def _on_judged(self, worker: WorkerProcess, judged: messages.Judged) -> None:
        generation = self._workers.generation_of(worker)
        if generation.trial:
            generation.trial.judge(judged.reasons)
        if judged.reasons and self._current is not None and generation is self._next:
            self._give_up(1, judged.reasons)

    def _end_trial(self, generation: Generation, trial: Trial, ending: str) -> None:
        """Go on after the self-test. Without a current generation there is none to keep: a failure is a warning."""
        reasons = trial.end(ending)
        if reasons and self._current is not None:
            self._give_up(1, reasons)
            return
        for reason in reasons:
            _log.warning("%s; serving all the same, since there is no earlier generation", reason)
        self._prepare(generation, [*trial.warnings])

    def _on_failed(self, worker: WorkerProcess, failed: messages.Failed) -> None:
        if self._workers.generation_of(worker) is self._next:
            self._give_up(failed.code, failed.reasons, is_logged=failed.is_logged)
            return
        for reason in failed.reasons if not failed.is_logged else ():
            _log.error("%s: %s", worker, reason)

    def _on_ready(self, worker: WorkerProcess, _: messages.Ready) -> None:
        generation = self._workers.generation_of(worker)
        self._monitor.attach(worker)
        if generation is self._current:
            generation.accept(worker)
            if self._shutdown.began:
                worker.send(messages.Unready())
        elif generation is self._next and generation.is_ready():
            if self._reloads.is_dry and self._current is not None:
                self._end_dry(generation, self._current)
            else:
                self._promote(generation)
        self._workers.open_waiting()

    def _ended(self, worker: WorkerProcess, generation: Generation, ending: ExitStatus) -> None:
        """React to the end of a worker, which is unexpected if its generation still has the worker."""
        was_needed = generation.release(worker)
        self._monitor.detach(worker)
        if generation is self._next and generation.trial and generation.trial.has_begun and generation.is_on_trial:
            self._end_trial(generation, generation.trial, f"{worker} {ending}")
        elif generation is self._next:
            self._give_up(1, [f"{worker} {ending} before it was ready"])
        elif was_needed and generation is self._current and not self._shutdown.is_closing:
            self._staff.replace(generation, worker, ending)
        else:
            is_killed = worker.state is WorkerState.KILLED
            self._shutdown.lost += worker.served_since > 0 and (is_killed or not ending.is_clean)
            if not (is_killed or ending.is_clean):
                _log.error("%s %s while it was draining", worker, ending)
        self._workers.open_waiting()
        self._shutdown.finish()

    def report(self) -> dict[str, Any]:
        """Return the state of the arbiter, for the monitor: times are Unix times."""
        current = self._current
        return {
            "generation": current.number if current else 0,
            "worker_count": current.worker_count if current else 0,
            "started": self._started,
            "reloading": self._reloads.current.cause if self._reloads.current else None,
            "reloads": self._reloads.records(),
            "rollbacks": self._history.depth,
            "probation": self._probation.report(),
            "workers": [worker.report() for worker in self._workers],
        }
