"""The request that the running greenlet serves.

A request notes nothing: a connection knows its greenlet, and the owner of the connections finds them by it. A greenlet
that works for a request beside the connection's own carries a note.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from greenlet import getcurrent, greenlet

from gproxy.http.request import Request

#: The attribute in which a greenlet has its request.
_NOTE: Final = "gproxy_request"
#: Finds the request that a greenlet serves.
Finder = Callable[[greenlet], Request | None]
_finders: list[Finder] = []


def add_finder(finder: Finder) -> None:
    """Let `served_request` ask this function too."""
    _finders.append(finder)


def served_request() -> Request | None:
    """Return the client's request that the greenlet serves; None in a background job, or in a greenlet of its own."""
    here = getcurrent()
    noted: Request | None = getattr(here, _NOTE, None)
    if noted is not None:
        return noted
    for find in _finders:
        found = find(here)
        if found is not None:
            return found
    return None


@contextmanager
def serving(request: Request | None) -> Iterator[None]:
    """Note that the greenlet serves this request within the block."""
    here: Any = getcurrent()
    before = getattr(here, _NOTE, None)
    setattr(here, _NOTE, request)
    try:
        yield
    finally:
        setattr(here, _NOTE, before)


def is_in_own_greenlet(request: Request) -> bool:
    """Return whether the greenlet that calls is the one that the request's alarm and its client reach."""
    client = request.client_stream
    return client is None or client.in_own_greenlet()
