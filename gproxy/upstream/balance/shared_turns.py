"""In turn, whoever of several workers is asked."""

from collections.abc import Sequence

from gproxy.http.request import Request
from gproxy.state.shared import SharedState
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.balancer import Balancer
from gproxy.upstream.balance.turns import RoundRobin


class SharedTurns(Balancer):
    """Round robin in which all workers take turns together."""

    def __init__(self, own: RoundRobin, state: SharedState, upstream: str) -> None:
        self._own = own
        self._area = state.area(f"turns of {upstream}", 8)
        self._mutex = state.mutexes(f"turns of {upstream}")(0)
        if self._area and not self._area.words[0]:
            self._area.words[0] = own.turn

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:
        own, area = self._own, self._area
        if area is None:
            return own.pick(backends, request)
        with self._mutex:
            own.turn = area.words[0]
            backend = own.pick(backends, request)
            area.words[0] = own.turn
        return backend

    def expect(self, backends: Sequence[Backend]) -> None:
        """As the policy itself."""
        self._own.expect(backends)

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend:
        """As the policy itself: it is nobody's turn."""
        return self._own.pick_again(backends, request)

    def end(self) -> RoundRobin:
        """The policy itself, which goes on where all have come to."""
        if self._area:
            self._own.turn = self._area.words[0]
            self._area.wipe()
        return self._own
