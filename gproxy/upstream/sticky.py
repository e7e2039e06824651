"""Session affinity: a cookie keeps a client at its backend, without disclosing the backend's address."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest
from typing import Final

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.state.secret_file import kept_secret
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import BalancingPolicy
from gproxy.upstream.balance import hash_keys as keys
from gproxy.upstream.upstream import Upstream

#: The bytes of the HMAC that a cookie contains: 128 bits cannot be guessed.
_LENGTH: Final = 16


class StickyUpstream(Upstream):
    """An upstream that keeps a client at its backend while the backend is available, even if it drains.

    The fallback policy picks the backend of a client without one, and the response sets a cookie for it.
    """

    def __init__(self, settings: UpstreamSettings, fallback: BalancingPolicy, runtime: Runtime) -> None:
        self._key = b""
        self._tokens: dict[str, str] = {}
        self._by_token: dict[str, Backend] = {}
        super().__init__(settings, fallback, runtime)
        self._cookie = settings.sticky.cookie or f"sticky_{settings.name}"
        self._presented = keys.cookie(self._cookie)
        same_site = settings.sticky.same_site
        max_age = "" if settings.sticky.ttl is None else f"; Max-Age={round(settings.sticky.ttl)}"
        self._attributes = f"; Path=/{max_age}; HttpOnly; SameSite={same_site}"
        self.handlers = (self._hold,)

    def open(self) -> None:
        """Start the upstream. Raise ValueError if a generated secret cannot be stored in `state_dir`."""
        super().open()
        given = self.settings.sticky.secret.reveal() if self.settings.sticky.secret else "auto"
        try:
            secret = kept_secret(self.runtime.state_dir / f"sticky_{self.name}.secret") if given == "auto" else given
        except ValueError as error:
            raise ValueError(f"sticky_secret: {error}") from None
        self._key = secret.encode("utf-8", "surrogatepass")
        self._tokens.clear()
        self.refresh()

    def refresh(self) -> None:
        super().refresh()
        self._by_token = {self._token(backend.name): backend for backend in self.backends}

    def pick(self, request: Request, tried: Sequence[Backend] = ()) -> Backend | None:
        """Pick the client's backend if it is available, else one of the fallback policy."""
        backend = self._by_token.get(self._presented(request) or "")
        if backend is not None and backend not in tried and backend.is_healthy and not backend.is_full:
            if self._next_change is not None:
                self._put_to_trial(backend, request)
            return backend
        return super().pick(request, tried)

    def _token(self, name: str) -> str:
        if name not in self._tokens:
            mac = digest(self._key, f"{self.name}\0{name}".encode(), sha256)
            self._tokens[name] = urlsafe_b64encode(mac[:_LENGTH]).rstrip(b"=").decode()
        return self._tokens[name]

    def _hold(self, request: Request, next: Next) -> Response:  # noqa: A002
        """Set the cookie on the response unless the client has presented it; the innermost handler."""
        response = next(request)
        if request.backend is not None and (token := self._token(request.backend)) != self._presented(request):
            secure = "; Secure" if self._is_secure(request) else ""
            response.headers.add("Set-Cookie", f"{self._cookie}={token}{self._attributes}{secure}")
        return response

    def _is_secure(self, request: Request) -> bool:
        if self.settings.sticky.secure != "auto":
            return self.settings.sticky.secure == "yes"
        # An X-Forwarded-Proto comes from a trusted proxy here: from others it was removed.
        return (request.headers.lookup("x-forwarded-proto") or request.scheme) == "https"
