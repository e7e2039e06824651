"""The same key goes to the same backend; losing one of n moves only its own keys."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import log
from typing import Final
from zlib import crc32

from gproxy.http.request import Request
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.hash_keys import Key
from gproxy.upstream.balance.policy import BalancingPolicy
from gproxy.upstream.balance.round_robin import RoundRobin

#: Keys fall into so many slots, and a slot has a backend.
_SLOTS: Final = 1 << 16
_MASK: Final = (1 << 64) - 1


class Rendezvous(BalancingPolicy):
    """Each slot belongs to the backend that gets the highest score with it, so twice the weight has twice the slots.

    A request without a key goes to whose turn it is.
    """

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._key = key
        self._keyless = RoundRobin()
        self._members: frozenset[Backend] = frozenset()
        #: By slot, for those that were asked for; right for as long as the winner is there and nobody has come.
        self._winners: dict[int, Backend | None] = {}

    def set_candidates(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._keyless.set_candidates(backends)
        members = frozenset(backends)
        if not members <= self._members:
            self._winners = {}
        self._members = members

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:
        key = self._key(request)
        if not key:
            return self._keyless.pick(backends, request)
        slot = crc32(key.encode("utf-8", "surrogatepass")) % _SLOTS
        if backends is not self._backends:
            return winner(slot, backends)
        found = self._winners.get(slot)
        if found is None or found not in self._members:
            found = self._winners[slot] = winner(slot, backends)
        return found


def winner(slot: int, backends: Sequence[Backend]) -> Backend:
    """Whose slot it is. Depends on names and weights only, so every process and every host says the same."""
    return max(backends, key=lambda backend: _score(slot, backend))


def _score(slot: int, backend: Backend) -> float:
    """A draw by slot and name; the logarithm makes the chance to be the highest proportional to the weight."""
    mixed = (_seed(backend.name) ^ (slot * 0x9E3779B97F4A7C15)) & _MASK
    mixed = ((mixed ^ (mixed >> 33)) * 0xFF51AFD7ED558CCD) & _MASK  # the finalizer of MurmurHash3
    mixed = ((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
    draw = ((mixed ^ (mixed >> 33)) >> 12) + 0.5  # in 52 bits, so that it is never rounded up to 1
    return -backend.weight / log(draw / 2**52)


@lru_cache(4096)
def _seed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
