"""The request to an external authorizer: which fields of the client's request it gets, and which are always ours."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from gproxy.config.types.template import PLACEHOLDERS, Template
from gproxy.http.header_names import HOP_BY_HOP, is_token
from gproxy.http.headers import Headers
from gproxy.http.placeholders import header_value
from gproxy.http.request import Request
from gproxy.http.rewrite import is_visible

#: Fields that concern one connection, the framing, or the response to the client's own request, in lower case. With
#: Max-Forwards the gateway itself would answer in place of the authorizer (RFC 9110 section 7.6.2).
NEVER_SENT: Final = HOP_BY_HOP | {
    "host", "expect", "trailer", "range", "max-forwards",
    "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
}  # fmt: skip
#: Fields that the gateway sets itself, whatever the client sends.
_OURS: Final = frozenset({"via", "x-real-ip", "x-request-id"})
#: Fields of trusted proxies that the gateway continues.
_CONTINUED: Final = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
#: What stays as it is in a URL with other characters, which are escaped.
_IN_A_URL: Final = "!#$%&'()*+,-./:;=?@[]_~"


class AuthorizerRequest:
    """The fields of requests to an authorizer, by the options `send` and `set`. Raises ValueError for a wrong name."""

    def __init__(self, send: Iterable[str], given: Mapping[str, str]) -> None:
        names = tuple(send)
        self._sends_all = names == ("*",)
        if "*" in names and not self._sends_all:
            raise ValueError("send: * stands alone; expected it, or the names of headers")
        self._sent = names if not self._sends_all else ()
        for name in self._sent:
            _check("send", name, NEVER_SENT)
        self._set: list[tuple[str, Template]] = []
        for name, text in given.items():
            _check("set", name, NEVER_SENT | _OURS)
            if name.lower().startswith("x-forwarded-"):
                raise ValueError(f"set: {name} is always the gateway's own")
            self._set.append((name, _template(name, text)))

    def fields(self, request: Request) -> Headers:
        """Return the fields, besides those that the forwarder writes for each backend."""
        headers = request.headers.copy() if self._sends_all else self._chosen(request.headers)
        headers.discard_all(NEVER_SENT)
        uri = request.target
        headers["X-Forwarded-Method"] = request.method
        headers["X-Forwarded-Uri"] = uri = uri if is_visible(uri) else quote(uri, safe=_IN_A_URL, errors="replace")
        for name, template in self._set:
            headers[name] = header_value(template.parts, request, {"uri": uri})
        return headers

    def _chosen(self, headers: Headers) -> Headers:
        chosen = Headers()
        for name in (*self._sent, *_CONTINUED):
            for value in headers.all(name):
                chosen.add(name, value)
        return chosen


def request_digest(request: Request, method: str, target: str, fields: Headers, body: bytes) -> bytes:
    """Return a digest of everything that an authorizer gets about the request, but for its id."""
    received = request.received
    parts = (
        method, target, request.host, request.client, request.scheme, received.peer, received.via,
        fields.lines(),
    )  # fmt: skip
    digest = sha256("\0".join(parts).encode("utf-8", "surrogatepass"))
    digest.update(b"\0" + body)
    return digest.digest()


def _check(option: str, name: str, forbidden: frozenset[str]) -> None:
    if not is_token(name):
        raise ValueError(f"{option}: {name!r} is not a header name; expected one such as X-Original-URL")
    if name.lower() in forbidden:
        raise ValueError(f"{option}: {name} cannot be chosen: it belongs to the connection or to the gateway")


def _template(name: str, text: str) -> Template:
    try:
        return Template.parse(text, (*PLACEHOLDERS, "uri"))
    except ValueError as error:
        raise ValueError(f"set: {name}: {error}") from None
