"""The places of a request where a credential may be: find it there, and remove it before the request is forwarded."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Self
from urllib.parse import unquote_plus

from gproxy.http.cookies import all_cookies, without_cookie
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.header_names import NOT_IDENTITY, is_token
from gproxy.http.request import Request
from gproxy.http.response import Response


class Source:
    """A place where a credential may be, as an option names it: `bearer`, `header:NAME`, `cookie:NAME`.

    key: the header, in lower case, that is the credential or ends with it; "" if no header is. A browser sends the
    content of some sources by itself, from pages of other sites too: `is_ambient`. The logs and caches of others may
    have the content of a source in the URL: `is_in_url`. `is_removable` is False if the handler has nothing to remove.
    """

    noun: ClassVar[str] = "a source"
    example: ClassVar[str] = "bearer, header:X-API-Key, cookie:sid or query:token"
    is_ambient: ClassVar[bool] = False
    is_in_url: ClassVar[bool] = False
    is_removable: ClassVar[bool] = True

    def __init__(self, text: str, key: str = "") -> None:
        self.text = text
        self.key = key

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Return the source. Raises ValueError for an unknown one."""
        kind, colon, name = text.partition(":")
        if kind in _WITH_NAME and colon and is_token(name):
            return _WITH_NAME[kind](name)
        if text in _WITHOUT_NAME:
            return _WITHOUT_NAME[text]
        names = [*_WITHOUT_NAME, *(f"{kind}:NAME" for kind in _WITH_NAME)]
        raise ValueError(f"known are {', '.join(names)}")

    def find(self, request: Request) -> str | None:
        """Return the content, None without any. Raises HTTPError 400 for several ones."""
        raise NotImplementedError

    def remove(self, request: Request) -> None:
        """Remove the content from the request."""

    @property
    def place(self) -> str:
        """The text by which sources are equal."""
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and other.place == self.place

    def __hash__(self) -> int:
        return hash(self.place)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


class AuthorizationSource(Source):
    """The Authorization field with one scheme (RFC 9110 section 11.6.2); the forwarder removes it on each route."""

    is_removable = False

    def __init__(self, scheme: str) -> None:
        super().__init__(scheme, "authorization")

    def find(self, request: Request) -> str | None:
        """Return the text behind the scheme. Raises HTTPError 400 for several fields."""
        value = request.headers.lookup(self.key)
        if value is None:
            return None
        if len(request.headers.all(self.key)) > 1:
            raise several("Authorization headers")
        scheme, content = value[: len(self.text)], value[len(self.text) :]
        if scheme.lower() != self.text or (content and content[0] != " "):
            return None
        return content.lstrip(" ")


class HeaderSource(Source):
    """A header field."""

    def __init__(self, name: str) -> None:
        if name.lower() in NOT_IDENTITY:
            raise ValueError(f"{name} cannot carry a credential of its own")
        super().__init__(f"header:{name}", name.lower())

    @property
    def place(self) -> str:
        """The field, whatever the case of its name and the word for it are."""
        return f"header:{self.key}"

    def find(self, request: Request) -> str | None:
        """Return the value. Raises HTTPError 400 for several fields."""
        value = request.headers.lookup(self.key)
        if value is not None and len(request.headers.all(self.key)) > 1:
            raise several("fields with the credential")
        return value

    def remove(self, request: Request) -> None:
        """Remove the field."""
        request.headers.discard(self.key)


class CookieSource(Source):
    """A cookie."""

    is_ambient = True

    def __init__(self, name: str) -> None:
        super().__init__(f"cookie:{name}")
        self._name = name

    def find(self, request: Request) -> str | None:
        """Return the value. Raises HTTPError 400 for several cookies of the name with different values."""
        found = set(all_cookies(request.headers, self._name))
        if len(found) > 1:
            raise several("cookies with the credential")
        return found.pop() if found else None

    def remove(self, request: Request) -> None:
        """Cut the cookie out of the Cookie field."""
        without_cookie(request.headers, self._name)


class QuerySource(Source):
    """A parameter of the query (RFC 6750 section 2.3)."""

    is_in_url = True

    def __init__(self, name: str) -> None:
        super().__init__(f"query:{name}")
        self._name = name

    def find(self, request: Request) -> str | None:
        """Return the decoded value. Raises HTTPError 400 for several parameters of the name."""
        found = [pair for pair in request.query.split("&") if self._has_name(pair)] if request.query else ()
        if len(found) > 1:
            raise several("parameters with the credential")
        return unquote_plus(found[0].partition("=")[2]) if found else None

    def remove(self, request: Request) -> None:
        """Cut the parameter out of the query, and out of Referer, where browsers repeat the URL of a page."""
        if request.query:
            request.query = self._without(request.query)
        url, _, query = (request.headers.lookup("referer") or "").partition("?")
        kept = self._without(query) if query else query
        if kept is not query:
            request.headers.put("Referer", "referer", f"{url}?{kept}" if kept else url)

    def _without(self, query: str) -> str:
        """Return the query without the parameter, byte for byte; the same object if there is none."""
        pairs = query.split("&")
        kept = [pair for pair in pairs if not self._has_name(pair)]
        return query if len(kept) == len(pairs) else "&".join(kept)

    def _has_name(self, pair: str) -> bool:
        name = pair.partition("=")[0]
        return name == self._name or (("%" in name or "+" in name) and unquote_plus(name) == self._name)


class CertificateSource(Source):
    """The client's certificate on this connection, which the TLS host has verified."""

    is_removable = False

    def find(self, request: Request) -> str | None:
        """Return the certificate in the form of the Client-Cert field (RFC 9440)."""
        tls = request.received.tls
        return tls.client.certificate if tls is not None and tls.client is not None else None


class ProxyCertificateSource(HeaderSource):
    """The client's certificate in a field of trusted proxies; from other peers it was removed on receipt."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(name)
        self.text = text


_WITH_NAME: Final = {"header": HeaderSource, "cookie": CookieSource, "query": QuerySource}

BEARER: Final = AuthorizationSource("bearer")
BASIC: Final = AuthorizationSource("basic")
TLS: Final = CertificateSource("tls")
#: Source by name. A trusted proxy tells the certificate of its client in the last two (RFC 9440; Envoy's XFCC).
_WITHOUT_NAME: Final[dict[str, Source]] = {
    "bearer": BEARER,
    "basic": BASIC,
    "tls": TLS,
    "client_cert": ProxyCertificateSource("client_cert", "Client-Cert"),
    "xfcc": ProxyCertificateSource("xfcc", "X-Forwarded-Client-Cert"),
}


def several(what: str) -> HTTPError:
    """Return the error for a request with several credentials of one kind; `what` is a plural."""
    return HTTPError(400, f"several {what}; expected one", reason="auth_invalid")


def find_one(sources: Sequence[Source], request: Request) -> tuple[Source, str] | None:
    """Return the source that has content, and the content. Raises HTTPError 400 if two sources have some.

    A header takes precedence over cookies, which browsers send by themselves.
    """
    if len(sources) == 1:  # PERF: as mostly
        content = sources[0].find(request)
        return None if content is None else (sources[0], content)
    found = _contents([source for source in sources if not source.is_ambient], request)
    if len(found) > 1:
        raise several("credentials")
    if not found:
        found = _contents([source for source in sources if source.is_ambient], request)
    return found[0] if found else None


def _contents(sources: Iterable[Source], request: Request) -> list[tuple[Source, str]]:
    return [(source, content) for source in sources if (content := source.find(request)) is not None]


def credentials(handler: object) -> tuple[Source, ...]:
    """Return the sources whose content the handler removes; none for a handler that is no identity handler."""
    found: tuple[Source, ...] = getattr(handler, "removed", ())
    return found


class RemoveCredentials:
    """The innermost handler of a route without the identity handlers whose credentials are in these sources."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)

    @classmethod
    def of(cls, sources: Iterable[Source], keep: Sequence[str]) -> Self | None:
        """Return the handler for a route that keeps these headers; None if there is nothing to remove."""
        kept = {name.lower() for name in keep}
        removed = [source for source in sources if not source.key or source.key not in kept]
        return cls(removed) if removed else None

    def __call__(self, request: Request, next: Next) -> Response:
        for source in self.sources:
            source.remove(request)
        return next(request)
