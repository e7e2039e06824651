"""A gateway that watches some of its requests: it decides once for each which of two chains runs."""

from collections.abc import Sequence

from gproxy.gateway.gateway import Gateway, GatewayParts, close_part
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.gateway.watch.server_timing import add_server_timing
from gproxy.gateway.watch.time_account import TimeAccount, account_of
from gproxy.gateway.watch.watch_rules import TimingHeader, WatchRule
from gproxy.gateway.watch.watched_chain import WatchedChains
from gproxy.http.errors import HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.request import Request
from gproxy.http.response import Response


class WatchingGateway(Gateway):
    """A gateway with a second, watched chain for each route, in `watched`, which has the same routes by name.

    `timing` is the rule of clients that may see the time account, and is asked first.
    """

    def __init__(
        self,
        router: Router,
        parts: GatewayParts,
        *,
        watched: WatchedChains,
        timing: TimingHeader | None,
        rules: Sequence[WatchRule],
    ) -> None:
        super().__init__(router, parts)
        self._watched = watched
        self._timing = timing
        self._rules = list(rules)
        #: The rules of operators, which come and go.
        self._live = self.runtime.live_rules

    def with_router(self, router: Router) -> Gateway:
        """Return a gateway with another router. A router of its own kind, such as that of redirects, is not watched."""
        if type(router) is not Router:
            return super().with_router(router)
        twins = {route.name: route for route in self._watched.router.routes}
        watched = WatchedChains(Router([twins[route.name] for route in router.routes]), self.parts)
        return WatchingGateway(router, self.parts, watched=watched, timing=self._timing, rules=self._rules)

    def _on_route(self, route: Route, request: Request) -> Response:
        request.route = route
        response = self._if_watched(request)
        return super()._on_route(route, request) if response is None else response

    def _without_route(self, error: HTTPError, request: Request) -> Response:
        response = self._if_watched(request)
        return super()._without_route(error, request) if response is None else response

    def _if_watched(self, request: Request) -> Response | None:
        """Return the response by the watched chain; None if the request goes by the other one. Its route is set."""
        is_watched = wants_timing = self._timing is not None and self._timing.wants(request)
        for rule in self._rules:  # all of them: a rule counts requests, or gives them a trace
            is_watched = rule.wants(request) or is_watched
        for live in self._live:
            is_watched = live.wants(request) or is_watched
        return self._watch(request, wants_timing=wants_timing) if is_watched else None

    def _watch(self, request: Request, *, wants_timing: bool) -> Response:
        """Return the response by the watched chain, whose routes are others."""
        account = request.exchange.account = account_of(request)  # a rule may have opened it
        account.wants_timing = wants_timing
        trace = request.trace
        trace.enter()
        runners = account.runners = [found for rule in self._live if (found := rule.begin(request)) is not None]
        try:
            response = self._watched.route(request)
        finally:
            trace.leave()
            for runner in runners:
                runner.end()
        if account.capture is not None:
            account.capture.finish_response(response)
        if wants_timing:
            add_server_timing(response, request, account)
        account.begin_body()
        return response

    def close(self) -> None:
        """Close all parts after draining, those of the watched chains too."""
        for route in self._watched.router.routes:
            close_part(f"[route:{route.name}]", route.action)
        super().close()

    def finish(self, exchange: Exchange) -> None:
        """Close the time account of a watched request, and let the observers record the exchange."""
        account = exchange.account
        if isinstance(account, TimeAccount):
            account.close(exchange.duration)
        super().finish(exchange)
