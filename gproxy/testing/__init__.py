"""Tools for tests of handlers and of whole gateways, without sockets, servers or mocks.

`with raises(HTTPError): Maintenance(flag=there)(request("GET", "/"), answer(200))` is a whole test. The fixture
`gproxy` of the pytest plugin sends requests through a whole gateway.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gproxy.http.request import request
    from gproxy.testing.answers import Answer, answer, refused, reset, slow

__all__ = ["Answer", "Clock", "answer", "refused", "request", "reset", "slow"]

_HOMES = {"request": "gproxy.http.request"}


def __getattr__(name: str) -> object:
    """Return a public name, imported at its first use: every test run loads the pytest plugin of this package."""
    if name not in __all__:
        raise AttributeError(f"module 'gproxy.testing' has no attribute {name!r}")
    public: object = getattr(import_module(_HOMES.get(name, "gproxy.testing.answers")), name)
    return public


class Clock:
    """A clock that moves only when it is advanced; in seconds, 1,000,000 at the start by default."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock. Raises ValueError for a step back, which no monotonic clock makes."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s; expected 0 or more")
        self.now += seconds
