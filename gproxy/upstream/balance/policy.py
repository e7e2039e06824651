"""What every policy is: asked for one of the backends that are available."""

from collections.abc import Sequence

from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend


class BalancingPolicy:
    """A policy; it keeps its own state, so each upstream has one of its own. A pick switches to no other greenlet."""

    def __init__(self) -> None:
        self._backends: Sequence[Backend] = ()

    def use(self, runtime: Runtime) -> None:
        """Take its clock and its random."""

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        """`pick` will be asked about this very list nearly always: work out now what can be known of it.

        Other lists come when some of these are full or were tried, and may cost more.
        """
        self._backends = backends

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        """One of the backends, of which there is at least one; None if none will do."""
        raise NotImplementedError

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        """The same for a request that has failed elsewhere; these are those that it has not tried."""
        return self.pick(backends, request)


class First(BalancingPolicy):
    """The first in the file that is available."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        return backends[0]
