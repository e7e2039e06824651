"""The observers of a watching gateway: what the monitor gets of an exchange, and the metrics of handlers."""

from collections.abc import Callable, Collection
from time import monotonic
from typing import Any, Final

from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.http.exchange import Exchange
from gproxy.observe.metrics import Metrics, Series
from gproxy.runtime.feed import EachSecond, Feed

#: The longest path and user in a record, and the longest host, in characters: records wait while the monitor is slow.
_LONGEST: Final = 2048
_LONGEST_HOST: Final = 255
#: The most records a second of a worker. The monitor keeps as many of all workers; further ones count as dropped.
MOST: Final = 1000


class ExchangeFeed:
    """An observer that passes failed and slow requests to the monitor. `slow` is in seconds.

    A failure is a 5xx, or a response that was broken off. Tunnels, event streams and the routes of `streams` are never
    slow.
    """

    def __init__(
        self, feed: Feed, slow: float, streams: Collection[str], clock: Callable[[], float] = monotonic
    ) -> None:
        self._feed = feed
        self._slow = slow
        self._streams = frozenset(streams)
        self._rate = EachSecond(MOST, clock)

    def record(self, exchange: Exchange) -> None:
        """Pass the exchange on if it has failed or was slow."""
        failed = exchange.status >= 500 or (exchange.status < 400 and exchange.reason != "")
        if failed or (exchange.duration > self._slow and self._may_be_slow(exchange)):
            self._put(exchange, failed=failed)

    def _put(self, exchange: Exchange, *, failed: bool) -> None:
        if self._rate.take():
            self._feed.put("exchange", _fields(exchange, failed=failed))
        else:
            self._feed.dropped += 1

    def _may_be_slow(self, exchange: Exchange) -> bool:
        return not (exchange.is_tunnel or exchange.is_endless or exchange.route in self._streams)


class HandlerDurations:
    """An observer that measures the own time of each handler, of watched requests."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._series: dict[str, Series] = {}

    def record(self, exchange: Exchange) -> None:
        """Measure the handlers of a watched request."""
        account = exchange.account
        if not isinstance(account, TimeAccount):
            return
        for name, seconds in account.handlers().items():
            series = self._series.get(name)
            if series is None:
                series = self._series[name] = self._metrics.series("gproxy_handler_duration_seconds", name)
            series.observe(seconds)


def _fields(exchange: Exchange, *, failed: bool) -> dict[str, Any]:
    account = exchange.account
    is_watched = isinstance(account, TimeAccount)
    return {
        "kind": "failed" if failed else "slow",
        "id": exchange.id,
        "trace_id": exchange.trace_ids[0] or None,
        "started": exchange.started,
        "client": exchange.client,
        "user": exchange.user[:_LONGEST],
        "method": exchange.method,
        "path": exchange.target[:_LONGEST],
        "host": exchange.host[:_LONGEST_HOST],
        "route": exchange.route,
        "upstream": exchange.upstream,
        "backend": exchange.backend,
        "tries": exchange.tries,
        "status": exchange.status,
        "reason": exchange.reason,
        "report": exchange.report,
        "duration": exchange.duration,
        "paused": exchange.paused,
        "received": exchange.bytes_received,
        "sent": exchange.bytes_sent,
        "account": dict(account.parts) if isinstance(account, TimeAccount) else None,
        "attempts": _attempts(account) if is_watched else None,
    }


def _attempts(account: object) -> list[dict[str, Any]]:
    if not isinstance(account, TimeAccount):
        return []
    return [{"backend": one.backend, "outcome": one.outcome, "seconds": one.seconds} for one in account.attempts]
