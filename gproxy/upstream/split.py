"""One route, several upstreams: each gets its share of the requests, and a client may stay with one of them."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from gproxy.config.types.route_action import SplitKey
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.upstream.balance import hash_keys as keys


class Split:
    """The hash of the key decides, so a client stays, in every worker; who has no key takes an exact turn.

    Each upstream has a range of hashes as wide as its weight, in the order of the file: while a last one's share grows,
    whoever it has stays with it.
    """

    def __init__(self, shares: Sequence[tuple[Next, int]], key: SplitKey | None) -> None:
        self._steps = [step for step, _ in shares]
        self._weights = [weight for _, weight in shares]
        self._ends = [*accumulate(self._weights)]
        self._credit = [0] * len(shares)
        #: What a client is known by; None for one who has nothing of it.
        self.key = _reader(key)

    def __call__(self, request: Request) -> Response:
        key = self.key(request)
        return self._steps[self.by_key(key) if key else self.in_turn()](request)

    def by_key(self, key: str) -> int:
        """Which one this key belongs to."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return bisect_right(self._ends, int.from_bytes(digest, "big") * self._ends[-1] >> 64)

    def in_turn(self) -> int:
        """Whose turn it is: all gain their weight, the richest pays what all gained, so that shares interleave."""
        credit = self._credit
        for number, weight in enumerate(self._weights):
            credit[number] += weight
        richest = credit.index(max(credit))
        credit[richest] -= self._ends[-1]
        return richest


def _reader(key: SplitKey | None) -> Callable[[Request], str | None]:
    if key is None:
        return lambda _: None
    if key.kind == "ip":
        return keys.client
    return keys.header(key.name) if key.kind == "header" else keys.cookie(key.name)
