"""A split of a route's requests among several upstreams, by shares; a client may stay with one of them."""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random
from typing import Final

from gproxy.config.types.route_action import SplitKey
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.set_cookie import SetCookie
from gproxy.upstream.balance import hash_keys as keys
from gproxy.upstream.balance.round_robin import SmoothWeights

#: Matches the value of a cookie that `StickySplit` has set.
_is_point: Final = re.compile("[0-9a-f]{16}").fullmatch


class Split:
    """The split of one route: by the hash of a key, alike in every worker, or in exact rotation without a key.

    Each upstream has a range of hashes as wide as its weight, in the order of the file. So the last upstream keeps its
    clients while its share grows.
    """

    def __init__(self, shares: Sequence[tuple[Next, int]], key: SplitKey | None) -> None:
        self._steps = [step for step, _ in shares]
        weights = [weight for _, weight in shares]
        self._ends = [*accumulate(weights)]
        #: Returns the number of the next upstream in exact rotation.
        self.in_turn = SmoothWeights(weights).next
        #: The function that returns a request's key, or None.
        self.key = _reader(key)

    def __call__(self, request: Request) -> Response:
        key = self.key(request)
        return self._steps[self.by_key(key) if key else self.in_turn()](request)

    def by_key(self, key: str) -> int:
        """Return the number of the upstream that the key belongs to."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return bisect_right(self._ends, int.from_bytes(digest, "big") * self._ends[-1] >> 64)


class StickySplit(Split):
    """A split that sets a cookie, so that a client stays at the upstream that it got in turn.

    The value is a point, at random in the upstream's range: it has no further meaning, and clients move with the shares
    as those of a key do.
    """

    def __init__(self, shares: Sequence[tuple[Next, int]], cookie: SetCookie, random: Random) -> None:
        super().__init__(shares, None)
        self.cookie = cookie
        self._random = random
        presented = keys.cookie(cookie.name)

        def point(request: Request) -> str | None:
            value = presented(request)
            return value if value and _is_point(value) else None

        self.key = point

    def __call__(self, request: Request) -> Response:
        key = self.key(request)
        if key:
            return self._steps[self.by_key(key)](request)
        number = self.in_turn()
        response = self._steps[number](request)
        self.cookie.set_on(response, request, self._point_in(number))
        return response

    def by_key(self, key: str) -> int:
        """Return the number of the upstream whose range has this point."""
        return bisect_right(self._ends, int(key, 16) * self._ends[-1] >> 64)

    def _point_in(self, number: int) -> str:
        begin = self._ends[number - 1] if number else 0
        first, after = (-(-(end << 64) // self._ends[-1]) for end in (begin, self._ends[number]))
        return f"{self._random.randrange(first, after):016x}"


def _reader(key: SplitKey | None) -> Callable[[Request], str | None]:
    if key is None:
        return lambda _: None
    if key.kind == "ip":
        return keys.client
    return keys.header(key.name) if key.kind == "header" else keys.cookie(key.name)
