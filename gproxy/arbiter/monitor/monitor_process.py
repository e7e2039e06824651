"""The monitor process as the arbiter sees it: its sockets, its start and end, and its lines to the workers.

The monitor belongs to no generation. A reload passes the settings of the new one on; the monitor starts anew only if
`[admin]` or `[trace]` has changed, because its sockets, its rights or its collector have, or if the package on disk is
another one.
"""

import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import gproxy
from gproxy.arbiter import messages
from gproxy.arbiter.control import Control
from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.messages import Message
from gproxy.arbiter.monitor.admin_sockets import AdminSockets, close_sockets, open_sockets, permit
from gproxy.arbiter.monitor.messages import (
    MONITOR_NOTICES,
    Attach,
    Beat,
    Configure,
    Detach,
    Leave,
    Logged,
    MonitorCommand,
    Order,
    Outcome,
    Report,
    Serving,
)
from gproxy.arbiter.monitor.orders import Orders
from gproxy.arbiter.monitor.overrides import BackendOverrides, TemporaryLogLevel
from gproxy.arbiter.monitor.records import RecordHandler
from gproxy.arbiter.monitoring import Supervisor
from gproxy.arbiter.sockets import CannotListenError
from gproxy.arbiter.spawn import CannotStartError, spawn_module
from gproxy.arbiter.worker_process import ExitStatus, WorkerProcess, WorkerState
from gproxy.arbiter.workers import Workers
from gproxy.config.file_stamp import FileStamp
from gproxy.config.sections.admin import AdminSettings

_log = logging.getLogger("gproxy")

#: The file whose change means that another version of the package is on the disk.
_PACKAGE: Final = Path(gproxy.__file__)
#: Seconds before a monitor that has ended is replaced; longer each time while monitors end early.
_PAUSES: Final = (0.1, 1.0, 5.0, 30.0)
#: Seconds after which a monitor counts as stable.
_STABLE: Final = 60.0
#: Seconds between two looks at the monitor, and at the times of what operators have changed.
_CHECK_EVERY: Final = 1.0
#: Seconds that a monitor may take to start; `worker_timeout` if longer.
_STARTING: Final = 60.0
#: Seconds that a monitor has to end its answers, some of which wait for reloads, before it is killed.
_LEAVING: Final = 90.0
#: Seconds that it has when the gateway stops, and between two looks whether it has ended.
_MOMENT: Final = 0.5
_POLL: Final = 0.01


class MonitorProcess:
    """The monitor of a gateway, from the first generation with `[admin] bind` or `[trace] endpoint` on."""

    def __init__(self, loop: EventLoop, workers: Workers, supervisor: Supervisor) -> None:
        self._loop = loop
        self._workers = workers
        self._supervisor = supervisor
        self._overrides = BackendOverrides()
        self._level = TemporaryLogLevel(workers)
        self._orders = Orders(supervisor, workers, self._overrides, self._level)
        self._records = RecordHandler(lambda fields: self._send(Logged(fields)))
        self._sockets: AdminSockets = {}
        #: The sockets of the next generation until it serves, or is given up.
        self._prepared: AdminSockets = {}
        self._generation: Generation | None = None
        self._control: Control | None = None
        self._pid = 0
        #: Those that leave: the control socket by process id.
        self._leaving: dict[int, Control] = {}
        self._package: FileStamp | None = None
        self._began = 0.0
        self._is_serving = False
        #: Monotonic time of its last message.
        self._last_message = 0.0
        self._early_ends = 0
        self._reported: dict[str, Any] = {}
        loop.every(_CHECK_EVERY, self._check)
        loop.after_pause(self._forgive)
        loop.after_each(self._report)

    def prepare(self, admin: AdminSettings) -> None:
        """Open the missing sockets of the next generation. Raises CannotListenError."""
        self._records.attach(_log)
        self._prepared = open_sockets(admin, self._sockets)

    def give_up(self) -> None:
        """Close the sockets that were opened for a generation that is given up."""
        close_sockets(self._prepared, self._sockets)
        self._prepared = {}

    def serve(self, generation: Generation) -> None:
        """Serve the settings of the generation: start, continue or end the process."""
        before = self._generation
        self._records.attach(_log)
        self._overrides.serve(generation.number)
        has_same_sockets = self._prepared == self._sockets
        close_sockets(self._sockets, self._prepared)
        self._sockets, self._prepared = self._prepared, {}
        self._generation = generation
        if before is not None and before.admin != generation.admin:
            self._permit(generation.admin)
        is_same = before is not None and has_same_sockets and not _differ(before, generation)
        if not is_same or FileStamp.of(_PACKAGE) != self._package:
            self.stop()
        if generation.has_monitor and self._control is None:
            self._start()
        elif self._control is not None:
            self._configure(self._control, generation)

    def _permit(self, admin: AdminSettings) -> None:
        """Give the sockets the permissions of the new settings."""
        try:
            permit(self._sockets, admin)
        except CannotListenError as error:
            _log.error("monitor: %s", error)

    def attach(self, worker: WorkerProcess) -> None:
        """Give a worker that is ready what operators have changed, and connect the monitor with it."""
        self._overrides.give(worker)
        self._level.give(worker)
        self._connect(worker)

    def detach(self, worker: WorkerProcess) -> None:
        """Announce the end of a worker."""
        self._send(Detach(worker.pid))

    def lacks(self, worker: WorkerProcess, upstream: str, backend: str) -> None:
        """Drop the override of a backend that the generation of the worker does not have, once it serves."""
        self._overrides.lacks(worker.generation_number, upstream, backend)

    def stop(self) -> None:
        """Let the process finish its answers and exit; until then its orders are carried out and answered."""
        if self._control is None:
            return
        self._send(Leave())
        pid = self._pid
        self._leaving[pid], self._control = self._control, None
        self._workers.watch(pid, lambda _: self._left(pid))
        self._loop.after(_LEAVING, partial(self._kill_leaving, pid))

    def _left(self, pid: int) -> None:
        control = self._leaving.pop(pid)
        self._loop.unregister(control.socket)
        control.close()

    def _kill_leaving(self, pid: int) -> None:
        if pid in self._leaving:
            _kill(pid)

    def close(self) -> None:
        """End the processes and close the sockets, when the gateway stops."""
        self._generation = None
        ending = dict(self._leaving)
        if self._control is not None:
            ending[self._pid], self._control = self._control, None
        for control in ending.values():
            control.close()
        for pid in ending:
            _end(pid)
        close_sockets(self._sockets, {})
        self._sockets = {}

    def _start(self) -> None:
        """Start the process, unless the gateway has stopped or no longer wants one; try again if that fails."""
        generation = self._generation
        if generation is None or not generation.has_monitor or self._control is not None:
            return
        try:
            self._pid, ours = spawn_module("gproxy.monitor.monitor", "monitor")
        except CannotStartError as error:
            pause = self._next_pause()
            _log.error("monitor: %s; retrying in %g s", error, pause)
            self._loop.after(pause, self._start)
            return
        self._began = self._last_message = monotonic()
        self._is_serving = False
        self._package = FileStamp.of(_PACKAGE)
        self._control = Control(ours, MONITOR_NOTICES)
        self._workers.watch(self._pid, self._ended)
        self._loop.register(ours, partial(self._receive, self._control))
        lasting = self._workers.memory, *(sock.fileno() for sock in self._sockets.values())
        self._configure(self._control, generation, lasting)
        for fields in list(self._records.kept):
            self._send(Logged(fields))
        for worker in self._workers:
            if WorkerState.READY <= worker.state < WorkerState.KILLED:
                self._connect(worker)

    def _configure(self, control: Control, generation: Generation, lasting: Sequence[int] = ()) -> None:
        """Send the settings of the generation, to a new process with the descriptors that it keeps."""
        with generation.packed() as settings:
            control.send(Configure(generation.path, generation.overrides, generation.number), (settings, *lasting))
        self._reported = {}
        self._report()

    def _connect(self, worker: WorkerProcess) -> None:
        if self._control is None:
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            worker.send(messages.WorkerLine(), [theirs.fileno()])
            self._send(Attach(worker.generation_number, worker.number, worker.pid), [ours.fileno()])

    def _send(self, command: MonitorCommand, fds: Sequence[int] = ()) -> None:
        """Send the command to the monitor, if there is one; kill a monitor that does not read."""
        if self._control is not None and not self._control.send(command, fds):
            _kill(self._pid)

    def _report(self) -> None:
        """Report the state of the arbiter if it has changed."""
        if self._control is None:
            return
        state = {
            "pid": os.getpid(),
            **self._supervisor.report(),
            "overrides": self._overrides.report(),
            "log_level": self._level.report(),
        }
        if state != self._reported:
            self._reported = state
            self._send(Report(state))

    def _check(self) -> None:
        """End what operators have changed for a time; kill a monitor that hangs."""
        self._overrides.lapse()
        self._level.lapse()
        if self._control is None or self._generation is None:
            return
        limit: float = self._generation.server.worker_timeout
        if not self._is_serving:
            limit = limit and max(limit, _STARTING)
        if 0 < limit < monotonic() - self._last_message:
            _log.error("monitor (pid %d) has sent no heartbeat for %g s; killing it", self._pid, limit)
            self._last_message = monotonic()
            _kill(self._pid)

    def _forgive(self, seconds: float) -> None:
        """Count the monitor's silence without a pause of the arbiter."""
        self._last_message = min(self._last_message + seconds, monotonic())

    def _receive(self, control: Control) -> None:
        for message in control.receive():
            if control is self._control:
                self._last_message = monotonic()
            self._received(control, message)
        if control.ended:
            self._loop.unregister(control.socket)

    def _received(self, control: Control, message: Message) -> None:
        match message:
            case Beat():
                pass
            case Serving() if control is not self._control:
                pass  # it leaves already
            case Serving():
                self._is_serving = True
                where = ", ".join(map(str, self._sockets))
                _log.info("monitor: serves on %s", where) if where else _log.info("monitor: sends traces")
            case Order(number, name, arguments):
                self._orders.obey(name, arguments, partial(self._answer, control, number))
            case _:
                _log.error("monitor: unexpected %s", message)

    def _answer(self, control: Control, number: int, succeeded: bool, result: dict[str, Any]) -> None:
        """Announce the outcome of an order, behind the state that it has left."""
        self._report()
        control.send(Outcome(number, succeeded, result))

    def _ended(self, ending: ExitStatus) -> None:
        """Replace a monitor that has ended by itself: no request depends on it."""
        if self._control is not None:
            self._loop.unregister(self._control.socket)
            self._control.close()
            self._control = None
        pause = self._next_pause()
        _log.error("monitor (pid %d) %s; starting another one in %g s", self._pid, ending, pause)
        self._loop.after(pause, self._start)

    def _next_pause(self) -> float:
        self._early_ends = 0 if monotonic() - self._began > _STABLE else self._early_ends + 1
        return _PAUSES[min(self._early_ends, len(_PAUSES)) - 1] if self._early_ends else _PAUSES[0]


def _end(pid: int) -> None:
    """Wait a moment until the process exits by itself, else kill it: one that hangs would outlive the gateway."""
    deadline = monotonic() + _MOMENT
    while monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:  # it has ended before
            return
        sleep(_POLL)
    _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _differ(before: Generation, after: Generation) -> bool:
    """Return whether the monitor of one generation cannot serve the other."""
    return before.admin != after.admin or before.trace != after.trace
