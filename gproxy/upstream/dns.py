"""Names of backends to their addresses, asked for again and again; docs/why/dns.md says why so.

Requests never wait for it: they see the backends that came of the last answer.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import gevent
from gevent import socket
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from gproxy.config.types import BackendURL
from gproxy.runtime import Runtime

_log = logging.getLogger("gproxy")

#: A host's addresses, the preferred one first. Raises OSError if there are none.
Lookup = Callable[[str], Sequence[str]]
#: One backend's address, and one that may stand in for it.
Addresses = tuple[str, ...]

#: The shortest time between two look-ups of one name, in seconds; also how soon one that failed is tried again.
_SOONEST: Final = 1.0
#: gevent's resolver uses threads that others need too, and a dead server holds one for half a minute.
_at_a_time = BoundedSemaphore(4)


def look_up(host: str) -> list[str]:
    """What the system says, be it from DNS, /etc/hosts or a cache; off the hub."""
    with _at_a_time:
        found = socket.getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def arrange(found: Iterable[str]) -> list[Addresses]:
    """One entry for each backend that there seems to be.

    A host with an IPv4 and an IPv6 address is one backend: those of one family count, the larger one or that which the
    system prefers (RFC 6724), and each gets one of the other family in reserve. The order does not depend on that of
    the answer, which servers like to turn.
    """
    distinct = list(dict.fromkeys(found))
    families = [[a for a in distinct if ":" in a], [a for a in distinct if ":" not in a]]
    families.sort(key=lambda family: (-len(family), distinct[:1] != family[:1]))
    chosen, other = map(sorted, families)
    return [(address, *other[n % len(other) :][:1]) if other else (address,) for n, address in enumerate(chosen)]


class Name:
    """One backend of the settings whose host is a name; `changed` hears of each new set of addresses."""

    def __init__(
        self,
        url: BackendURL,
        *,
        interval: float,
        upstream: str,
        changed: Callable[[BackendURL, list[Addresses]], None],
        lookup: Lookup = look_up,
    ) -> None:
        self.url = url
        self._interval = interval
        self._upstream = upstream
        self._changed = changed
        self._lookup = lookup
        self._addresses: list[Addresses] = []
        self._fails = False
        self._doubted = Event()
        #: Was it asked for at least once?
        self.settled = Event()

    def run(self, runtime: Runtime) -> None:
        """For as long as the upstream lives."""
        while True:
            self._doubted.clear()
            self.look()
            self.settled.set()
            gevent.sleep(_SOONEST)
            if self._addresses:
                self._doubted.wait(self._interval * (0.9 + runtime.random.random() / 5) - _SOONEST)

    def doubt(self) -> None:
        """A connection was refused: perhaps the addresses have changed, so ask again soon."""
        self._doubted.set()

    def look(self) -> None:
        """Ask once; what fails leaves everything as it is, and is said once."""
        try:
            found = arrange(self._lookup(self.url.host))
        except (OSError, UnicodeError) as error:
            if not self._fails:
                self._say_failure(error)
            self._fails = True
            return
        if found != self._addresses or self._fails:
            addresses = ", ".join(address for address, *_ in found)
            _log.info("upstream %s: %s resolves to %s", self._upstream, self.url.place, addresses)
        self._fails = False
        if found != self._addresses:
            self._addresses = found
            self._changed(self.url, found)

    def _say_failure(self, error: Exception) -> None:
        _log.warning(
            "upstream %s: %s does not resolve: %s%s", self._upstream, self.url.place, error,
            "; its last addresses stay" if self._addresses else "",
        )
