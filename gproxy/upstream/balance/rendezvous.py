"""Rendezvous hashing, for all `*_hash` policies: a key stays with its backend; a lost backend moves only its keys."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from math import log
from typing import Final
from zlib import crc32

from gproxy.config.ini.build import option_group
from gproxy.config.sections.balance import HashOptions
from gproxy.http.header_names import TOKEN_CHAR
from gproxy.http.request import Request
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import hash_keys as keys
from gproxy.upstream.balance.hash_keys import Key
from gproxy.upstream.balance.policy import BalancingPolicy
from gproxy.upstream.balance.round_robin import RoundRobin

#: The number of slots: a key's hash selects a slot, and each slot has a backend.
_SLOTS: Final = 1 << 16
_MASK: Final = (1 << 64) - 1
_TOKEN: Final = f"{TOKEN_CHAR}+"
_PARAMETER: Final = r"[^\s&=#]+"


@dataclass(eq=False, repr=False)
class Rendezvous(BalancingPolicy):
    """A policy that assigns each slot to the backend with the highest score; twice the weight wins twice the slots.

    A request without a key goes to the next backend in round robin.
    """

    _key: Key = field(init=False)
    _keyless: RoundRobin = field(init=False, default_factory=RoundRobin)
    _members: frozenset[Backend] = field(init=False, default_factory=frozenset)
    #: A cache by slot; valid while the winner is a candidate and no candidate was added.
    _winners: dict[int, Backend | None] = field(init=False, default_factory=dict)

    def share(self, state: SharedState, upstream: str) -> None:
        """Share the turn of requests without a key."""
        self._keyless.share(state, upstream)

    def unshare(self) -> None:
        """Keep the turn in this worker."""
        self._keyless.unshare()

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


@dataclass(eq=False, repr=False)
class IPHash(Rendezvous):
    """The policy `ip_hash`: a client's network stays with its backend."""

    def __post_init__(self) -> None:
        self._key = keys.client


@dataclass(eq=False, repr=False)
class URIHash(Rendezvous):
    """The policy `uri_hash`: a path stays with its backend."""

    def __post_init__(self) -> None:
        self._key = keys.path


@dataclass(eq=False, repr=False)
class HeaderHash(Rendezvous):
    """The policy `header_hash`: a value of the header stays with its backend."""

    options: HashOptions = option_group(HashOptions, prefix="hash_")

    def __post_init__(self) -> None:
        self._key = keys.header(self.options.checked("header_hash", "a header's name", _TOKEN))


@dataclass(eq=False, repr=False)
class CookieHash(Rendezvous):
    """The policy `cookie_hash`: a value of the cookie stays with its backend."""

    options: HashOptions = option_group(HashOptions, prefix="hash_")

    def __post_init__(self) -> None:
        self._key = keys.cookie(self.options.checked("cookie_hash", "a cookie's name", _TOKEN))


@dataclass(eq=False, repr=False)
class QueryHash(Rendezvous):
    """The policy `query_hash`: a value of the query parameter stays with its backend."""

    options: HashOptions = option_group(HashOptions, prefix="hash_")

    def __post_init__(self) -> None:
        self._key = keys.query(self.options.checked("query_hash", "a parameter's name", _PARAMETER))


def winner(slot: int, backends: Sequence[Backend]) -> Backend:
    """Return the backend of the slot, by names and weights only, so every process and host has the same result."""
    return max(backends, key=lambda backend: _score(slot, backend))


def _score(slot: int, backend: Backend) -> float:
    """Return a pseudo-random score; the logarithm makes the chance of the highest one proportional to the weight."""
    mixed = (_seed(backend.name) ^ (slot * 0x9E3779B97F4A7C15)) & _MASK
    mixed = ((mixed ^ (mixed >> 33)) * 0xFF51AFD7ED558CCD) & _MASK  # the finalizer of MurmurHash3
    mixed = ((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
    draw = ((mixed ^ (mixed >> 33)) >> 12) + 0.5  # in 52 bits, so that it is never rounded up to 1
    return -backend.weight / log(draw / 2**52)


@lru_cache(4096)
def _seed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
