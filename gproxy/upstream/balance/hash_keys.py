"""The keys of requests, for hash policies, splits and sticky sessions."""

from collections.abc import Callable

from gproxy.http.cookies import cookie_in
from gproxy.http.request import Request
from gproxy.http.trust import network_of

#: A function that returns a request's key; None or "" if the request has none.
Key = Callable[[Request], str | None]


def client(request: Request) -> str:
    """Return the client's IPv4 address, or its IPv6 /64 network: a client may change its address within that."""
    return network_of(request.exchange.client)


def path(request: Request) -> str:
    """Return the path without the query, so that all variants of a resource have one key."""
    return request.path


def header(name: str) -> Key:
    """Return a key: the value of that header."""
    key = name.lower()
    return lambda request: request.headers.lookup(key)


def cookie(name: str) -> Key:
    """Return a key: the value of that cookie without its quotes, the first of several.

    Some proxies join the lines of Cookie by commas, as those of other fields (RFC 9110 section 5.3).
    """

    def value(request: Request) -> str | None:
        cookies = request.headers.lookup("cookie")
        if not cookies:
            return None
        found: str | None = cookie_in(cookies, name)  # mypyc needs the annotation
        if found is None and ", " in cookies:
            found = cookie_in(cookies.replace(", ", "; "), name)
        return found if found is None else found.strip(' \t"')

    return value


def query(name: str) -> Key:
    """Return a key: the undecoded value of that query parameter, the first of several."""
    start = f"{name}="

    def value(request: Request) -> str | None:
        text = request.query
        at = text.find(start)  # PERF: this costs a tenth of a regular expression
        while at > 0 and text[at - 1] != "&":
            at = text.find(start, at + 1)
        return None if at < 0 else text[at + len(start) :].partition("&")[0].strip('"')

    return value
