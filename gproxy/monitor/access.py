"""The check of each request to the admin listener: who calls, and what the caller may do."""

from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from gproxy.config.sections.admin import AdminSettings
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.trust import UNIX_PEER
from gproxy.state.secret_file import kept_secret


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
        self._token = token
        self._read_token = admin.read_token.reveal() if admin.read_token is not None else ""

    def caller(self, request: Request) -> Caller:
        """Return who calls. Raises HTTPError 401."""
        if request.received.peer == UNIX_PEER:
            return Caller("unix socket", self._admin.act)
        scheme, _, token = (request.headers.lookup("authorization") or "").partition(" ")
        if scheme.lower() == "bearer":
            if self._token and _same(token, self._token):
                return Caller(f"token from {request.client}", self._admin.act)
            if self._read_token and _same(token, self._read_token):
                return Caller(f"read_token from {request.client}", may_act=False)
        raise HTTPError(401, "a token is required", {"WWW-Authenticate": 'Bearer realm="gproxy admin"'})


def _same(given: str, expected: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))
