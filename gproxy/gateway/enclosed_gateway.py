"""A gateway within the parts that a command adds, such as those of `gproxy dev`."""

from collections.abc import Sequence

from gproxy.gateway.gateway import Gateway
from gproxy.gateway.router import Router
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime.command_part import CommandPart


class EnclosedGateway(Gateway):
    """A gateway whose requests and responses the added parts see first and last; all else is up to the inner one."""

    def __init__(self, inner: Gateway, added: Sequence[CommandPart]) -> None:
        super().__init__(inner.router, inner.parts)
        self._inner = inner
        self._added = added

    def with_router(self, router: Router) -> Gateway:
        """Return a gateway with another router and the same parts."""
        return EnclosedGateway(self._inner.with_router(router), self._added)

    def __call__(self, request: Request) -> Response:
        """Return the response, as each part has marked it."""
        return self._marked(super().__call__(request), request.received.peer, request)

    def route(self, request: Request) -> Response:
        """Return the response of the route, if each part admits the request. Raises HTTPError if one does not."""
        for part in self._added:
            part.admit(request)
        return self._inner.route(request)

    def reject(self, error: BadMessage | HTTPError, exchange: Exchange) -> Response:
        """Return the response to what is rejected before a request exists, as each part has marked it."""
        return self._marked(self._inner.reject(error, exchange), exchange.client)

    def _marked(self, response: Response, peer: str, request: Request | None = None) -> Response:
        for part in self._added:
            part.mark(response, peer, request)
        return response

    def finish(self, exchange: Exchange) -> None:
        """Let the observers record a completed exchange."""
        self._inner.finish(exchange)

    def open(self) -> None:
        """Open all parts before the worker serves. Raises CannotOpenError."""
        self._inner.open()

    def close(self) -> None:
        """Close all parts after draining."""
        self._inner.close()
