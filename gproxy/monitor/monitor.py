"""The monitor process: it collects and shows what the gateway does, and serves the admin listener.

It builds no route, handler or upstream, and never imports user code. If the arbiter ends, the monitor exits.

    python -m gproxy.monitor.monitor --control FD
"""

import gproxy.server.patch  # noqa: F401 isort: skip  before anything that imports ssl or threading

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

import gevent

from gproxy.arbiter.control import Control
from gproxy.arbiter.event_loop import nothing
from gproxy.arbiter.messages import Message
from gproxy.arbiter.monitor import messages
from gproxy.arbiter.monitor.messages import MONITOR_COMMANDS
from gproxy.arbiter.spawn import GROUP_SIGNALS, name_process
from gproxy.config.ini.files import unpack
from gproxy.config.load import load
from gproxy.config.problems import ConfigError
from gproxy.config.secret_values import secret_values
from gproxy.config.sections.settings import PARTS, Settings
from gproxy.config.sections.tls import TLSSettings
from gproxy.gateway.gateway import CannotOpenError
from gproxy.gateway.packages import balancer_names, handler_names
from gproxy.monitor.access.access_check import AccessCheck
from gproxy.monitor.api.admin_gateway import admin_gateway
from gproxy.monitor.api.operation import Operation
from gproxy.monitor.api.operations import OPERATIONS
from gproxy.monitor.exemplars import Exemplars
from gproxy.monitor.processes.arbiter_orders import ArbiterOrders
from gproxy.monitor.processes.worker_lines import WorkerRef
from gproxy.monitor.watched_gateway import WatchedGateway
from gproxy.observe import log
from gproxy.observe.metrics import Metrics
from gproxy.observe.metrics_reader import MetricsReader
from gproxy.runtime import Runtime
from gproxy.server.connection import LAST_REQUEST_SECONDS
from gproxy.server.drain import Drain
from gproxy.server.listener import Listener
from gproxy.server.listeners import Listeners
from gproxy.state.shared.memory import SharedState
from gproxy.tracing.span_record import KIND as SPAN
from gproxy.upstream.balance import POLICIES

if TYPE_CHECKING:
    from gproxy.monitor.span_exporter import SpanExporter

_log = logging.getLogger("gproxy")

#: What the monitor has besides for a part that a command adds to the workers: MODULE:NAME of a function that takes the
#: watched gateway and the operations, and returns all operations; by the part.
ADDED: Final = {"gproxy.dev.inspector:Inspector": "gproxy.monitor.api.inspector:add"}
#: The most connections to a socket of the admin listener: of all clients, and of one address, so that none keeps the
#: others out.
_MOST_CONNECTIONS: Final = 200
_MOST_PER_ADDRESS: Final = 150
#: Seconds between two heartbeats to the arbiter, at most; less with a short `worker_timeout`.
_BEAT: Final = 1.0
#: The arbiter, as a source of records beside the workers.
_ARBITER: Final = WorkerRef(0, 0, os.getppid())
#: Seconds in which a monitor that ends sends the last spans; no one waits for it.
_FLUSH: Final = 1.0


class Monitor:
    """The monitor process: it obeys the arbiter, and serves the admin listener. Raises ConfigError."""

    def __init__(self, control: Control, command: messages.Configure) -> None:
        self._control = control
        settings_fd, memory = control.take_fds(2)
        settings = _load(command, settings_fd)
        state = SharedState(memory)
        self._metrics = MetricsReader(state, settings.metrics.buckets)
        self.watched = WatchedGateway(settings, command.generation, control, self._metrics.read, command.path)
        self._exemplars = Exemplars(settings.metrics.buckets)
        self._exporter = _exporter(settings, state, self._exemplars)
        if self._exporter is not None:
            self.watched.consume(SPAN, self._exporter.take)
            self.watched.find_exemplars = self._exemplars.of
        #: The parts that the command adds to each worker.
        self._parts = [one for *place, text in command.overrides if tuple(place) == PARTS for one in text.split()]
        admin = self.watched.settings.admin
        self._sockets = [socket.socket(fileno=fd) for fd in control.take_fds(len(admin.bind))]
        #: The sections with the certificates that the listeners use.
        self._tls: Mapping[str, TLSSettings] = settings.tls
        #: Gives the listeners the certificates of other sections; None without listeners.
        self._use_tls: Callable[[Mapping[str, TLSSettings]], None] | None = None

    def serve(self) -> None:
        """Serve until the arbiter ends or another monitor takes over. Raises ValueError if the token cannot be kept."""
        settings = self.watched.settings
        runtime = Runtime(state_dir=settings.server.state_dir, worker=0)
        listeners = self._listen(settings, runtime) if settings.admin.bind else []
        self._control.send(messages.Serving())
        gevent.spawn(self._beat)
        if self._exporter is not None:
            gevent.spawn(self._exporter.keep_sending)
        while (command := self._control.wait()) and not isinstance(command, messages.Leave):
            self._obey(command)
        runtime.draining = True
        gevent.spawn(self._obey_to_the_end)
        _finish(listeners, self.watched.orders)
        if self._exporter is not None:
            self._exporter.flush(_FLUSH)

    def _listen(self, settings: Settings, runtime: Runtime) -> list[Listener]:
        """Serve the admin listener, and keep the history that it shows."""
        access = AccessCheck(settings.admin, settings.server.state_dir)
        gateway = admin_gateway(self.watched, runtime, access, self._operations())
        factory = Listeners(_listening(settings), gateway, runtime)
        listeners = [factory.listener(*pair) for pair in zip(settings.admin.bind, self._sockets, strict=True)]
        self._use_tls = partial(factory.use_tls, listeners=listeners)
        for listener in listeners:
            listener.start()
        gevent.spawn(_summarize, access)
        self.watched.sample()  # before anybody knows of this monitor: the requests from now on count
        gevent.spawn(self.watched.keep_sampling)
        return listeners

    def _operations(self) -> Sequence[Operation]:
        """Return the operations, with those that belong to parts of the workers."""
        operations: Sequence[Operation] = OPERATIONS
        for part in self._parts:
            if part in ADDED:
                operations = resolve_name(ADDED[part])(self.watched, operations)
        return operations

    def _beat(self) -> None:
        """Send heartbeats: the arbiter replaces a monitor that hangs."""
        while True:
            self._control.send(messages.Beat())
            gevent.sleep(min(_BEAT, self.watched.settings.server.worker_timeout / 4 or _BEAT))

    def _obey_to_the_end(self) -> None:
        """Take the outcomes of the last orders."""
        while command := self._control.wait():
            self._obey(command)
        self.watched.orders.abandon("the gateway has ended")

    def _obey(self, command: Message) -> None:
        match command:
            case messages.Configure():
                self._reconfigure(command)
            case messages.Attach(generation, worker, pid):
                (fd,) = self._control.take_fds(1)
                self.watched.lines.attach(WorkerRef(generation, worker, pid), socket.socket(fileno=fd))
            case messages.Detach(pid):
                self.watched.lines.detach(pid)
            case messages.Report(state):
                self._take_report(state)
            case messages.Logged(fields):
                self.watched.receive(_ARBITER, "log", fields["time"], fields)
            case messages.Outcome():
                self.watched.orders.take(command)
            case _:
                _log.error("monitor: unexpected %s", command)

    def _take_report(self, state: dict[str, Any]) -> None:
        known = {one["time"] for one in self.watched.arbiter_state.get("reloads", ())}
        for one in state["reloads"] if self.watched.arbiter_state else ():
            if one["time"] not in known and (one["reasons"] or not one["succeeded"]):
                self.watched.changes.add("reload_failed", f"{one['cause']}: {next(iter(one['reasons']), 'failed')}")
        self.watched.arbiter_state = state
        held = state["log_level"] or {"logger": "", "level": ""}
        log.hold_level(held["logger"], held["level"])

    def _reconfigure(self, command: messages.Configure) -> None:
        """Take the settings of a new generation over; memory and sockets stay those that this process has."""
        (settings_fd,) = self._control.take_fds(1)
        self.watched.settings = _load(command, settings_fd)
        self._renew_certificates(self.watched.settings.tls)
        self._metrics.use(self.watched.settings.metrics.buckets)
        self._exemplars.use(self.watched.settings.metrics.buckets)
        self.watched.generation = command.generation
        self.watched.changes.add("reload", f"generation {command.generation} serves")
        self.set_up_log()

    def _renew_certificates(self, sections: Mapping[str, TLSSettings]) -> None:
        """Serve new connections with the certificates of changed sections; if one is unusable, with those before."""
        try:
            if self._use_tls is not None and sections != self._tls:
                self._use_tls(sections)
                self._tls = sections
        except CannotOpenError as error:
            _log.error("monitor: %s; keeping the previous certificates", error)

    def set_up_log(self) -> None:
        """Log with the level of the settings, and keep the records for those who ask."""
        settings, hide = self.watched.settings.log, log.masking(secret_values(self.watched.settings))
        log.setup(settings.level, settings.errors, worker=True, hide=hide, copy=self.watched.logs.errors.take_own)


def _exporter(settings: Settings, state: SharedState, exemplars: Exemplars) -> "SpanExporter | None":
    """Return what sends the spans, and counts them in a row of its own; None without traces."""
    if not settings.trace.endpoint:
        return None
    from gproxy.monitor.span_exporter import SpanExporter  # late: an extra

    metrics = Metrics(settings.metrics)
    metrics.share(state)

    def count(result: str, spans: int) -> None:
        metrics.series("gproxy_trace_spans_total", result).cells[0] += spans

    return SpanExporter(settings.trace, count, exemplars.note)


def _load(command: messages.Configure, fd: int) -> Settings:
    """Return the settings without live handlers, from the packed files. Raises ConfigError."""
    given = {(section, option): text for section, option, text in command.overrides}
    with open(fd, "rb") as file:
        file.seek(0)
        files = unpack(file.read())
    path = Path(command.path)
    return load(
        path,
        builtins=handler_names(path),
        policies=POLICIES,
        balancers=balancer_names(path),
        overrides=given,
        files=files,
    )


def _listening(settings: Settings) -> Settings:
    """Return the settings of the admin listeners: their addresses, and limits that an operator does not notice."""
    server = replace(
        settings.server,
        bind=settings.admin.bind,
        max_connections=_MOST_CONNECTIONS,
        max_connections_per_address=_MOST_PER_ADDRESS,
    )
    return replace(settings, server=server)


def _summarize(access: AccessCheck) -> None:
    """Log the numbers of rejected requests that were not logged, once a second."""
    while True:
        gevent.sleep(1)
        access.throttle.summarize()


def _finish(listeners: Sequence[Listener], orders: ArbiterOrders) -> None:
    """End the answers under way: those of orders when these are carried out, all others soon."""
    drain = Drain(listeners, 0.0)
    drain.close_listeners(())
    for listener in listeners:
        listener.drain()
    gevent.sleep(LAST_REQUEST_SECONDS)  # an open connection may bring one more order
    orders.finish()
    drain.stop()
    drain.run()


def main(arguments: Sequence[str]) -> int:
    """Run the monitor and return the exit code."""
    options = dict(zip(arguments[::2], map(int, arguments[1::2]), strict=True))
    name_process("gproxy: monitor")
    for number in GROUP_SIGNALS:  # these are for the arbiter
        gevent.signal_handler(number, nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    control = Control(socket.socket(fileno=options["--control"]), MONITOR_COMMANDS)
    command = control.wait()
    if not isinstance(command, messages.Configure):
        return 0  # the arbiter has ended
    log.setup("info", worker=True)
    try:
        monitor = Monitor(control, command)
        monitor.set_up_log()
        monitor.serve()
    except (ConfigError, CannotOpenError, ValueError) as error:
        _log.error("monitor: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
