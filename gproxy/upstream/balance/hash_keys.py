"""What of a request a policy looks at, or a cookie is found by."""

from collections.abc import Callable

from gproxy.http.request import Request
from gproxy.http.trust import network_of

#: A request's key; None or nothing if it has none.
Key = Callable[[Request], str | None]


def client(request: Request) -> str:
    """The client's address; of IPv6 the /64, in which a client changes its address as it likes."""
    return network_of(request.client)


def path(request: Request) -> str:
    """Without the query: a path's variants stay together."""
    return request.path


def header(name: str) -> Key:
    """The value of that header."""
    key = name.lower()
    return lambda request: request.headers.lookup(key)


def cookie(name: str) -> Key:
    """The value of that cookie (RFC 6265 section 4.2.1), the first of several."""
    start = f"{name}="

    def value(request: Request) -> str | None:
        cookies = request.headers.lookup("cookie")
        return _value(cookies, start, " ;\t", ";") if cookies else None

    return value


def query(name: str) -> Key:
    """The value of that parameter as it was sent, the first of several."""
    start = f"{name}="
    return lambda request: _value(request.query, start, "&", "&")


def _value(text: str, start: str, before: str, end: str) -> str | None:
    """What stands between `start`, if that begins or follows one of `before`, and `end`. PERF: a tenth of a regex."""
    at = text.find(start)
    while at > 0 and text[at - 1] not in before:
        at = text.find(start, at + 1)
    if at < 0:
        return None
    return text[at + len(start) :].partition(end)[0].strip(' \t"')
