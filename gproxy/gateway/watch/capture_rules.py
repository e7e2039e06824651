"""The rules by which exchanges are captured. They come and go while the gateway serves; without one none is asked."""

import logging
from collections.abc import Collection
from typing import Final, Protocol

from gproxy.config.problems import suggest
from gproxy.gateway.watch.capture import Capture, Room
from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.http.exchange import Exchange, Observer
from gproxy.http.request import Request
from gproxy.runtime.live_rules import LiveRule

_log = logging.getLogger("gproxy")

#: The name of the route of requests that no route takes.
NO_ROUTE: Final = ""


class CaptureRule(Protocol):
    """A rule: which requests are captured, and what becomes of their captures."""

    @property
    def routes(self) -> Collection[str]:
        """The names of the routes to capture; empty: all, and requests without a route."""

    @property
    def body_limit(self) -> int:
        """The most bytes of each body that are kept; 0: no bodies."""

    def wants(self, request: Request, /) -> bool:
        """Return whether to capture a request on one of the routes."""

    def take(self, capture: Capture, exchange: Exchange, /) -> None:
        """Take the capture of an exchange that has ended."""


class CaptureRules:
    """The present rules of a gateway, by the routes of requests. While there is one, it watches and observes.

    `live` are the rules of the worker that come and go, `observers` those of the gateway: their own lists. `routes` are
    the names of the routes.
    """

    def __init__(self, live: list[LiveRule], observers: list[Observer], routes: Collection[str]) -> None:
        self._live = live
        self._observers = observers
        self._routes = frozenset({*routes, NO_ROUTE})
        self._by_route: dict[str, list[CaptureRule]] = {}
        self._room = Room()

    def __contains__(self, rule: object) -> bool:
        return any(rule in rules for rules in self._by_route.values())

    def add(self, rule: CaptureRule) -> None:
        """Capture by this rule, too. Raises ValueError for an unknown route."""
        for name in rule.routes:
            if name not in self._routes:
                raise ValueError(f"unknown route {name!r}{suggest(name, self._routes - {NO_ROUTE})}")
        if self not in self._live:
            self._live.append(self)
            self._observers.append(self)
            self._room = Room()
        for name in rule.routes or self._routes:
            self._by_route[name] = [*self._by_route.get(name, ()), rule]

    def remove(self, rule: CaptureRule) -> None:
        """Capture by this rule no more; do nothing if it is not there."""
        self._drop(rule)
        if not self._by_route and self in self._live:
            self._live.remove(self)
            self._observers.remove(self)

    def _drop(self, rule: CaptureRule) -> None:
        rests = {name: [one for one in rules if one is not rule] for name, rules in self._by_route.items()}
        self._by_route = {name: rules for name, rules in rests.items() if rules}

    def wants(self, request: Request) -> bool:
        """Return whether a rule wants the request, and open its account with a capture then."""
        route = request.route
        rules = self._by_route.get(NO_ROUTE if route is None else route.name)
        if rules is None:
            return False
        chosen = tuple(rule for rule in rules if rule.wants(request))
        if not chosen:
            return False
        capture = Capture(request, max(rule.body_limit for rule in chosen), chosen, self._room)
        request.exchange.account = TimeAccount(request.deadline, capture)
        return True

    def begin(self, _: Request) -> None:
        """Let the steps of the chain run as they are."""

    def record(self, exchange: Exchange) -> None:
        """Give the capture of the exchange to its rules."""
        account = exchange.account
        if not isinstance(account, TimeAccount) or account.capture is None:
            return
        for rule in account.capture.rules:
            try:
                rule.take(account.capture, exchange)
            except Exception:  # noqa: BLE001 a fault here must not reach the client's connection
                _log.exception("%s: a captured exchange is lost; this rule ends", exchange.id)
                self._drop(rule)  # `remove` would change the list of observers, which is being read
        account.capture.release()
