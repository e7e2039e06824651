"""The bridge to libraries that are instrumented with OpenTelemetry, if its packages are installed."""

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gproxy.runtime.feed import Feed
from gproxy.tracing.request_trace import inherit_spans
from gproxy.tracing.span_record import KIND, LONGEST, MOST, Attributes, Kind, SpanRecord, value_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_log = logging.getLogger("gproxy")

Send = Callable[[SpanRecord], None]


class OtelContext:
    """The way in which a span of the gateway becomes the current one of `opentelemetry.context`."""

    def __init__(self) -> None:
        from opentelemetry import context, trace  # late: an extra

        self._context, self._trace = context, trace
        self._sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)

    def attach(self, trace_id: str, span_id: str) -> object:
        """Make the span current, and return what `detach` needs."""
        trace = self._trace
        place = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=self._sampled)
        return self._context.attach(trace.set_span_in_context(trace.NonRecordingSpan(place)))

    def detach(self, token: object) -> None:
        """Make the span before it current."""
        self._context.detach(token)


def bridge() -> OtelContext | None:
    """Return the bridge to `opentelemetry.context`; None if that package is not installed."""
    return OtelContext() if _has("opentelemetry.context") else None


def connect(feed: Feed) -> None:
    """Let the spans of libraries leave with those of the gateway, also those of greenlets that handlers spawn."""
    inherit_spans()
    provide(partial(feed.put, KIND))


def provide(send: Send) -> bool:
    """Set a global provider whose spans leave as the gateway's do, and return True; False if the user has set one.

    It records only children of spans that are recorded: a library's spans belong to sampled requests.
    """
    if not _has("opentelemetry.sdk.trace"):
        return False
    from opentelemetry import trace  # late: an extra
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return False
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    provider.add_span_processor(_processor(send))
    trace.set_tracer_provider(provider)
    return True


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _processor(send: Send):  # type: ignore[no-untyped-def]  # noqa: ANN202 its class is of an extra
    from opentelemetry.sdk.trace import SpanProcessor

    class FeedProcessor(SpanProcessor):  # type: ignore[misc]  # its class has no types here
        """A processor that passes each span on when it ends."""

        def on_end(self, span: "ReadableSpan") -> None:
            send(record_of(span))

    return FeedProcessor()


def record_of(span: "ReadableSpan") -> SpanRecord:
    """Return the record of a span of the SDK."""
    place = span.get_span_context()
    trace_id, span_id = (place.trace_id, place.span_id) if place is not None else (0, 0)
    failed = span.status.status_code.name == "ERROR"
    kind: Kind = span.kind.name.lower()
    return {
        "trace_id": f"{trace_id:032x}",
        "span_id": f"{span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent is not None else "",
        "name": span.name[:LONGEST],
        "kind": kind,
        "start": span.start_time or 0,
        "end": span.end_time or 0,
        "attributes": _values(span.attributes),
        "events": [(event.name[:LONGEST], event.timestamp, _values(event.attributes)) for event in span.events[:MOST]],
        "links": [(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links[:MOST]],
        "error": (span.status.description or "")[:LONGEST] if failed else None,
        "scope": span.instrumentation_scope.name if span.instrumentation_scope is not None else "",
    }


def _values(attributes) -> Attributes:  # type: ignore[no-untyped-def]  # noqa: ANN001 its type is of an extra
    return {str(name)[:LONGEST]: value_of(value) for name, value in list((attributes or {}).items())[:MOST]}
