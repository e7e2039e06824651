"""The counts of identity handlers and key sets, which the metrics read: plain integers, so that a request is cheap."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import inf
from time import monotonic
from typing import Final, Protocol

from gproxy.http.errors import ClientGone
from gproxy.identity.errors import Untrusted
from gproxy.runtime import Runtime

#: How a request may end at an identity handler, in the order of the events of docs/identity.md.
OUTCOMES: Final = ("ok", "missing", "invalid", "expired", "denied", "throttled", "unavailable")
#: How an outside call may end: an answer that admits, one that does not, none.
ASKED: Final = ("ok", "rejected", "failed")
#: The outcome of each reason of a rejection.
_BY_REASON: Final = {
    "auth_missing": "missing",
    "auth_scope": "denied",
    "forbidden": "denied",
    "cross_site": "denied",
    "auth_throttled": "throttled",
    "auth_unavailable": "unavailable",
}


class Outcomes:
    """The numbers of requests that one identity handler has judged, by outcome."""

    __slots__ = OUTCOMES

    def __init__(self) -> None:
        self.ok = self.missing = self.invalid = self.expired = self.denied = self.throttled = self.unavailable = 0

    def count(self, reason: str, *, expired: bool = False) -> None:
        """Count a rejection with this reason, as the access line has it."""
        outcome = "expired" if expired else _BY_REASON.get(reason, "invalid")
        setattr(self, outcome, getattr(self, outcome) + 1)

    def watch(self, runtime: Runtime, handler: str) -> None:
        """Let the metrics of the process follow these numbers, under the handler's name."""
        for outcome in OUTCOMES:
            runtime.metrics.watch("gproxy_auth_total", (handler, outcome), partial(getattr, self, outcome))


class Asked:
    """The calls of one identity handler to others, such as an introspection endpoint: their numbers and durations."""

    def __init__(self, runtime: Runtime, handler: str) -> None:
        self._numbers = dict.fromkeys(ASKED, 0)
        self._seconds = runtime.metrics.series("gproxy_auth_asked_seconds", handler)
        for outcome in ASKED:
            runtime.metrics.watch(
                "gproxy_auth_asked_total", (handler, outcome), partial(self._numbers.__getitem__, outcome)
            )

    @contextmanager
    def timed(self) -> Iterator["Call"]:
        """Count the call that the block makes: `ok`, `rejected` for Untrusted, `failed` for other exceptions.

        The block may also note in the yielded object that an answer rejects. A call whose client leaves is not counted.
        """
        call, began = Call(), monotonic()
        outcome = "failed"
        try:
            yield call
            outcome = "ok" if call.admits else "rejected"
        except Untrusted:
            outcome = "rejected"
            raise
        except ClientGone:
            outcome = ""
            raise
        finally:
            if outcome:
                self._numbers[outcome] += 1
                self._seconds.observe(monotonic() - began)


class Call:
    """A call that is made, and whether its answer admits the request."""

    __slots__ = ("admits",)

    def __init__(self) -> None:
        self.admits = True


class CountedKeys(Protocol):
    """A key set as the metrics see it. `age` is in seconds, None without a set. `fetches` has numbers by outcome."""

    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def age(self) -> float | None: ...
    @property
    def fetches(self) -> Mapping[str, int]: ...


def watch_keys(runtime: Runtime, keys: CountedKeys) -> None:
    """Let the metrics of the process follow a key set; the age of a missing set is infinite."""
    metrics = runtime.metrics
    metrics.watch("gproxy_keys", (keys.name,), lambda: keys.count)
    metrics.watch("gproxy_keys_age_seconds", (keys.name,), lambda: inf if keys.age is None else keys.age)
    for outcome in ("ok", "failed"):
        metrics.watch("gproxy_keys_fetches_total", (keys.name, outcome), partial(keys.fetches.__getitem__, outcome))
