"""The rule of a recording in one worker: which exchanges it takes, and their way to the monitor."""

import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from gproxy.config.types.addresses import Network, network_of
from gproxy.config.types.matchers import Statuses, as_set
from gproxy.http.exchange import Exchange
from gproxy.http.request import Request
from gproxy.http.trust import is_in
from gproxy.recording.captured import Captured, recorded
from gproxy.recording.json_lines import exchange_line
from gproxy.recording.redaction import Redaction

#: The most bytes of each body that a recording may keep: work on a longer one would block the loop.
MOST_BODY: Final = 1024 * 1024
#: The same, if a part of JSON is to be hidden.
MOST_SEARCHED: Final = 256 * 1024
#: A client on a unix socket has no address.
_UNIX: Final = "unix"


@dataclass(frozen=True)
class Selection:
    """The conditions on exchanges to record; an empty one matches all.

    route: the route's name. path: a pattern, in which `*` stands for any characters. client: a network, or unix.
    status: statuses of the response. slower: seconds that the exchange takes at least. sample: the share of those that
    match the conditions on requests.
    """

    route: str = ""
    path: re.Pattern[str] | None = None
    client: Network | str = ""
    status: Collection[int] = ()
    slower: float = 0.0
    sample: float = 1.0
    random: Callable[[], float] = field(default=random.random, compare=False)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the selection of options as the command has them. Raises ValueError."""
        sample = float(options.get("sample", 1.0))
        if not 0 < sample <= 1:
            raise ValueError("sample: expected a share above 0% and up to 100%")
        return cls(
            route=str(options.get("route", "")),
            path=_pattern(str(options.get("path", ""))),
            client=_network(str(options.get("client", ""))),
            status=_statuses(str(options.get("status", ""))),
            slower=float(options.get("slower", 0.0)),
            sample=sample,
        )

    def matches_request(self, request: Request) -> bool:
        """Return whether the request may be recorded; its route is known to match."""
        if self.path is not None and not self.path.fullmatch(request.path):
            return False
        if self.client and not self._has_client(request.client):
            return False
        return self.sample >= 1 or self.random() < self.sample

    def matches_outcome(self, exchange: Exchange) -> bool:
        """Return whether an exchange that has ended is recorded."""
        return (not self.status or exchange.status in self.status) and exchange.duration >= self.slower

    def _has_client(self, address: str) -> bool:
        return address == self.client if isinstance(self.client, str) else is_in(address, [self.client])


class RecordRule:
    """The rule of one recording in a worker. `put` passes a line on, and returns False if there is no room for it.

    `place` is the worker's number and generation.
    """

    def __init__(
        self,
        selection: Selection,
        redaction: Redaction,
        put: Callable[[bytes], bool],
        *,
        body_limit: int = 0,
        limit: int = 1000,
        place: tuple[int, int] = (0, 0),
    ) -> None:
        self.routes = (selection.route,) if selection.route else ()
        self.body_limit = min(body_limit, MOST_BODY)
        self._selection = selection
        self._redaction = redaction
        self._put = put
        self._limit = limit
        self._place = place
        #: The numbers of exchanges that were passed on, and of those that were lost because there was no room.
        self.recorded = self.dropped = 0

    def wants(self, request: Request) -> bool:
        """Return whether to capture the request, which is on one of the routes."""
        return self.recorded < self._limit and self._selection.matches_request(request)

    def take(self, captured: Captured, exchange: Exchange) -> None:
        """Record an exchange that has ended, unless its outcome does not match."""
        if self.recorded >= self._limit or not self._selection.matches_outcome(exchange):
            return
        record = recorded(captured, exchange, self.body_limit, self._place)
        self._redaction.apply(record)
        if self._put(exchange_line(record)):
            self.recorded += 1
        else:
            self.dropped += 1


def _pattern(text: str) -> re.Pattern[str] | None:
    if not text:
        return None
    if not text.startswith(("/", "*")) or "?" in text:
        raise ValueError(f"path: expected a path, in which * stands for any characters; found {text!r}")
    return re.compile("(?s:" + ".*".join(map(re.escape, re.split(r"\*+", text))) + ")")


def _network(text: str) -> Network | str:
    if not text or text == _UNIX:
        return text
    try:
        return network_of(text)
    except ValueError as error:
        raise ValueError(f"client: {error}") from None


def _statuses(text: str) -> Collection[int]:
    found = []
    for word in filter(None, (one.strip() for one in text.split(","))):
        try:
            found.append(Statuses.parse(word))
        except ValueError:
            raise ValueError(f"status: expected statuses such as 5xx,404; found {word!r}") from None
    return as_set(found)
