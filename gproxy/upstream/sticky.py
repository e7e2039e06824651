"""Session affinity: a cookie keeps a client at its backend, without disclosing the backend's address."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from hmac import digest
from typing import Final

from gproxy.config.sections.balance import StickyOptions
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.set_cookie import SetCookie
from gproxy.runtime import Runtime
from gproxy.state.secret_file import kept_secret
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance import BalancingPolicy
from gproxy.upstream.balance import hash_keys as keys
from gproxy.upstream.balance.slow_start import SlowStart
from gproxy.upstream.discovery import SOCKETS, Network
from gproxy.upstream.rotation import Resize, Rotation
from gproxy.upstream.upstream import Upstream

#: The bytes of the HMAC that a cookie contains: 128 bits cannot be guessed.
_LENGTH: Final = 16


class StickyCookie:
    """The cookie of one upstream, and its value for each backend, the token."""

    def __init__(self, upstream: str, options: StickyOptions) -> None:
        self._upstream = upstream
        name = options.cookie or f"sticky_{upstream}"
        self._cookie = SetCookie(name, max_age=options.ttl, same_site=options.same_site, secure=options.secure)
        #: The function that returns the token that a request presents, if any.
        self.presented = keys.cookie(name)
        #: Set when the upstream opens: a constructor reads no secret from a file.
        self._key = b""
        self._tokens: dict[str, str] = {}

    def set_key(self, key: bytes) -> None:
        """Set the key that all tokens are derived from."""
        self._key = key
        self._tokens.clear()

    def token(self, backend: str) -> str:
        """Return the token of the backend with this name."""
        if backend not in self._tokens:
            mac = digest(self._key, f"{self._upstream}\0{backend}".encode(), sha256)
            self._tokens[backend] = urlsafe_b64encode(mac[:_LENGTH]).rstrip(b"=").decode()
        return self._tokens[backend]

    def hold(self, response: Response, request: Request, backend: str) -> None:
        """Set the cookie on the response of this backend unless the client has presented it."""
        token = self.token(backend)
        if token != self.presented(request):
            self._cookie.set_on(response, request, token)


class StickyRotation(Rotation):
    """A rotation that keeps a client at its backend while the backend is available, even if it drains.

    The policy picks the backend of a client without one.
    """

    def __init__(
        self,
        cookie: StickyCookie,
        policy: BalancingPolicy,
        slow_start: SlowStart,
        clock: Callable[[], float],
        resize: Resize | None = None,
    ) -> None:
        super().__init__(policy, slow_start, clock, resize)
        self._cookie = cookie
        self._by_token: dict[str, Backend] = {}

    def set_backends(self, backends: Sequence[Backend]) -> None:
        """Set all backends; to be called after a change of the cookie's key too."""
        self._by_token = {self._cookie.token(backend.name): backend for backend in backends}
        super().set_backends(backends)

    def pick(self, request: Request, tried: Sequence[Backend] = ()) -> Backend | None:
        """Pick the client's backend if it is available, else one of the policy."""
        backend = self._by_token.get(self._cookie.presented(request) or "")
        if backend is not None and backend not in tried and backend.is_healthy and not backend.is_full:
            if self._next_change is not None:
                self._put_to_trial(backend, request)
            return backend
        return super().pick(request, tried)


class StickyUpstream(Upstream):
    """An upstream with session affinity: a sticky rotation, and a handler that sets its cookie on responses."""

    def __init__(
        self,
        settings: UpstreamSettings,
        fallback: BalancingPolicy,
        runtime: Runtime,
        *,
        network: Network = SOCKETS,
    ) -> None:
        cookie = StickyCookie(settings.name, settings.sticky)
        super().__init__(settings, fallback, runtime, rotation=partial(StickyRotation, cookie), network=network)
        self._cookie = cookie
        self.handlers = (self._hold,)

    def open(self) -> None:
        """Start the upstream. Raise ValueError if a generated secret cannot be stored in `state_dir`."""
        self._cookie.set_key(self._secret().encode("utf-8", "surrogatepass"))
        self.rotation.set_backends(self.backends)
        super().open()

    def _secret(self) -> str:
        given = self.settings.sticky.secret.reveal() if self.settings.sticky.secret else "auto"
        try:
            return kept_secret(self.runtime.state_dir / f"sticky_{self.name}.secret") if given == "auto" else given
        except ValueError as error:
            raise ValueError(f"sticky_secret: {error}") from None

    def _hold(self, request: Request, next: Next) -> Response:
        """Set the cookie on the response unless the client has presented it; the innermost handler."""
        response = next(request)
        if request.backend is not None:
            self._cookie.hold(response, request, request.backend)
        return response
