"""The step that puts a stripped prefix back into the responses of backends: into URLs and cookies that lead to them.

A backend behind `strip_prefix` writes the paths that it knows: without the prefix. A client that followed such a
`Location`, or kept a cookie for such a path, would leave the route. What leads elsewhere stays as it is.
"""

import re
from typing import Final

from gproxy.http.handler import Next
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.wire import bare_host
from gproxy.upstream.upstream import Upstream

_FIELDS: Final = ("location", "content-location", "set-cookie")
_URLS: Final = (("Location", "location"), ("Content-Location", "content-location"))
#: Scheme, authority and the rest of an absolute URL. A backslash in front of the rest is for browsers a slash.
_absolute: Final = re.compile(r"((?:https?:)?//)([^/?#\\]+)((?:[/?#].*)?)", re.IGNORECASE | re.DOTALL).fullmatch
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class RestorePrefix:
    """The forward action of a route whose prefix is stripped.

    `strip` is the prefix as clients send it, and `add` the one that backends get in its place, or an empty text.
    """

    def __init__(self, forward: Next, upstream: Upstream, *, strip: str, add: str) -> None:
        self._forward = forward
        self._upstream = upstream
        self._strip = strip
        self._add = add
        host = upstream.settings.host
        #: The Host that backends get, if it is a literal.
        self._sent_host = "" if host in ("client", "backend") else host

    def __call__(self, request: Request) -> Response:
        """Return the backend's response. Raises what the forward action raises."""
        response = self._forward(request)
        if response.headers.has_any(_FIELDS):
            self._restore(response.headers, request)
        return response

    def _restore(self, headers: Headers, request: Request) -> None:
        for name, key in _URLS:
            values = headers.all(key)
            if len(values) == 1:
                headers.put(name, key, self.url(values[0], request))
        cookies = headers.all("set-cookie")
        restored = [self.cookie(cookie, request) for cookie in cookies]
        if restored != cookies:
            headers.discard("set-cookie")
            for cookie in restored:
                headers.add("Set-Cookie", cookie)

    def url(self, url: str, request: Request) -> str:
        """Return the URL with the prefix, if it leads to the backend; other URLs and relative paths unchanged.

        A URL with the backend's own address becomes a path: clients cannot reach that address, but know their host.
        """
        if url.startswith("/") and not url.startswith(("//", "/\\")):
            return self._path(url) or url
        match = _absolute(url)
        if match is None:
            return url
        scheme, authority, rest = match.groups()
        path = self._path(rest if rest.startswith("/") else f"/{rest}")
        if path is None:
            return url
        hosts = _client_hosts(request)
        kind = scheme.partition(":")[0].lower() if scheme != "//" else ""
        if _same(authority, hosts, kind):
            return f"{scheme}{authority}{path}"
        return path if _same(authority, self._backend_hosts(), kind) else url

    def cookie(self, cookie: str, request: Request) -> str:
        """Return the Set-Cookie value with the prefix in Path, and without a Domain that only backends have."""
        if cookie[:7].lower() == "__host-":  # browsers require Path=/ and no Domain
            return cookie
        pair, *attributes = cookie.split(";")
        kept = [pair]
        for attribute in attributes:
            name, equals, value = attribute.partition("=")
            known = name.strip().lower()
            if known == "path" and (path := self._cookie_path(value.strip())) is not None:
                kept.append(f"{name}={path}")
            elif not (known == "domain" and equals and self._is_of_backends(value.strip(), request)):
                kept.append(attribute)
        return ";".join(kept)

    def _path(self, path: str) -> str | None:
        """Return the path as clients use it, query included; None for one that the route does not lead to.

        A backend that knows the prefix, by X-Forwarded-Prefix or its settings, has written it already.
        """
        if self._add:
            return self._strip + path[len(self._add) :] if _is_below(path, self._add) else None
        return path if _is_below(path, self._strip) else self._strip + path

    def _cookie_path(self, path: str) -> str | None:
        """Return the path of a cookie as clients use it; None if the path stays."""
        if not path.startswith("/"):
            return None  # RFC 6265 section 5.2.4: the client takes the path of its request
        if path == "/" or (self._add and _is_below(self._add, path)):
            return self._strip
        return self._path(path)

    def _is_of_backends(self, domain: str, request: Request) -> bool:
        """Return whether the domain covers a backend's host, and not the client's: the client would drop the cookie."""
        domain = domain.lower().removeprefix(".")
        if any(_covers(domain, host) for host in _client_hosts(request)):
            return False
        return any(_covers(domain, host) for host in self._backend_hosts())

    def _backend_hosts(self) -> list[str]:
        hosts = [backend.authority for backend in self._upstream.backends]
        return [*hosts, self._sent_host] if self._sent_host else hosts


def _client_hosts(request: Request) -> list[str]:
    """Return the hosts that the client may have asked for, as the backend knows them."""
    # An X-Forwarded-Host comes from a trusted proxy: from others it was removed.
    hosts = (request.host, request.headers.get("x-forwarded-host") or "")
    return [host for host in hosts if host]


def _same(authority: str, hosts: list[str], scheme: str) -> bool:
    """Return whether the authority is one of the hosts; the default port of the scheme may be written or not."""
    ports = (_DEFAULT_PORTS[scheme],) if scheme else (*_DEFAULT_PORTS.values(),)
    written = _spellings(authority, ports)
    return any(not written.isdisjoint(_spellings(host, ports)) for host in hosts)


def _spellings(authority: str, ports: tuple[str, ...]) -> set[str]:
    name = authority.lower()
    return {name, *[name.removesuffix(port) for port in ports]}


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/", "?", "#")


def _covers(domain: str, host: str) -> bool:
    """Return whether a cookie of the domain is sent to the host (RFC 6265 section 5.1.3)."""
    name = bare_host(host)
    return name == domain or name.endswith(f".{domain}")
