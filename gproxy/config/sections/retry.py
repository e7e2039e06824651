"""Retry options of upstreams and routes: their types and their problems."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from gproxy.config.sections import rules
from gproxy.config.types import Statuses
from gproxy.http.header_names import SET_BY_GATEWAY

#: A failure to retry: its name, or the status of a response.
RetryOn = Literal["connect", "stale", "reset", "timeout"] | Statuses

DEFAULT_ON: Final[tuple[RetryOn, ...]] = ("connect", "stale", "reset")
#: RFC 9110 section 9.2.2.
IDEMPOTENT: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")


def problems(upstream: Any) -> Iterator[str]:
    """Yield the problems of an upstream's retry options."""
    yield from rules.at_least(0, upstream, "retries", "retry_backoff", "retry_backoff_max", "replay", "spool", "hedge")
    yield from rules.positive(upstream, "per_try_timeout")
    yield from rules.methods("retry_methods", upstream.retry_methods)
    yield from rules.distinct(upstream, "retry_on", "retry_methods")
    yield from on("retry_on", upstream.retry_on)
    for name in ("retry_header", "deadline_header"):
        yield from _own_header(name, getattr(upstream, name))
    if upstream.retry_header and (upstream.retry_header.lower() == (upstream.deadline_header or "").lower()):
        yield "deadline_header: retry_header has the same name"
    if upstream.retry_backoff > upstream.retry_backoff_max:
        yield "retry_backoff: must not be more than retry_backoff_max"


def of_route(route: Any) -> Iterator[str]:
    """Yield the problems of a route's retry options. None means the upstream's value."""
    yield from rules.at_least(0, route, "retries", "hedge")
    if route.retry_on is not None:
        yield from rules.distinct(route, "retry_on")
        yield from on("retry_on", route.retry_on)


def on(name: str, values: Iterable[RetryOn]) -> Iterator[str]:
    """Yield a problem for each status that is not an error status."""
    for value in values:
        if isinstance(value, Statuses) and not 400 <= value.first <= value.last <= 599:
            yield f"{name}: expected statuses from 400 to 599; found {value}"


def _own_header(name: str, value: str | None) -> Iterator[str]:
    if value is None:
        return
    yield from rules.header_names(name, (value,))
    if value.lower() in SET_BY_GATEWAY:
        yield f"{name}: {value} is reserved: the gateway sets this header itself"
