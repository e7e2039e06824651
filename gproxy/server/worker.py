"""The process that serves: patched first, then built, opened, serving, draining, closed."""

import gproxy.server.patch  # noqa: F401 isort: skip  before anything that imports ssl or threading

import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from time import monotonic

import gevent
from gevent.event import Event

from gproxy import __version__
from gproxy.config.sections import Settings
from gproxy.gateway.build import build
from gproxy.gateway.gateway import CannotOpenError, Gateway
from gproxy.observe import log
from gproxy.runtime import Runtime
from gproxy.server.connection import LINGER, Connection
from gproxy.server.edge import Edge
from gproxy.server.figures import show
from gproxy.server.listener import CannotListenError, Server, close_unused, listen

_log = logging.getLogger("gproxy")


class Worker:
    """One process: listeners, gateway, signals."""

    def __init__(self, settings: Settings, gateway: Gateway) -> None:
        self._settings = settings
        self._gateway = gateway
        self._runtime = Runtime(state_dir=settings.server.state_dir)
        self._servers: list[Server] = []
        self._stop = Event()
        self._signals = 0

    def run(self) -> int:
        """Serve until a signal; the exit code. Raises CannotListenError, CannotOpenError if it cannot start."""
        sockets: list[socket.socket] = []
        try:
            sockets += map(listen, self._settings.server.bind)
            edge = Edge(self._settings, self._gateway, self._runtime)
            self._gateway.open(self._runtime)
        except (CannotListenError, CannotOpenError):
            close_unused(sockets)
            raise
        self._servers = [edge.server(*pair) for pair in zip(self._settings.server.bind, sockets, strict=True)]
        show(self._servers, self._runtime.metrics)
        self._listen_to_signals()
        self._tune()
        for server in self._servers:
            server.start()
        _log.info("gproxy %s serves on %s", __version__, ", ".join(map(str, self._settings.server.bind)))
        self._stop.wait()
        self._drain()
        edge.close()
        self._gateway.close()
        return 0

    def _tune(self) -> None:
        """All descriptors we may have; and what is here now stays: the collector need not look at it again."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        gc.collect()
        self._runtime.resident_greenlets = self._runtime.count_greenlets()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._on_stop, number)
        gevent.signal_handler(signal.SIGQUIT, self._exit_at_once)
        gevent.signal_handler(signal.SIGUSR1, self._gateway.access_log.reopen)
        for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2):
            gevent.signal_handler(number, self._on_unsupported, number)

    def _on_stop(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            self._exit_at_once()
        _log.info(
            "%s: stopping; requests in flight have %g s", signal.Signals(number).name, self._settings.server.grace
        )
        self._stop.set()

    @staticmethod
    def _on_unsupported(number: int) -> None:
        _log.warning("%s: this release does not reload or scale; nothing was changed", signal.Signals(number).name)

    def _exit_at_once(self) -> None:
        _log.warning(
            "stopping at once; open connections: %d", sum(len(server.connections) for server in self._servers)
        )
        self._gateway.access_log.flush()
        sys.stderr.flush()
        os._exit(0)

    def _drain(self) -> None:
        """Readiness 503, listeners closed, idle connections closed, what runs may finish, then it is cut."""
        began = monotonic()
        self._runtime.draining = True
        for server in self._servers:
            server.stop_accepting_losslessly()
            server.drain()
        self._await_the_end(began + max(self._settings.server.grace, LINGER))
        cut = self._cut()
        self._await_the_end(monotonic() + LINGER)  # they are told that they were cut
        _log.info(
            "stopped after %.1f s; %s", monotonic() - began, f"{cut} requests were cut" if cut else "nothing was cut"
        )

    def _await_the_end(self, deadline: float) -> None:
        while self._open_connections() and monotonic() < deadline:
            gevent.sleep(0.02)

    def _open_connections(self) -> list[Connection]:
        return [connection for server in self._servers for connection in server.connections]

    def _cut(self) -> int:
        """End what remains, each by name; how many requests that were."""
        cut = 0
        for connection in self._open_connections():
            request = connection.request
            if request is not None:
                cut += 1
                _log.warning("%s %s %s: cut, it did not finish within grace", request.id, request.method, request.path)
            connection.cut()
        return cut


def serve(path: str, overrides: Mapping[tuple[str, str], str]) -> int:
    """Load, build and serve. Raises ConfigError; the exit code otherwise."""
    settings, gateway = build(path, overrides)
    log.setup(settings.log.level)
    for warning in settings.warnings:
        _log.warning("%s", warning)
    try:
        return Worker(settings, gateway).run()
    except CannotListenError as error:
        _log.error("%s", error)
    except CannotOpenError as error:
        _log.error("%s", error, exc_info=error.__cause__)
    return 1
