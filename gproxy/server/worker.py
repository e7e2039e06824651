"""The process that serves: patched first, then built, opened, serving, draining, closed. What it does when, the
arbiter says; without one it finishes what it has and ends.

    python -m gproxy.server.worker --generation 1 --worker 1 --control FD
"""

import gproxy.server.patch  # noqa: F401 isort: skip  before anything that imports ssl or threading

import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import gevent
from gevent.event import Event

from gproxy.arbiter.control import Control
from gproxy.arbiter.event_loop import nothing
from gproxy.arbiter.sockets import ignore_handshakes
from gproxy.arbiter.worker_process import GROUP_SIGNALS, STACK_SIGNAL, name_process
from gproxy.config.problems import ConfigError
from gproxy.config.sections.settings import Settings
from gproxy.gateway.build import build
from gproxy.gateway.gateway import CannotOpenError, Gateway
from gproxy.observe import log
from gproxy.runtime import Runtime
from gproxy.server.drain import Drain
from gproxy.server.listener import Listener
from gproxy.server.listeners import Listeners, register_metrics
from gproxy.server.response_writer import summarize_broken_responses
from gproxy.state.shared.memory import SharedState

_log = logging.getLogger("gproxy")

#: How often the arbiter hears that the loop turns, in seconds; more often if it is impatient.
_BEAT: Final = 1.0


class ArbiterGoneError(Exception):
    """Nobody says what to do."""


class Worker:
    """One process: listeners, gateway, and what the arbiter says."""

    def __init__(self, number: int, control: Control, settings: Settings, gateway: Gateway) -> None:
        self._control = control
        self._settings = settings
        self._gateway = gateway
        self._runtime = Runtime(state_dir=settings.server.state_dir, state=settings.state)
        self._runtime.worker = number
        self._servers: list[Listener] = []
        self._drain: Drain
        self._leave = Event()
        #: Indexes of listeners that nobody else accepts from any more.
        self._for_good: list[int] = []
        self._orders: dict[str, Callable[..., None]] = {
            "accept": self._accept,
            "share": self._share,
            "unshare": self._unshare,
            "reopen": gateway.access_log.reopen,
            "unready": self._unready,
            "retire": self._retire,
            "stop": self._stop,
            "quit": self._quit,
        }

    def run(self) -> None:
        """From `open` to the end. Raises CannotOpenError."""
        shared, state, sockets = self._await_sockets()
        self._state = SharedState(state)
        if shared:
            self._runtime.share(self._state)
        edge = Listeners(self._settings, self._gateway, self._runtime)
        self._gateway.open(self._runtime)
        self._servers = [edge.server(*pair) for pair in zip(self._settings.server.bind, sockets, strict=True)]
        register_metrics(self._servers, self._runtime.metrics)
        self._drain = Drain(self._servers, self._settings.server.grace)
        self._share_listeners(alone=not shared)
        self._tune()
        self._control.send("ready")
        listening = gevent.spawn(self._obey), gevent.spawn(self._beat)
        self._leave.wait()
        cut = self._finish()
        edge.close()
        self._gateway.close()
        gevent.killall(listening)
        self._control.send("stopped", cut)

    def _await_sockets(self) -> tuple[bool, int, list[socket.socket]]:
        _, shared = _next(self._control)
        state, *listeners = self._control.take_fds()
        return shared, state, [socket.socket(fileno=fd) for fd in listeners]

    def _tune(self) -> None:
        """All descriptors we may have; and what is here now stays: the collector need not look at it again."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        gc.collect()
        self._runtime.resident_greenlets = self._runtime.count_greenlets()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    def _finish(self) -> int:
        self._runtime.draining = True
        self._drain.close_listeners(self._for_good)
        self._control.send("closed")
        return self._drain.run()

    # What the arbiter says.

    def _obey(self) -> None:
        try:
            self._listen()
        except Exception:
            _log.exception("what the arbiter says cannot be done: another worker is to take over")
            self._retire([])

    def _listen(self) -> None:
        while not self._control.ended:
            for name, *arguments in self._control.receive():
                self._orders[name](*arguments)
        _log.error("the arbiter is gone: stopping")
        for server in self._servers:
            if not server.closed and server.socket.family != socket.AF_UNIX:
                ignore_handshakes(server.socket)
        self._unready()
        self._stop()

    def _beat(self) -> None:
        """Say that the loop turns; and do for the logs what no request may bring us to."""
        pause = min(_BEAT, self._settings.server.worker_timeout / 4 or _BEAT)
        while True:
            self._control.send("beat")
            self._gateway.access_log.look()
            summarize_broken_responses()
            gevent.sleep(pause)

    def _accept(self) -> None:
        for server in self._servers:
            server.start()

    def _share(self) -> None:
        self._runtime.share(self._state)
        self._share_listeners(alone=False)
        self._control.send("shared")

    def _unshare(self) -> None:
        self._runtime.unshare()
        self._share_listeners(alone=True)

    def _share_listeners(self, *, alone: bool) -> None:
        for server in self._servers:
            server.share(alone=alone)

    def _unready(self) -> None:
        self._runtime.stopping = True

    def _retire(self, removed: list[int]) -> None:
        self._for_good = removed
        self._leave.set()

    def _stop(self) -> None:
        self._runtime.stopping = True
        self._for_good = list(range(len(self._servers)))
        self._drain.stop()
        self._leave.set()

    def _quit(self) -> None:
        _log.warning("stopping at once; open connections: %d", sum(len(server.connections) for server in self._servers))
        self._gateway.access_log.flush()
        _flush()
        os._exit(0)


def main() -> int:
    """The exit code."""
    options = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2]), strict=True))  # argparse takes its time
    control = options["--control"]
    name_process(f"gproxy: worker{options['--worker']}"[:15])
    gevent.get_hub().print_exception = _say_what_failed
    gevent.signal_handler(STACK_SIGNAL, _say_where, control)
    faulthandler.register(STACK_SIGNAL, file=control, all_threads=True, chain=True)
    for number in GROUP_SIGNALS:  # a handler of Python's own, run while the hub waits, has crashed Python 3.11
        gevent.signal_handler(number, nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    try:
        return _serve(options["--worker"], Control(socket.socket(fileno=control)))
    except ArbiterGoneError:
        return 0


def _say_what_failed(context: object, kind: type[BaseException], error: BaseException, trace: TracebackType) -> None:
    """In the background, where nobody is to be told but the log: a greenlet that a handler has spawned."""
    _log.error("%s failed", context, exc_info=(kind, error, trace))


def _say_where(control: int) -> None:
    """What faulthandler cannot see: where a module, `open` or `close` waits while the hub runs."""
    frames = traceback.walk_stack(gevent.get_hub().parent.gr_frame)
    lines = [f'  File "{f.f_code.co_filename}", line {line} in {f.f_code.co_name}\n' for f, line in frames]
    with suppress(OSError):
        os.write(control, "".join(["What it waits for (most recent call first):\n", *lines]).encode())


def _serve(number: int, control: Control) -> int:
    _, path, overrides = _next(control)
    fds = control.take_fds()
    given = {(section, option): text for section, option, text in overrides}
    try:
        settings, gateway = build(path, given, _content(fds[0]) if fds else None)
    except ConfigError as error:
        control.send("failed", 2, list(map(str, error.problems)))
        return 2
    log.setup(settings.log.level, worker=True)
    control.send("built", list(map(str, settings.warnings)), _own_files())
    try:
        Worker(number, control, settings, gateway).run()
    except CannotOpenError as error:
        _log.error("%s", error, exc_info=error.__cause__)
        control.send("failed", 1, [])
        return 1
    return 0


def _next(control: Control) -> list[Any]:
    """The next message. Raises ArbiterGoneError."""
    while not (messages := control.receive()):
        if control.ended:
            raise ArbiterGoneError
    (message,) = messages
    return message


def _content(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _own_files() -> list[str]:
    """Of modules that are neither ours nor installed: the user's."""
    ours = str(Path(__file__).parents[1])
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [file for file in files if file and not file.startswith((ours, sys.prefix, sys.base_prefix))]


def leave(code: int) -> None:
    """Without waiting for threads of a handler's that never end."""
    logging.shutdown()
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it is gone, or its disk is full
            stream.flush()


if __name__ == "__main__":
    leave(main())
