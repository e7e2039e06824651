"""Clients that stay with a backend, by a cookie that says which without saying where it is."""

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
from gproxy.upstream.balance import POLICIES
from gproxy.upstream.balance import hash_keys as keys
from gproxy.upstream.upstream import Upstream

#: Bytes of the HMAC that are used: nobody guesses 128 bits.
_LENGTH: Final = 16


class StickyUpstream(Upstream):
    """An upstream that keeps a client at its backend for as long as that is available, also while it drains.

    Anybody else, and who has lost its backend, is given one by the fallback policy, and a cookie for it.
    """

    def __init__(self, settings: UpstreamSettings) -> None:
        self._key = b""
        self._tokens: dict[str, str] = {}
        self._by_token: dict[str, Backend] = {}
        super().__init__(settings, POLICIES[settings.sticky_fallback](settings))
        self._cookie = settings.sticky_cookie or f"sticky_{settings.name}"
        self._presented = keys.cookie(self._cookie)
        same_site = settings.sticky_same_site
        max_age = "" if settings.sticky_ttl is None else f"; Max-Age={round(settings.sticky_ttl)}"
        self._attributes = f"; Path=/{max_age}; HttpOnly; SameSite={same_site}"
        self.handlers = (self._hold,)

    def open(self, runtime: Runtime) -> None:
        """Raises ValueError if a secret of our own cannot be kept."""
        super().open(runtime)
        given = self.settings.sticky_secret.reveal() if self.settings.sticky_secret else "auto"
        try:
            secret = kept_secret(runtime.state_dir / f"sticky_{self.name}.secret") if given == "auto" else given
        except ValueError as error:
            raise ValueError(f"sticky_secret: {error}") from None
        self._key = secret.encode("utf-8", "surrogatepass")
        self._tokens.clear()
        self.refresh()

    def refresh(self) -> None:
        super().refresh()
        self._by_token = {self._token(backend.name): backend for backend in self.backends}

    def pick(self, request: Request, tried: Sequence[Backend] = ()) -> Backend | None:
        """The client's own backend, if that is possible."""
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
        """The innermost handler: a cookie for whoever has not got it already."""
        response = next(request)
        if request.backend is not None and (token := self._token(request.backend)) != self._presented(request):
            secure = "; Secure" if self._is_secure(request) else ""
            response.headers.add("Set-Cookie", f"{self._cookie}={token}{self._attributes}{secure}")
        return response

    def _is_secure(self, request: Request) -> bool:
        if self.settings.sticky_secure != "auto":
            return self.settings.sticky_secure == "yes"
        # What says otherwise comes from a trusted proxy: from others it was removed.
        return (request.headers.lookup("x-forwarded-proto") or request.scheme) == "https"
