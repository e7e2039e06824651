"""Periodic DNS look-ups of backends; docs/why/dns.md explains the design.

Requests never wait for a look-up: they use the backends of the last result.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

import gevent
from gevent.event import Event

from gproxy.config.types import BackendURL
from gproxy.runtime.names import Names

_log = logging.getLogger("gproxy")

#: A function that returns a host's addresses, the preferred one first, or raises OSError.
Lookup = Callable[[str], Sequence[str]]
#: The address of one backend, perhaps with a reserve address of the other family.
Addresses = tuple[str, ...]

#: The shortest time between two look-ups of one name, and the time until a retry of a failed one, in seconds.
_SOONEST: Final = 1.0
#: The names of backends; at most so many wait for a dead name server at once.
_names: Final = Names(16)


def look_up(host: str) -> list[str]:
    """Return the addresses from the system's resolver (DNS, /etc/hosts or a cache), without blocking the hub."""
    return _names.addresses(host)


def arrange(found: Iterable[str]) -> list[Addresses]:
    """Return the addresses grouped by backend, in a stable order.

    A host with an IPv4 and an IPv6 address is one backend. So the addresses of one family are the backends: the larger
    family, or the one that the system prefers (RFC 6724). Each gets an address of the other family in reserve. The
    order is sorted, because DNS servers rotate their answers.
    """
    distinct = list(dict.fromkeys(found))
    families = [[a for a in distinct if ":" in a], [a for a in distinct if ":" not in a]]
    families.sort(key=lambda family: (-len(family), distinct[:1] != family[:1]))
    chosen, other = map(sorted, families)
    return [(address, *other[n % len(other) :][:1]) if other else (address,) for n, address in enumerate(chosen)]


class ResolvedName:
    """The look-ups of one backend URL whose host is a name; `changed` is called with each new set of addresses."""

    def __init__(
        self,
        url: BackendURL,
        *,
        interval: float,
        upstream: str,
        changed: Callable[[BackendURL, list[Addresses]], None],
        random: Random,
        lookup: Lookup = look_up,
    ) -> None:
        self.url = url
        self._interval = interval
        self._upstream = upstream
        self._changed = changed
        self._random = random
        self._lookup = lookup
        self._addresses: list[Addresses] = []
        self._fails = False
        self._refresh_event = Event()
        #: Set after the first look-up.
        self.settled = Event()

    def run(self) -> None:
        """Repeat the look-up until the greenlet is killed."""
        while True:
            self._refresh_event.clear()
            self.look()
            self.settled.set()
            gevent.sleep(_SOONEST)
            if self._addresses:
                self._refresh_event.wait(self._interval * (0.9 + self._random.random() / 5) - _SOONEST)

    def refresh_soon(self) -> None:
        """Look up the name soon, because a connection has failed: the addresses may have changed."""
        self._refresh_event.set()

    def look(self) -> None:
        """Look up the name once. A failure changes nothing, and only the first of a series is logged."""
        try:
            found = arrange(self._lookup(self.url.host))
        except OSError as error:
            if not self._fails:
                self._log_failure(error)
            self._fails = True
            return
        if found != self._addresses or self._fails:
            addresses = ", ".join(address for address, *_ in found)
            _log.info("upstream %s: %s resolves to %s", self._upstream, self.url.place, addresses)
        self._fails = False
        if found != self._addresses:
            self._addresses = found
            self._changed(self.url, found)

    def _log_failure(self, error: Exception) -> None:
        _log.warning(
            "upstream %s: %s does not resolve: %s%s",
            self._upstream,
            self.url.place,
            error,
            "; its last addresses stay in use" if self._addresses else "",
        )
