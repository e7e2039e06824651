"""Access control by client address."""

from dataclasses import dataclass, field
from functools import lru_cache

from gproxy.config.types import Network
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_in


@dataclass
class Allow:
    """Access control: admits clients in the networks of `allow` (all if empty), except those in `deny`.

    The client address is that which trusted proxies report. A peer on a unix socket is in no network. Raises HTTPError
    403.
    """

    allow: tuple[Network, ...] = field(default=(), metadata={"doc": "addresses and networks to admit; empty: all"})
    deny: tuple[Network, ...] = field(default=(), metadata={"doc": "addresses and networks to reject; overrides allow"})

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError without any network: such a handler would admit every client."""
        if not self.allow and not self.deny:
            raise ValueError("allow: neither allow nor deny has a network; expected networks such as 10.0.0.0/8")
        self._is_admitted = lru_cache(4096)(self._admits)

    def __call__(self, request: Request, next: Next) -> Response:
        if not self._is_admitted(request.client):
            raise HTTPError(403, "client address is not allowed", reason="forbidden")
        return next(request)

    def _admits(self, client: str) -> bool:
        if is_in(client, self.deny):
            return False
        return not self.allow or is_in(client, self.allow)
