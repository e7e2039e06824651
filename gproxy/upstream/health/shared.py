"""What the workers that serve an upstream agree on: whose turn it is, who is healthy, and which of them probes.

A worker that serves alone has all of it to itself. With others beside it, it tells them what it finds out, and looks
ten times a second at what they have found out.
"""

from typing import TYPE_CHECKING, Final

import gevent

from gproxy.runtime import Runtime
from gproxy.state.shared.health_table import Board, Opinion
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import Balancer
from gproxy.upstream.balance.round_robin import RoundRobin, SharedTurns

if TYPE_CHECKING:
    from gproxy.upstream.upstream import Upstream

#: How often the others are listened to, in seconds.
_EVERY: Final = 0.1


class Accord:
    """One upstream's part in it."""

    def __init__(self, upstream: "Upstream", runtime: Runtime) -> None:
        self._upstream = upstream
        self._runtime = runtime
        self._probing = f"probes of {upstream.name}"
        self._board: Board | None = None
        self._known: dict[Backend, Opinion] = {}
        self._version = -1
        self._leads = False
        self._own: Balancer = upstream.balancer
        self._greenlet: gevent.Greenlet | None = None
        runtime.join(self)
        if self._board is None:
            upstream.start_checks()

    def close(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()

    def share(self, state: SharedState) -> None:
        """What is known here is told, unless others know more already."""
        self._board = Board(state, self._upstream.name)
        self._version = -1
        said = {backend for backend in self._upstream.backends if self._board.read(backend.label)}
        self._known = {backend: opinion for backend in said if (opinion := _opinion(backend))}
        if isinstance(self._own, RoundRobin):
            self._upstream.balancer = SharedTurns(self._own, state, self._upstream.name)
        self._look(state, self._board)
        self._greenlet = gevent.spawn(self._keep_looking, state, self._board)

    def unshare(self, state: SharedState) -> None:
        """Alone again: all turns and all probes are ours."""
        self.close()
        if self._board is None:
            return
        self._look(state, self._board)
        self._board.wipe()
        self._board = None
        balancer = self._upstream.balancer
        if isinstance(balancer, SharedTurns):
            self._upstream.balancer = balancer.end()
        state.resign(self._probing)
        self._upstream.start_checks()

    def _keep_looking(self, state: SharedState, board: Board) -> None:
        while True:
            gevent.sleep(_EVERY)
            self._look(state, board)

    def _look(self, state: SharedState, board: Board) -> None:
        self._choose_prober(state)
        for backend in self._upstream.backends:
            self._tell(backend, board)
        if board.version != self._version:
            self._version = board.version
            for backend in self._upstream.backends:
                self._listen(backend, board)

    def _choose_prober(self, state: SharedState) -> None:
        """Whoever has the lock probes until it ends, or finishes because others have come in its place."""
        leads = not self._runtime.draining and (self._leads or state.lead(self._probing))
        if self._leads and not leads:
            state.resign(self._probing)
        self._leads = leads
        (self._upstream.start_checks if leads else self._upstream.stop_checks)()

    def _tell(self, backend: Backend, board: Board) -> None:
        opinion = _opinion(backend)
        if opinion is not None and opinion != self._known.get(backend):
            self._known[backend] = opinion
            board.write(backend.label, opinion)

    def _listen(self, backend: Backend, board: Board) -> None:
        opinion = board.read(backend.label)
        before = self._known.get(backend)
        if opinion is None or opinion == before:
            return
        self._known[backend] = opinion
        health, now = backend.health, self._runtime.monotonic()
        if opinion.passes != health.passes or not health.decided:
            health.mark_probe(opinion.passes, opinion.why)
        if opinion.left_out_until > now:
            health.eject(opinion.left_out_until, opinion.why)
        elif before and before.left_out_until and not opinion.left_out_until:
            health.readmit()
        self._upstream.refresh()


def _opinion(backend: Backend) -> Opinion | None:
    """None while a trial decides, or as long as no probe has said anything: then nothing is known."""
    health = backend.health
    if health.on_trial or not health.decided:
        return None
    return Opinion(health.passes, health.ejected_until, health.why)
