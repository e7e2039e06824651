"""Cookies that the gateway sets on responses (RFC 6265 section 4.1)."""

from typing import Literal

from gproxy.http.placeholders import client_scheme
from gproxy.http.request import Request
from gproxy.http.response import Response


class SetCookie:
    """A cookie that the gateway sets: its name and its attributes. Scripts of pages cannot read it."""

    def __init__(
        self,
        name: str,
        *,
        max_age: float | None = None,
        same_site: str = "Lax",
        secure: Literal["auto", "yes", "no"] = "auto",
    ) -> None:
        """`max_age` is in seconds; None: until the browser closes. `secure` = auto: if the client uses https."""
        self.name = name
        age = "" if max_age is None else f"; Max-Age={round(max_age)}"
        self._attributes = f"; Path=/{age}; HttpOnly; SameSite={same_site}"
        self._secure = secure

    def set_on(self, response: Response, request: Request, value: str) -> None:
        """Add the Set-Cookie field with this value to the response to the request."""
        is_secure = client_scheme(request) == "https" if self._secure == "auto" else self._secure == "yes"
        secure = "; Secure" if is_secure else ""
        response.headers.add("Set-Cookie", f"{self.name}={value}{self._attributes}{secure}")
