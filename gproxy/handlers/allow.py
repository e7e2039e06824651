"""Who may come in, by address."""

from dataclasses import dataclass, field
from functools import lru_cache

from gproxy.config.types import Network
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_trusted


@dataclass
class Allow:
    """Admits clients of the networks in `allow` (all, if it is empty) that are in none of `deny`.

    The client is the address after trusted proxies. Raises HTTPError 403.
    """

    allow: tuple[Network, ...] = field(default=(), metadata={"doc": "addresses and networks that may; empty: all"})
    deny: tuple[Network, ...] = field(default=(), metadata={"doc": "addresses and networks that may not; it wins"})

    def __post_init__(self) -> None:
        """Raises ValueError: without any network this would be a door that is always open."""
        if not self.allow and not self.deny:
            raise ValueError("allow: neither allow nor deny has a network; 10.0.0.0/8 is expected")
        self._is_admitted = lru_cache(4096)(self._judge)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        if not self._is_admitted(request.client):
            raise HTTPError(403, "this address is not admitted", reason="forbidden")
        return next(request)

    def _judge(self, client: str) -> bool:
        if is_trusted(client, self.deny):
            return False
        return not self.allow or is_trusted(client, self.allow)
