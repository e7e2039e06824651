"""The worker process: patch, build, open, serve, drain and close, as the arbiter commands.

If the arbiter ends, the worker finishes its requests and exits.

    python -m gproxy.server.worker --generation 1 --worker 1 --control FD
"""

import gproxy.server.patch  # noqa: F401 isort: skip  before anything that imports ssl or threading

import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.event import Event

from gproxy.arbiter import messages
from gproxy.arbiter.control import Control, GoneError, UnexpectedCommandError
from gproxy.arbiter.event_loop import nothing
from gproxy.arbiter.messages import COMMANDS, Message
from gproxy.arbiter.sockets import ignore_handshakes
from gproxy.arbiter.spawn import GROUP_SIGNALS, STACK_SIGNAL, name_process
from gproxy.config.ini.files import unpack
from gproxy.config.problems import ConfigError
from gproxy.config.secret_values import secret_values
from gproxy.config.sections.settings import Settings
from gproxy.gateway.build import build, load
from gproxy.gateway.gateway import CannotOpenError, Gateway, open_part
from gproxy.generations.pinned_code import PinnedCode, content_of, user_files
from gproxy.introspection.block_report import BlockReport
from gproxy.introspection.current_request import CurrentRequest
from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.watchdog import HubWatchdog
from gproxy.observe import local_time, log
from gproxy.observe.access_logs import AccessLogs
from gproxy.observe.json_log import Hide
from gproxy.runtime import Runtime
from gproxy.server.drain import Drain
from gproxy.server.hub_collector import HubCollector
from gproxy.server.listeners import Listeners, register_metrics
from gproxy.state.shared.memory import SharedState

if TYPE_CHECKING:
    from gproxy.introspection.worker_line import WorkerLine

_log = logging.getLogger("gproxy")

#: Seconds between two heartbeats to the arbiter, at most; less with a short `worker_timeout`.
_BEAT: Final = 1.0


class Worker:
    """A worker process: its listeners and gateway, and the arbiter's commands."""

    def __init__(
        self,
        control: Control,
        settings: Settings,
        runtime: Runtime,
        gateway: Gateway,
        access_logs: AccessLogs,
        state: SharedState,
        sockets: Sequence[socket.socket],
        hide: Hide,
        pinned: PinnedCode,
    ) -> None:
        self._control = control
        self._settings = settings
        self._runtime = runtime
        self._gateway = gateway
        self._access_logs = access_logs
        #: The memory that the workers share, once there are several.
        self._state = state
        #: Masks the secrets of the settings in a text.
        self._hide = hide
        self._pinned = pinned
        self._factory = Listeners(settings, gateway, runtime)
        self._listeners = [self._factory.listener(*pair) for pair in zip(settings.server.bind, sockets, strict=True)]
        self._handler_code = code = HandlerCode(gateway.handlers)
        self._current = CurrentRequest(code, [listener.connections for listener in self._listeners])
        self._watchdog = (
            HubWatchdog(settings.server.block_log, runtime, self._current, code, self._announce_block)
            if settings.server.block_log
            else None
        )
        self._drain = Drain(self._listeners, settings.server.grace)
        self._reloads = messages.Reloads()
        self._leave = Event()
        #: Indexes of listeners whose sockets no other process accepts from.
        self._removed: list[int] = []
        self._actions: dict[type[Message], Callable[[Any], None]] = {
            messages.Accept: lambda _: self._accept(),
            messages.Share: lambda _: self._share(),
            messages.Unshare: lambda _: self._unshare(),
            messages.Reopen: lambda _: self._access_logs.reopen(),
            messages.Reloads: self._note_reloads,
            messages.WorkerLine: lambda _: self._answer_monitor(),
            messages.Override: self._override,
            messages.LogLevel: lambda command: log.hold_level(command.logger, command.level),
            messages.Unready: lambda _: self._runtime.begin_stop(),
            messages.Retire: lambda command: self._retire(command.removed),
            messages.Stop: lambda _: self._stop(),
            messages.Quit: lambda _: self._quit(),
        }
        #: The line to the monitor; None without a monitor.
        self._line: WorkerLine | None = None

    def run(self, *, alone: bool) -> None:
        """Open all parts and serve until drained. Raises CannotOpenError."""
        self._runtime.host_state = self._state
        if not alone:
            self._runtime.share(self._state)
        if self._settings.has_monitor:
            from gproxy.introspection.answers import import_answers  # late: most gateways have no monitor

            import_answers(debug=self._settings.admin.debug)
        HubCollector().start()
        open_part("[log] access", self._access_logs.open)
        self._gateway.open()
        self._provide_spans()
        self._register_metrics()
        self._share_listeners(alone=alone)
        self._tune()
        self._current.note_spawned()
        setup_log(self._settings, self._runtime, self._hide, self._current.origin)
        if self._watchdog is not None:
            self._watchdog.start()
        self._pinned.send_added()
        self._control.send(messages.Ready())
        listening = gevent.spawn(self._run_commands), gevent.spawn(self._beat)
        self._leave.wait()
        cut = self._finish()
        self._close()
        gevent.killall(listening)
        self._control.send(messages.Stopped(cut))

    def _close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        self._factory.close()
        self._gateway.close()
        self._runtime.metrics.stop()
        self._access_logs.close()
        if self._runtime.store is not None:
            self._runtime.store.close()

    def _announce_block(self, report: BlockReport) -> None:
        """Let the arbiter log a block that lasts. Called in the watchdog's thread."""
        message, lines = self._hide(report.message(self._runtime.worker)), [*map(self._hide, report.lines)]
        self._control.send_from_thread(messages.Blocked(message, lines, list(report.origin)))

    def _provide_spans(self) -> None:
        if self._settings.trace.endpoint and self._runtime.feed is not None:
            from gproxy.tracing import otel_bridge  # late: most gateways have no traces

            otel_bridge.connect(self._runtime.feed)

    def _register_metrics(self) -> None:
        register_metrics(self._listeners, self._runtime.metrics)
        watch = self._runtime.metrics.watch
        watch("gproxy_log_lost_lines_total", (), lambda: self._access_logs.lost)
        watch("gproxy_generation", (), lambda: self._reloads.generation)
        watch("gproxy_reloads_total", ("success",), lambda: self._reloads.succeeded)
        watch("gproxy_reloads_total", ("failure",), lambda: self._reloads.failed)
        watch("gproxy_last_reload_successful", (), lambda: self._reloads.last_succeeded)
        watch("gproxy_last_reload_success_timestamp_seconds", (), lambda: self._reloads.success_time)

    def _tune(self) -> None:
        """Raise the descriptor limit, and freeze all present objects: the collector need not visit them again."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._runtime.process.freeze()

    def _finish(self) -> int:
        self._runtime.draining = True
        self._drain.close_listeners(self._removed)
        self._control.send(messages.Closed())
        return self._drain.run()

    # Commands of the arbiter.

    def _run_commands(self) -> None:
        try:
            self._listen()
        except Exception:  # noqa: BLE001 a bug must not leave the arbiter without a worker
            _log.exception("command from the arbiter failed; this worker is being replaced")
            self._retire([])

    def _listen(self) -> None:
        while command := self._control.wait():
            self._obey(command)
        _log.error("the arbiter is gone: stopping")
        for listener in self._listeners:
            if not listener.closed and listener.socket.family != socket.AF_UNIX:
                ignore_handshakes(listener.socket)
        self._stop()

    def _obey(self, command: Message) -> None:
        action = self._actions.get(type(command))
        if action is None:
            raise UnexpectedCommandError(f"unexpected {command}")
        action(command)

    def _beat(self) -> None:
        """Send heartbeats, and code that was imported late; check the access log's file and summarize warnings."""
        pause = min(_BEAT, self._settings.server.worker_timeout / 4 or _BEAT)
        while True:
            requests, failures, last = self._runtime.handler_errors()
            self._control.send(messages.Beat(requests, failures, self._hide(last)))
            self._pinned.send_added()
            self._access_logs.look()
            self._runtime.throttle.summarize()
            gevent.sleep(pause)

    def _accept(self) -> None:
        for listener in self._listeners:
            listener.start()
        self._gateway.begin()

    def _share(self) -> None:
        self._runtime.share(self._state)
        self._share_listeners(alone=False)
        self._control.send(messages.Shared())

    def _unshare(self) -> None:
        self._runtime.unshare()
        self._share_listeners(alone=True)

    def _share_listeners(self, *, alone: bool) -> None:
        for listener in self._listeners:
            listener.share(alone=alone)

    def _note_reloads(self, reloads: messages.Reloads) -> None:
        self._reloads, self._runtime.reload_failure = reloads, reloads.failure

    def _answer_monitor(self) -> None:
        """Answer the monitor on a new line: it has just started, or this worker has."""
        from gproxy.introspection.worker_line import WorkerLine  # late: most gateways have no monitor
        from gproxy.introspection.worker_view import WorkerView

        (fd,) = self._control.take_fds(1)
        if self._line is not None:
            self._line.close()
        connections = [listener.connections for listener in self._listeners]
        view = WorkerView(self._settings, self._runtime, self._gateway, connections, self._handler_code)
        self._line = WorkerLine(socket.socket(fileno=fd), view)

    def _override(self, command: messages.Override) -> None:
        """Change a backend as an operator has done in an earlier worker; announce a backend that is not here."""
        found = [upstream for upstream in self._gateway.upstreams if upstream.name == command.upstream]
        if not found or found[0].change(command.backend, command.fields) is None:
            self._control.send(messages.Lacks(command.upstream, command.backend))

    def _retire(self, removed: list[int]) -> None:
        self._removed = removed
        self._leave.set()

    def _stop(self) -> None:
        self._runtime.begin_stop(self._settings.server.grace)
        self._removed = list(range(len(self._listeners)))
        self._drain.stop()
        self._leave.set()

    def _quit(self) -> None:
        _log.warning(
            "stopping at once; open connections: %d", sum(len(listener.connections) for listener in self._listeners)
        )
        self._access_logs.flush()
        _flush()
        os._exit(0)


def main() -> int:
    """Run the worker and return the exit code."""
    options = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2]), strict=True))  # importing argparse is slow
    control = options["--control"]
    local_time.keep_zone()
    name_process(f"gproxy: worker{options['--worker']}"[:15])
    gevent.get_hub().print_exception = _log_failure
    gevent.signal_handler(STACK_SIGNAL, _write_hub_stack, control)
    faulthandler.register(STACK_SIGNAL, file=control, all_threads=True, chain=True)
    for number in GROUP_SIGNALS:  # a Python signal handler that runs while the hub waits has crashed Python 3.11
        gevent.signal_handler(number, nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*GROUP_SIGNALS, STACK_SIGNAL})
    try:
        return _serve(options["--generation"], options["--worker"], Control(socket.socket(fileno=control), COMMANDS))
    except GoneError:
        return 0


def _log_failure(context: object, kind: type[BaseException], error: BaseException, trace: TracebackType) -> None:
    """Log an exception that ends a background greenlet, such as one that a handler spawns."""
    _log.error("%s failed", context, exc_info=(kind, error, trace))


def _write_hub_stack(control: int) -> None:
    """Write the stack of the main greenlet, which faulthandler cannot see while the hub runs."""
    frames = traceback.walk_stack(gevent.get_hub().parent.gr_frame)
    lines = [f'  File "{f.f_code.co_filename}", line {line} in {f.f_code.co_name}\n' for f, line in frames]
    with suppress(OSError):
        os.write(control, "".join(["The main greenlet waits here (most recent call first):\n", *lines]).encode())


def _serve(generation: int, number: int, control: Control) -> int:
    build_command = control.wait_for(messages.Build)
    fd, *code = control.take_fds()
    if build_command.errors == "json":
        log.setup("info", "json", worker=True, names={"worker": number, "generation": generation})
    given = {(section, option): text for section, option, text in build_command.overrides}
    pinned = PinnedCode(map(content_of, code), build_command.read_at, partial(_send_code, control))
    pinned.pin_imports()
    try:
        settings = load(build_command.path, given, unpack(content_of(fd)))
    except ConfigError as error:
        control.send(messages.Failed(2, list(map(str, error.problems))))
        return 2
    runtime, access_logs = Runtime.of(settings, generation, number, build_command.instance), AccessLogs.of(settings.log)
    if build_command.tests:
        runtime.set_apart()
    gateway = build(settings, runtime, access_logs.observers)
    hide = log.masking(secret_values(settings))
    setup_log(settings, runtime, hide)
    pinned.send_added()
    control.send(messages.Built(list(map(str, settings.warnings)), [*user_files(), *settings.errors.files]))
    try:
        if build_command.tests:
            from gproxy.server.trial import run_trial  # late: most gateways have no self-test

            run_trial(control, settings, gateway, hide)
            pinned.send_added()
            return 0
        command = control.wait_for(messages.Open)
        state, *fds = control.take_fds()
        sockets = [socket.socket(fileno=fd) for fd in fds]
        worker = Worker(control, settings, runtime, gateway, access_logs, SharedState(state), sockets, hide, pinned)
        worker.run(alone=not command.shared)
    except CannotOpenError as error:
        reason = settings.placed(str(error))
        _log.error("%s", reason, exc_info=error.__cause__)
        control.send(messages.Failed(1, [hide(reason)], is_logged=True))
        return 1
    return 0


def setup_log(settings: Settings, runtime: Runtime, hide: Hide, locate: Callable[[], log.Origin] | None = None) -> None:
    """Set up the error log of a worker; `hide` masks secrets, `locate` returns the origin of the code that logs."""
    names = {"worker": runtime.worker, "generation": runtime.generation}
    copy = None
    if runtime.feed is not None:
        from gproxy.introspection.record_feed import RecordFeed  # late: most gateways have no monitor

        copy = RecordFeed(runtime.feed, runtime.monotonic)
    log.setup(settings.log.level, settings.log.errors, worker=True, names=names, locate=locate, hide=hide, copy=copy)


def _send_code(control: Control, fd: int, files: list[str]) -> None:
    control.send(messages.Imported(files), [fd])


def leave(code: int) -> None:
    """Exit without waiting for threads of handlers, which may never end."""
    logging.shutdown()
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a closed pipe or a full disk
            stream.flush()


if __name__ == "__main__":
    leave(main())
