"""Which backend is next: one small policy each. Only available backends come in, at least one."""

import hashlib
import random
from collections.abc import Sequence
from typing import Final, Protocol

from gproxy.http.request import Request
from gproxy.upstream.backend import Backend


class Balancer(Protocol):
    """A policy; it keeps its own state, so each upstream has one of its own."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend: ...


class RoundRobin:
    """In exact turn."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        turn = self._turn % len(backends)
        self._turn = turn + 1
        return backends[turn]


class Weighted:
    """Smooth weighted round robin: shares as the weights say, interleaved instead of in runs.

    Each turn everybody gains its weight, the richest is picked and pays what all gained.
    """

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        credit = self._credit
        for backend in backends:
            credit[backend.name] = credit.get(backend.name, 0) + backend.weight
        best = max(backends, key=lambda backend: credit[backend.name])
        credit[best.name] -= sum(backend.weight for backend in backends)
        return best


class LeastConn:
    """The fewest attempts under way for its weight; in turn among equals."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        self._turn += 1
        start = self._turn % len(backends)
        ordered = (*backends[start:], *backends[:start])
        return min(ordered, key=lambda backend: (backend.active + 1) / max(backend.weight, 1))


class PowerOfTwo:
    """The less loaded of two drawn at random: nearly as good as the least loaded, and no herd."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()  # noqa: S311 no secret

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        if len(backends) == 1:
            return backends[0]
        return min(self._random.sample(backends, 2), key=lambda backend: backend.active)


class Random:
    """Any of them, by weight."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()  # noqa: S311 no secret

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        return self._random.choices(backends, [backend.weight for backend in backends])[0]


class First:
    """The first in the file that is available."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:  # noqa: ARG002
        return backends[0]


class Rendezvous:
    """The same key goes to the same backend; losing one of n moves only its own keys."""

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend:
        key = self.key(request)
        return max(backends, key=lambda backend: _score(key, backend))

    def key(self, request: Request) -> str:
        raise NotImplementedError


class IPHash(Rendezvous):
    """By client address."""

    def key(self, request: Request) -> str:
        return request.client


class URIHash(Rendezvous):
    """By path: its queries stay together."""

    def key(self, request: Request) -> str:
        return request.path


def _score(key: str, backend: Backend) -> float:
    """Weighted rendezvous: the draw's w-th root, so that twice the weight wins twice the keys."""
    digest = hashlib.blake2b(f"{key}\0{backend.name}".encode("latin-1", "replace"), digest_size=8).digest()
    draw = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return float(draw ** (1.0 / backend.weight)) if backend.weight else 0.0


POLICIES: Final[dict[str, type[Balancer]]] = {
    "round_robin": RoundRobin,
    "weighted": Weighted,
    "least_conn": LeastConn,
    "p2c": PowerOfTwo,
    "random": Random,
    "first": First,
    "ip_hash": IPHash,
    "uri_hash": URIHash,
}
