"""The base class of balancing policies, and the policy `first`."""

from collections.abc import Sequence
from typing import ClassVar

from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend


class BalancingPolicy:
    """A policy that picks a backend for each request; each upstream has its own. No method switches greenlets.

    A policy with options is a dataclass. Its base classes then have no `__init__`: mypyc would call it.
    """

    #: What the names of its options begin with; the built-in policies name theirs in full.
    prefix: ClassVar[str] = ""

    _backends: Sequence[Backend] = ()

    def use(self, runtime: Runtime) -> None:
        """Take the clock and the random generator of the runtime."""

    def share(self, state: SharedState, upstream: str) -> None:
        """Share state with the policies of the other workers, under the upstream's name, if the policy has any."""

    def unshare(self) -> None:
        """Stop sharing: the other workers have ended."""

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        """Set the candidates. Precompute here: `pick` usually gets this same list object.

        `pick` gets another list, and may take longer, when some candidates are full or were tried.
        """
        self._backends = backends

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        """Pick one of the backends, of which there is at least one; None rejects them all."""
        raise NotImplementedError

    def pick_again(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        """Pick a backend for a retry; `backends` are those that the request has not tried."""
        return self.pick(backends, request)


class First(BalancingPolicy):
    """A policy that picks the first available backend in the order of the file."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        return backends[0]
