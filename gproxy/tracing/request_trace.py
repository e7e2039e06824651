"""The trace of a sampled request: its spans, which leave as records when they end."""

import traceback
from collections.abc import Callable
from contextvars import ContextVar, Token, copy_context
from time import time_ns
from types import TracebackType
from typing import Final, Protocol, Self

import gevent

from gproxy.http.errors import HTTPError
from gproxy.http.trace import AttributeValue, Span, TraceIDs
from gproxy.tracing.span_record import LONGEST, MOST, SCOPE, Attributes, Event, Kind, SpanRecord, value_of
from gproxy.tracing.trace_context import RandomIDs, written

#: The most spans of one request; a handler may open spans in a loop.
_MOST_SPANS: Final = 256
#: The innermost open span of a greenlet, and of the greenlets that it spawns.
_current: ContextVar["OpenSpan | None"] = ContextVar("gproxy_span", default=None)
_ids: Final = RandomIDs()


class Bridge(Protocol):
    """The way in which a span becomes the present one for instrumented libraries."""

    def attach(self, trace_id: str, span_id: str, /) -> object: ...
    def detach(self, token: object, /) -> None: ...


class TraceOutput:
    """The output of the spans of a worker: `send` takes records. With `full`, they have the text of exceptions."""

    def __init__(self, send: Callable[[SpanRecord], None], *, full: bool = False, bridge: Bridge | None = None) -> None:
        self.send = send
        self.full = full
        self.bridge = bridge


def inherit_spans() -> None:
    """Let each greenlet that is spawned from now on begin with the open span of its spawner."""
    gevent.Greenlet.add_spawn_callback(_inherit)


def _inherit(spawned: gevent.Greenlet) -> None:
    if _current.get() is not None:
        spawned.gr_context = copy_context()


class OpenSpan:
    """A span from its start to its end. As a context manager it is the present span of the greenlet."""

    __slots__ = (
        "_attached", "_token", "_trace", "attributes", "error", "events", "kind", "links", "name", "parent_id",
        "span_id", "start",
    )  # fmt: skip

    def __init__(self, trace: "RequestTrace", name: str, kind: Kind, parent_id: str, span_id: str) -> None:
        self._trace = trace
        self.name = name
        self.kind: Kind = kind
        self.parent_id = parent_id
        self.span_id = span_id
        self.start = time_ns()
        self.attributes: Attributes = {}
        self.events: list[Event] = []
        self.links: list[tuple[str, str]] = []
        self.error: str | None = None
        self._token: Token[OpenSpan | None] | None = None
        self._attached: object = None

    @property
    def trace(self) -> "RequestTrace":
        return self._trace

    @property
    def traceparent(self) -> str:
        """The field that makes what gets it a child of this span."""
        return written(self._trace.trace_id, self.span_id, sampled=True)

    def set(self, name: str, value: AttributeValue) -> None:
        """Set an attribute; beyond a bound further names are ignored."""
        if len(self.attributes) < MOST or name in self.attributes:
            self.attributes[str(name)[:LONGEST]] = value_of(value)

    def event(self, name: str) -> None:
        """Add an event, which happens now; beyond a bound further ones are ignored."""
        self._add(name, {})

    def fail(self, kind: str) -> None:
        """Mark the span as failed, with the kind of the error."""
        self.error = kind
        self.attributes["error.type"] = kind

    def record(self, error: BaseException, *, full: bool) -> None:
        """Note an exception by its type and its place, and with `full` by its text."""
        frames = traceback.extract_tb(error.__traceback__)
        attributes: Attributes = {"exception.type": _qualified(error)}
        if frames:
            attributes["code.file.path"], attributes["code.line.number"] = frames[-1].filename, frames[-1].lineno or 0
        if full:
            attributes["exception.message"] = str(error)[:LONGEST]
        self._add("exception", attributes)

    def _add(self, name: str, attributes: Attributes) -> None:
        if len(self.events) < MOST:
            self.events.append((str(name)[:LONGEST], time_ns(), attributes))

    def enter(self) -> None:
        """Make this the present span of the greenlet."""
        self._token = _current.set(self)
        bridge = self._trace.output.bridge
        if bridge is not None:
            self._attached = bridge.attach(self._trace.trace_id, self.span_id)

    def leave(self) -> None:
        """Make the span before it the present one."""
        bridge = self._trace.output.bridge
        if bridge is not None:
            bridge.detach(self._attached)
        if self._token is not None:
            _current.reset(self._token)
            self._token = None

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if error is not None:
            self._trace.record_in(self, error)
        self._trace.end(self)

    def as_record(self, trace_id: str, end: int) -> SpanRecord:
        """Return the record of the span, which has ended at this Unix time in nanoseconds."""
        return {
            "trace_id": trace_id,
            "span_id": self.span_id,
            "parent_id": self.parent_id,
            "name": self.name[:LONGEST],
            "kind": self.kind,
            "start": self.start,
            "end": max(end, self.start),
            "attributes": self.attributes,
            "events": self.events,
            "links": self.links,
            "error": self.error,
            "scope": SCOPE,
        }


class RequestTrace:
    """The trace of a sampled request. `server` is its own span, which ends when the exchange is complete."""

    __slots__ = ("_left", "output", "server", "trace_id")

    sampled = True

    def __init__(self, ids: TraceIDs, output: TraceOutput, link: tuple[str, str] | None = None) -> None:
        self.trace_id, span_id, parent_id = ids
        self.output = output
        self._left = _MOST_SPANS
        self.server = OpenSpan(self, "request", "server", parent_id, span_id)
        if link is not None:
            self.server.links.append(link)

    def _present(self) -> OpenSpan:
        """Return the innermost open span of this request in this greenlet, else its own span."""
        current = _current.get()
        return current if current is not None and current.trace is self else self.server

    def set(self, name: str, value: AttributeValue) -> None:
        """Set an attribute of the innermost span."""
        self._present().set(name, value)

    def event(self, name: str) -> None:
        """Add an event to the innermost span."""
        self._present().event(name)

    def span(self, name: str) -> Span:
        """Return a span within the present one; it lasts as long as its `with` block."""
        return OpenSpan(self, str(name), "internal", self._present().span_id, _ids.take(16))

    def attempt(self, backend: str, resend: int) -> Span:
        """Return the span of an attempt at a backend."""
        made = OpenSpan(self, "attempt", "client", self._present().span_id, _ids.take(16))
        host, _, port = backend.rpartition(":")
        made.attributes["server.address"] = host or backend
        if host and port.isdecimal():
            made.attributes["server.port"] = int(port)
        if resend:
            made.attributes["http.request.resend_count"] = resend
        return made

    def record(self, error: BaseException) -> None:
        """Note an exception in the innermost span, unless it is an answer to the client."""
        self.record_in(self._present(), error)

    def record_in(self, span: OpenSpan, error: BaseException) -> None:
        """Note an exception in the span, unless it is an answer to the client."""
        if not isinstance(error, HTTPError):
            span.record(error, full=self.output.full)
            span.fail(_qualified(error))

    def enter(self) -> None:
        """Make the request's own span the present one of this greenlet."""
        self.server.enter()

    def leave(self) -> None:
        """Undo `enter`."""
        self.server.leave()

    def end(self, span: OpenSpan) -> None:
        """Send the record of a span that ends now; beyond a bound spans are ignored."""
        if self._left > 0:
            self._left -= 1
            self.output.send(span.as_record(self.trace_id, time_ns()))


def _qualified(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
