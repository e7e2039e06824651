"""The keys of requests, for hash policies, splits and sticky sessions."""

from collections.abc import Callable

from gproxy.http.request import Request
from gproxy.http.trust import network_of

#: A function that returns a request's key; None or "" if the request has none.
Key = Callable[[Request], str | None]


def client(request: Request) -> str:
    """Return the client's IPv4 address, or its IPv6 /64 network: a client may change its address within that."""
    return network_of(request.client)


def path(request: Request) -> str:
    """Return the path without the query, so that all variants of a resource have one key."""
    return request.path


def header(name: str) -> Key:
    """Return a key: the value of that header."""
    key = name.lower()
    return lambda request: request.headers.lookup(key)


def cookie(name: str) -> Key:
    """Return a key: the value of that cookie (RFC 6265 section 4.2.1), the first of several."""
    start = f"{name}="

    def value(request: Request) -> str | None:
        cookies = request.headers.lookup("cookie")
        return _value(cookies, start, " ;\t", ";") if cookies else None

    return value


def query(name: str) -> Key:
    """Return a key: the undecoded value of that query parameter, the first of several."""
    start = f"{name}="
    return lambda request: _value(request.query, start, "&", "&")


def _value(text: str, start: str, before: str, end: str) -> str | None:
    """Return the text between `start` and `end`; `start` must be the beginning of the text or follow one of `before`.

    PERF: this costs a tenth of a regular expression.
    """
    at = text.find(start)
    while at > 0 and text[at - 1] not in before:
        at = text.find(start, at + 1)
    if at < 0:
        return None
    return text[at + len(start) :].partition(end)[0].strip(' \t"')
