"""The policy `least_conn`: the least loaded backend, in logarithmic time."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from gproxy.http.request import Request
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

#: The load, the number of the change that led to it, and the backend.
_Entry = tuple[float, int, Backend]


class LeastConn(BalancingPolicy):
    """A policy that picks the backend with the fewest active attempts by weight; among equals the longest unchanged.

    A heap has an entry for each change of a backend's load. Only a backend's newest entry counts. The others are
    dropped when they come to the top.
    """

    def __init__(self) -> None:
        self._changes = 0
        self._heap: list[_Entry] = []
        self._newest: dict[Backend, _Entry] = {}

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        before, self._newest, self._heap = self._newest, {}, []
        for backend in sorted(backends, key=lambda backend: before[backend][1] if backend in before else 0):
            backend.load_observer = self._note
            self._push(backend)

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if backends is not self._backends:
            return min(backends, key=_load)
        heap, newest = self._heap, self._newest
        while newest[heap[0][2]][1] != heap[0][1]:
            heappop(heap)
        return heap[0][2]

    def _note(self, backend: Backend) -> None:
        if backend in self._newest:
            self._push(backend)

    def _push(self, backend: Backend) -> None:
        self._changes += 1
        self._newest[backend] = entry = (_load(backend), self._changes, backend)
        heappush(self._heap, entry)
        if len(self._heap) > 8 * len(self._newest) + 64:  # drop the old entries that never come to the top
            self._heap = list(self._newest.values())
            heapify(self._heap)


def _load(backend: Backend) -> float:
    """Return the load with one more attempt, divided by the weight."""
    return (backend.active + 1) / backend.weight
