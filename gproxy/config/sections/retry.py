"""Retry options of upstreams and routes: their types and their problems."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gproxy.config.ini.build import doc, option
from gproxy.config.problems import OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Bytes, Percent, Seconds, Statuses
from gproxy.http.header_names import SET_BY_GATEWAY

#: A failure to retry: its name, or the status of a response.
RetryOn = Literal["connect", "stale", "reset", "timeout", "grpc_unavailable"] | Statuses

DEFAULT_ON: Final[tuple[RetryOn, ...]] = ("connect", "stale", "reset")
#: RFC 9110 section 9.2.2.
IDEMPOTENT: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RetryOptions(Record):
    """The options of an upstream for retries and hedges."""

    retries: int = field(
        default=1, metadata=option("retries", "most attempts after the first one, where a retry is safe")
    )
    on: tuple[RetryOn, ...] = field(
        default=DEFAULT_ON,
        metadata=doc(
            "failures to retry besides connect, which always is: stale, reset, timeout, statuses such as 503, and "
            "grpc_unavailable, a gRPC response that is only the status 14"
        ),
    )
    methods: tuple[str, ...] = field(
        default=IDEMPOTENT,
        metadata=doc("methods that may be retried; requests with Idempotency-Key always may"),
    )
    backoff: Seconds = field(
        default=Seconds(0.025),
        metadata=doc("longest pause before the first retry; each further pause is twice as long"),
    )
    backoff_max: Seconds = field(default=Seconds(0.25), metadata=doc("longest pause before any retry"))
    after: bool = field(
        default=False,
        metadata=doc("pause as long as the response's Retry-After asks; no retry if the deadline comes first"),
    )
    budget: Percent | None = field(
        default=Percent(0.2),
        metadata=doc(
            "most retries, as a share of requests, at a time and each second; 3 are always allowed; none: no limit"
        ),
    )
    header: str | None = field(
        default=None,
        metadata=doc("header that gives the backend the number of earlier attempts: X-Retry-Count; none: off"),
    )
    replay: Bytes = field(
        default=Bytes(64 * 1024), metadata=option("replay", "bytes of a request body kept in memory for a retry")
    )
    spool: Bytes = field(
        default=Bytes(0), metadata=option("spool", "further bytes kept on disk; a longer body is not retried")
    )
    hedge: Seconds = field(
        default=Seconds(0),
        metadata=option(
            "hedge",
            "wait before a second attempt starts at another backend, for idempotent requests without a body; 0s: off",
        ),
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.at_least(0, self, "retries", "backoff", "backoff_max", "replay", "spool", "hedge"),
            rules.methods("methods", self.methods),
            rules.distinct(self, "on", "methods"),
            on("on", self.on),
            sent_header("header", self.header),
            rules.require(self.backoff <= self.backoff_max, "backoff", "must not be more than retry_backoff_max"),
        )


def of_route(route: object, retry_on: Sequence[RetryOn] | None) -> Iterator[OptionProblem]:
    """Yield the problems of a route's retry options. None means the upstream's value."""
    yield from rules.at_least(0, route, "retries", "hedge")
    if retry_on is not None:
        yield from rules.distinct(route, "retry_on")
        yield from on("retry_on", retry_on)


def on(name: str, values: Iterable[RetryOn]) -> Iterator[OptionProblem]:
    """Yield a problem for each status that is not an error status."""
    for value in values:
        if isinstance(value, Statuses) and not 400 <= value.first <= value.last <= 599:
            yield (name,), f"expected statuses from 400 to 599; found {value}"


def sent_header(name: str, value: str | None) -> Iterator[OptionProblem]:
    """Yield the problems of the name of a header that the gateway adds to requests; None passes."""
    if value is None:
        return
    yield from rules.header_names(name, (value,))
    if value.lower() in SET_BY_GATEWAY:
        yield (name,), f"{value} is reserved: the gateway sets this header itself"
