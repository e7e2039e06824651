"""The session of the page: a cookie that the login form gives, signed by a key that lives as long as the monitor."""

import secrets
from hashlib import sha256
from hmac import compare_digest, digest
from time import time
from typing import Final

from gproxy.http.cookies import cookie
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.set_cookie import SetCookie

#: Seconds until a session ends: a working day.
_LIFETIME: Final = 12 * 3600
_NAME: Final = "gproxy_admin"


class Login:
    """The sessions of one monitor. A cookie is `RIGHT.EXPIRES.SIGNATURE`; nothing is kept for each."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._cookie = SetCookie(_NAME, max_age=_LIFETIME, same_site="Strict")

    def begin(self, request: Request, response: Response, *, acts: bool) -> None:
        """Give the client of the request a session, which permits acting or only reading."""
        content = f"{'act' if acts else 'read'}.{int(time()) + _LIFETIME}"
        self._cookie.set_on(response, request, f"{content}.{self._sign(content)}")

    def end(self, request: Request, response: Response) -> None:
        """Take the session from the client."""
        SetCookie(_NAME, max_age=0, same_site="Strict").set_on(response, request, "")

    def session(self, request: Request) -> bool | None:
        """Return whether the session of the request permits acting; None without a valid one."""
        content, _, signature = (cookie(request.headers, _NAME) or "").rpartition(".")
        right, _, expires = content.partition(".")
        if not content or not compare_digest(signature.encode("latin-1"), self._sign(content).encode()):
            return None
        return right == "act" if int(expires) > time() else None

    def _sign(self, content: str) -> str:
        return digest(self._key, content.encode("latin-1"), sha256).hex()
