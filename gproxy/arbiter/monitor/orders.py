"""The orders of the monitor: a function carries each out with its arguments, and replies with its outcome."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from gproxy.arbiter import messages
from gproxy.arbiter.generations.reload import Reload, Reply
from gproxy.arbiter.monitor.overrides import BackendOverrides, TemporaryLogLevel
from gproxy.arbiter.monitoring import Supervisor
from gproxy.arbiter.worker_process import WorkerState
from gproxy.arbiter.workers import Workers

_log = logging.getLogger("gproxy")

#: The most workers that an order can ask for.
_MOST_WORKERS: Final = 1024


class Orders:
    """The table of orders. An order with wrong arguments fails."""

    def __init__(
        self, supervisor: Supervisor, workers: Workers, overrides: BackendOverrides, level: TemporaryLogLevel
    ) -> None:
        self._supervisor = supervisor
        self._workers = workers
        self._overrides = overrides
        self._level = level
        self._table: Mapping[str, Callable[..., None]] = {
            "reload": self._reload,
            "rollback": self._roll_back,
            "reopen": self._reopen,
            "workers": self._scale,
            "override": self._override,
            "log_level": self._hold_level,
            "stack": self._ask_stack,
        }

    def obey(self, name: str, arguments: Mapping[str, Any], reply: Reply) -> None:
        """Carry an order out. The reply may come later."""
        order = self._table.get(name)
        if order is None:
            reply(False, {"detail": f"unknown order {name!r}; known are {', '.join(self._table)}"})
            return
        try:
            order(reply, **arguments)
        except (TypeError, ValueError) as error:  # arguments that the order does not have, or wrong values
            reply(False, {"detail": str(error)})

    def _reload(self, reply: Reply, author: str = "the monitor", *, dry: bool = False) -> None:
        """Read the settings as HUP does, or only try them; reply with the generation that serves, or the reasons."""
        self._supervisor.reload(Reload(f"{'dry reload' if dry else 'reload'} by {author}", [reply], is_dry=dry))

    def _roll_back(self, reply: Reply, author: str = "the monitor") -> None:
        """Start a generation with the settings of the one before; reply as to a reload."""
        self._supervisor.reload(Reload(f"rollback by {author}", [reply], is_rollback=True))

    def _reopen(self, reply: Reply) -> None:
        """Let all workers open the access log anew, as USR1 does."""
        self._workers.send(messages.Reopen())
        reply(True, {})

    def _scale(self, reply: Reply, count: int, author: str = "the monitor") -> None:
        """Run so many workers until the next reload, as TTIN and TTOU do. Raises ValueError."""
        if not 1 <= count <= _MOST_WORKERS:
            raise ValueError(f"count: expected a number from 1 to {_MOST_WORKERS}")
        self._supervisor.scale(count, author)
        reply(True, {"workers": count})

    def _override(self, reply: Reply, upstream: str, backend: str, fields: dict[str, Any] | None) -> None:
        """Keep an override for later workers; None: forget it. Raises ValueError."""
        self._overrides.keep(upstream, backend.rpartition("://")[2], fields)
        reply(True, {})

    def _hold_level(
        self, reply: Reply, level: str, until: float, logger: str = "gproxy", author: str = "the monitor"
    ) -> None:
        """Give a logger this level until a Unix time, in all processes. Raises ValueError."""
        self._level.hold(level, logger, until, author)
        reply(True, {"log_level": self._level.report()})

    def _ask_stack(self, reply: Reply, pid: int) -> None:
        """Reply with the lines of the stacks of a worker, which serves on. Raises ValueError."""
        worker = next((one for one in self._workers if one.pid == pid), None)
        if worker is None or not WorkerState.BUILT <= worker.state < WorkerState.KILLED:
            raise ValueError(f"pid: there is no worker {pid} that can show its stack")
        self._workers.ask_stack(worker, partial(_reply_stack, reply))


def _reply_stack(reply: Reply, lines: list[str]) -> None:
    reply(True, {"stack": lines})
