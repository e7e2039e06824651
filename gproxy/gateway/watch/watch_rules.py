"""The rules by which a request is watched. They are asked in their order, once for each request."""

from hmac import compare_digest
from typing import Final, Protocol

from gproxy.config.types import Secret
from gproxy.http.request import Request

#: The header of a client that asks for Server-Timing. It never reaches a handler or a backend.
TIMING_HEADER: Final = "X-Gproxy-Timing"
_TIMING_KEY: Final = TIMING_HEADER.lower()
#: One of so many requests is watched, for the metrics of handlers.
_EVERY: Final = 128


class WatchRule(Protocol):
    """A rule: whether it wants the request watched."""

    def wants(self, request: Request, /) -> bool: ...


class TimingHeader:
    """The rule of `[trace] timing_token`: the client asks for Server-Timing with the token in a header."""

    def __init__(self, token: Secret) -> None:
        self._token = token.reveal().encode("utf-8", "surrogatepass")

    def wants(self, request: Request) -> bool:
        """Return whether the header has the token, compared in constant time."""
        given = request.received.field(_TIMING_KEY)
        return bool(given) and compare_digest(given.encode("latin-1"), self._token)


class Periodic:
    """The rule that every 128th request is watched, so that the metrics of handlers have samples."""

    def __init__(self) -> None:
        self._left = _EVERY

    def wants(self, request: Request) -> bool:  # noqa: ARG002 every request counts
        """Count the request, and return whether its turn has come."""
        self._left -= 1
        if self._left:
            return False
        self._left = _EVERY
        return True
