"""The access lines that a worker feeds the monitor while somebody follows them there."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import gevent

from gproxy.http.exchange import Exchange
from gproxy.introspection.worker_view import WorkerView
from gproxy.observe.access_fields import line_format
from gproxy.runtime.feed import EachSecond, Feed

#: The most lines a second.
MOST: Final = 200
#: The longest line, in characters; a longer one counts as omitted. A field of the client may be as long as a head.
LONGEST: Final = 16 * 1024


class LineTap:
    """An observer that feeds access lines, at most MOST a second; it counts those that it omits."""

    def __init__(self, feed: Feed, line: Callable[[Exchange], str], clock: Callable[[], float]) -> None:
        self._feed = feed
        self._line = line
        self._clock = clock
        self._rate = EachSecond(MOST, clock)
        self._omitted = 0
        #: When the tap ends, by the clock.
        self.until = 0.0

    def record(self, exchange: Exchange) -> None:
        """Feed the line of the exchange, or count it as omitted."""
        line = self._line(exchange) if self._rate.has_room() else ""
        if 0 < len(line) <= LONGEST and self._rate.take():
            self._put(line)
        else:
            self._omitted += 1

    def _put(self, line: str) -> None:
        self._feed.put("line", {"line": line, "omitted": self._omitted})
        self._omitted = 0

    def run(self, observers: list[Any]) -> None:
        """Observe until the time is over; report once a second what was omitted since the last line."""
        observers.append(self)
        while self._clock() < self.until:
            gevent.sleep(1.0)
            if self._omitted:
                self._put("")
        observers.remove(self)


def tap(view: WorkerView, seconds: float) -> Iterator[Mapping[str, object]]:
    """Feed access lines for so many seconds, or for so many more; without a further question the tap ends by itself."""
    observers, feed = view.gateway.observers, view.runtime.feed
    if feed is None:
        return
    found = next((one for one in observers if isinstance(one, LineTap)), None)
    until = time.monotonic() + seconds
    if found is None:
        log = view.settings.log
        found = LineTap(feed, line_format(log.format, log.field_names), time.monotonic)
        gevent.spawn(found.run, observers)
    found.until = until
    yield {"tapped": True}
