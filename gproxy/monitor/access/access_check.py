"""The check of each request to the admin listener: who calls, and what the caller may do.

| step | of TCP | of a unix socket | a failure is |
|---|---|---|---|
| 1. the peer is in `allow` | yes | no | 403 |
| 2. the Host is in `hosts`, against DNS rebinding | yes | no | 421 |
| 3. the address has had fewer than ten failures within a minute | yes | no | 429 |
| 4. a token or the page's cookie | yes | no | 401 |
| 5. a change has a JSON content type, which no form of a foreign page can send | yes | yes | 415 |
| 6. a change has no foreign Origin | yes | yes | 403 |
| 7. a change is permitted: not to `read_token`, not with `act = no` | yes | yes | 403 |
"""

import logging
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from gproxy.config.sections.admin import AdminSettings
from gproxy.config.types import Rate, Seconds
from gproxy.config.types.addresses import split_host
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.trust import UNIX_PEER, is_in
from gproxy.identity.failures import Failures
from gproxy.monitor.access.login import Login
from gproxy.observe.throttle import Throttle
from gproxy.server.client_channel import ClientChannel
from gproxy.state.secret_file import kept_secret

_log = logging.getLogger("gproxy")

#: Failures of one address within a minute, after which it gets 429.
_FAILURES: Final = Rate(10, Seconds(60.0))
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="gproxy admin"'}
_JSON: Final = "application/json"
_REJECTED: Final = "admin: rejected %s %s by %s: %s"


@dataclass(frozen=True, slots=True)
class Caller:
    """The author of a request: a name for the audit, and whether the caller may change something."""

    name: str
    may_act: bool


class AccessCheck:
    """The rules of `[admin]`. Raises ValueError if the generated token cannot be kept."""

    def __init__(self, admin: AdminSettings, state_dir: Path) -> None:
        self._admin = admin
        token = admin.token.reveal() if admin.token is not None else ""
        if not token and admin.has_tcp:
            token = kept_secret(state_dir / "admin.token")
        #: The secrets that are expected, with whether each permits acting.
        self._tokens = {text: acts for text, acts in ((token, True), (_revealed(admin), False)) if text}
        own = (address.host.lower() for address in admin.bind if address.host)
        self._hosts = frozenset(map(str.lower, admin.hosts)) or frozenset((*_LOCAL_NAMES, *own))
        self._failures = Failures(_FAILURES)
        self.login = Login()
        #: Of rejected requests whose caller is unknown: a stranger must not fill the log. Summarized once a second.
        self.throttle = Throttle(_log, monotonic)

    def caller(self, request: Request, *, acts: bool, is_public: bool = False, is_form: bool = False) -> Caller:
        """Return who calls an operation, which `acts` or only reads. Raises HTTPError, and logs it.

        The login form is the one change that comes as a form (`is_form`). It is public: a client needs no credential.
        """
        try:
            caller = self._identified(request, is_public=is_public)
        except HTTPError as error:
            self._log_stranger(request, error)
            raise
        if acts:
            self._check_change(request, caller, is_public=is_public, is_form=is_form)
        return caller

    def _identified(self, request: Request, *, is_public: bool) -> Caller:
        """Return the caller, after steps 1 to 4. Raises HTTPError."""
        if request.received.peer == UNIX_PEER:
            return self._unix_caller(request)
        self._check_peer(request)
        return self._tcp_caller(request, is_public=is_public)

    def _check_change(self, request: Request, caller: Caller, *, is_public: bool, is_form: bool) -> None:
        """Check steps 5 to 7. Raises HTTPError, and logs it."""
        try:
            _check_source(request, is_form=is_form)
            if not is_public:
                self._check_right(caller)
        except HTTPError as error:
            if is_public:
                self._log_stranger(request, error)
            else:
                _log.warning(_REJECTED, request.method, request.path, caller.name, error)
            raise

    def _log_stranger(self, request: Request, error: HTTPError) -> None:
        kind = f"admin: requests rejected with {error.status}"
        self.throttle.warn(kind, _REJECTED, request.method, request.path, _peer_of(request), error)

    def _check_right(self, caller: Caller) -> None:
        """Check that the caller may change something. Raises HTTPError 403."""
        if not caller.may_act:
            why = "act = no" if not self._admin.act else "read_token permits reading only"
            raise HTTPError(403, f"this would change something: {why}")

    def _check_peer(self, request: Request) -> None:
        """Check the address of the peer and the Host, before any secret. Raises HTTPError 403, 421 or 429."""
        if not is_in(request.received.peer, self._admin.allow):
            raise HTTPError(403, "your address is not in [admin] allow")
        if _name_in(request.host) not in self._hosts:
            raise HTTPError(421, "this Host is not in [admin] hosts")
        self._failures.check(request)

    def _unix_caller(self, request: Request) -> Caller:
        return Caller(_peer_of(request), self._admin.act)

    def _tcp_caller(self, request: Request, *, is_public: bool) -> Caller:
        """Return the caller that a token or a cookie names. Raises HTTPError 401."""
        if (acts := self._acts(bearer(request))) is not None:
            name = "token" if acts else "read_token"
            return Caller(f"{name} from {request.client}", acts and self._admin.act)
        if (found := self.login.session(request)) is not None:
            return Caller(f"page from {request.client}", found and self._admin.act)
        if is_public:
            return Caller(request.client, may_act=False)
        if bearer(request):
            self._failures.count(request)
            raise HTTPError(401, "the token is wrong", _CHALLENGE)
        raise HTTPError(401, "a token is required", _CHALLENGE)

    def enter(self, request: Request, token: str) -> bool:
        """Return whether the token of the login form permits acting. Raises HTTPError 401 for a wrong one, or 429.

        The failures are checked again: a client could send the heads of many forms first, and their tokens then.
        """
        self._failures.check(request)
        acts = self._acts(token)
        if acts is None:
            self._failures.count(request)
            error = HTTPError(401, "this token is wrong", _CHALLENGE)
            self.throttle.warn("admin: wrong tokens in the form", _REJECTED, "POST", "/login", request.client, error)
            raise error
        return acts

    def _acts(self, token: str) -> bool | None:
        """Return whether the token permits acting; None for a wrong one. Compares with each, in constant time."""
        matches = [acts for text, acts in self._tokens.items() if _same(token, text)]
        return matches[0] if matches else None


def bearer(request: Request) -> str:
    """Return the token in Authorization; empty without one."""
    scheme, _, token = (request.headers.lookup("authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _check_source(request: Request, *, is_form: bool) -> None:
    """Check what a foreign page could not send. Raises HTTPError 415 or 403."""
    media_type = (request.headers.lookup("content-type") or "").partition(";")[0].strip().lower()
    if not is_form and media_type != _JSON:
        raise HTTPError(415, f"an operation that changes something needs Content-Type: {_JSON}")
    origin = request.headers.lookup("origin")
    if origin is not None and _host_of(origin) != request.host.lower():
        raise HTTPError(403, "the request comes from a page of another origin")


def _host_of(origin: str) -> str | None:
    """Return the host and the port of an Origin field, empty for `null`; None for what is no origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _same(given: str, expected: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def _revealed(admin: AdminSettings) -> str:
    return admin.read_token.reveal() if admin.read_token is not None else ""


def _name_in(host: str) -> str:
    """Return the name in a Host field, without the port; empty for what is no host."""
    try:
        return split_host(host)[0]
    except ValueError:
        return ""


def _peer_of(request: Request) -> str:
    """Return the peer for the audit: its address, or the user and the process at the other end of a unix socket."""
    stream = request.client_stream
    if request.received.peer != UNIX_PEER or not isinstance(stream, ClientChannel):
        return request.client
    pid, uid = stream.peer_process()
    return f"uid {uid} (pid {pid})"
