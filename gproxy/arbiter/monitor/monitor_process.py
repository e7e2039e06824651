"""The monitor process as the arbiter sees it: its sockets, its start and end, and its lines to the workers.

The monitor belongs to no generation. A reload passes the settings of the new one on; the monitor starts anew only if
`[admin]` has changed, because its sockets and rights have.
"""

import logging
import socket
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from gproxy.arbiter import messages
from gproxy.arbiter.control import Control
from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.generation import Generation
from gproxy.arbiter.messages import Message
from gproxy.arbiter.monitor.admin_sockets import AdminSockets, close_sockets, open_sockets, permit
from gproxy.arbiter.monitor.messages import MONITOR_NOTICES, Attach, Configure, Detach, Order, Outcome, Report, Serving
from gproxy.arbiter.monitoring import Orders
from gproxy.arbiter.sockets import CannotListenError
from gproxy.arbiter.spawn import CannotStartError, spawn_module
from gproxy.arbiter.worker_process import ExitStatus, WorkerProcess, WorkerState
from gproxy.arbiter.workers import Workers
from gproxy.config.sections.admin import AdminSettings

_log = logging.getLogger("gproxy")

#: Seconds before a monitor that has ended is replaced; longer each time while monitors end early.
_PAUSES: Final = (0.1, 1.0, 5.0, 30.0)
#: Seconds after which a monitor counts as stable.
_STABLE: Final = 60.0


class MonitorProcess:
    """The monitor of a gateway, from the first generation with `[admin] bind` on."""

    def __init__(self, loop: EventLoop, workers: Workers, orders: Orders) -> None:
        self._loop = loop
        self._workers = workers
        self._orders = orders
        self._sockets: AdminSockets = {}
        #: The sockets of the next generation until it serves, or is given up.
        self._prepared: AdminSockets = {}
        self._generation: Generation | None = None
        self._control: Control | None = None
        self._pid = 0
        self._began = 0.0
        self._early_ends = 0
        self._state: dict[str, object] = {}

    def prepare(self, admin: AdminSettings) -> None:
        """Open the missing sockets of the next generation. Raises CannotListenError."""
        self._prepared = open_sockets(admin, self._sockets)

    def give_up(self) -> None:
        """Close the sockets that were opened for a generation that is given up."""
        close_sockets(self._prepared, self._sockets)
        self._prepared = {}

    def serve(self, generation: Generation) -> None:
        """Serve the settings of the generation: start, continue or end the process."""
        before = self._generation.admin if self._generation is not None else None
        close_sockets(self._sockets, self._prepared)
        self._sockets, self._prepared = self._prepared, {}
        self._generation = generation
        if before is not None and before != generation.admin:
            self._permit(generation.admin)
        if self._control is not None and before != generation.admin:
            self.stop()
        if generation.admin.bind and self._control is None:
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
        """Connect the monitor with a worker that is ready."""
        if self._control is None:
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            worker.send(messages.WorkerLine(), [theirs.fileno()])
            line = Attach(worker.generation_number, worker.number, worker.pid)
            self._control.send(line, [ours.fileno()])

    def detach(self, worker: WorkerProcess) -> None:
        """Announce the end of a worker."""
        if self._control is not None:
            self._control.send(Detach(worker.pid))

    def report(self, state: dict[str, object]) -> None:
        """Pass the state of the arbiter on, now and to a monitor that starts later."""
        self._state = state
        if self._control is not None:
            self._control.send(Report(state))

    def stop(self) -> None:
        """End the process. It sees the end of its control socket, and exits."""
        if self._control is not None:
            self._workers.forget(self._pid)
            self._loop.unregister(self._control.socket)
            self._control.close()
            self._control = None

    def close(self) -> None:
        """End the process and close the sockets, when the gateway stops."""
        self._generation = None
        self.stop()
        close_sockets(self._sockets, {})
        self._sockets = {}

    def _start(self) -> None:
        """Start the process, unless the gateway has stopped or no longer wants one; try again if that fails."""
        generation = self._generation
        if generation is None or not generation.admin.bind or self._control is not None:
            return
        try:
            self._pid, ours = spawn_module("gproxy.monitor.monitor")
        except CannotStartError as error:
            pause = self._next_pause()
            _log.error("monitor: %s; retrying in %g s", error, pause)
            self._loop.after(pause, self._start)
            return
        self._began = monotonic()
        self._control = Control(ours, MONITOR_NOTICES)
        self._workers.watch(self._pid, self._ended)
        self._loop.register(ours, partial(self._receive, self._control))
        lasting = self._workers.memory, *(sock.fileno() for sock in self._sockets.values())
        self._configure(self._control, generation, lasting)
        for worker in self._workers:
            if WorkerState.READY <= worker.state < WorkerState.KILLED:
                self.attach(worker)

    def _configure(self, control: Control, generation: Generation, lasting: Sequence[int] = ()) -> None:
        """Send the settings of the generation, to a new process with the descriptors that it keeps."""
        with generation.packed() as settings:
            control.send(Configure(generation.path, generation.overrides, generation.number), (settings, *lasting))
        control.send(Report(self._state))

    def _receive(self, control: Control) -> None:
        for message in control.receive():
            self._received(control, message)
        if control.ended:
            self._loop.unregister(control.socket)

    def _received(self, control: Control, message: Message) -> None:
        match message:
            case Serving():
                _log.info("monitor: serves on %s", ", ".join(map(str, self._sockets)))
            case Order(number, name, arguments):
                self._orders(
                    name, arguments, lambda succeeded, result: control.send(Outcome(number, succeeded, result))
                )
            case _:
                _log.error("monitor: unexpected %s", message)

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
