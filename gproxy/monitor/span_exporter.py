"""The export of spans to a collector, by OpenTelemetry's exporter; imported only with `[trace] endpoint`."""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event as Wake
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter as SDKExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from gproxy import __version__
from gproxy.config.sections.trace import TraceSettings, pairs
from gproxy.monitor.processes.worker_lines import WorkerRef
from gproxy.tracing.span_record import SCOPE, SpanRecord

_log = logging.getLogger("gproxy")

#: The most spans that wait, and that are sent together.
_QUEUE: Final = 4096
_BATCH: Final = 512
#: Seconds after which fewer spans are sent too.
_EVERY: Final = 1.0
#: Seconds between two log lines on a collector that fails.
_QUIET: Final = 60.0
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

#: Counts spans by their result: `sent`, `dropped` or `failed`.
Count = Callable[[str, int], None]
#: Takes the record of a span that the collector has taken.
Note = Callable[[SpanRecord], None]


class SpanExporter:
    """The queue of spans, and the greenlet that sends them. While the collector fails, the oldest spans are dropped."""

    def __init__(
        self,
        settings: TraceSettings,
        count: Count,
        note: Note,
        *,
        exporter: SDKExporter | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._endpoint = settings.endpoint
        self._resource = Resource({**settings.attributes, "service.name": settings.service})
        self._count = count
        self._note = note
        self._clock = clock
        self._exporter = exporter or _otlp(settings)
        self._queue: deque[SpanRecord] = deque()
        self._is_full = Wake()
        self._next_line = 0.0
        self._reason = _LastReason()

    def take(self, _: WorkerRef, __: float, fields: Mapping[str, Any]) -> None:
        """Take the record of a span, which a worker feeds."""
        if len(self._queue) >= _QUEUE:
            self._queue.popleft()
            self._count("dropped", 1)
        self._queue.append(fields)  # type: ignore[arg-type]  # a worker of this package has made it
        if len(self._queue) >= _BATCH:
            self._is_full.set()

    def keep_sending(self) -> None:
        """Send 512 spans, or those of one second, again and again."""
        while True:
            self._is_full.wait(_EVERY)
            self._is_full.clear()
            while self._queue:
                self.send()
                if len(self._queue) < _BATCH:
                    break

    def flush(self, seconds: float) -> None:
        """Send what waits, at most so long, before the monitor ends."""
        with gevent.Timeout(seconds, False):
            while self._queue:
                self.send()

    def send(self) -> None:
        """Send one batch. A failure costs its spans, and one log line a minute."""
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
        good, spans = self._readable(batch)
        reason = ""
        try:
            sent = not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 a collector may answer anything, and the exporter choke on it
            sent, reason = False, f"{type(error).__name__}: {error}"
        self._count("sent" if sent else "failed", len(spans))
        if len(spans) < len(batch):
            self._count("failed", len(batch) - len(spans))
        for record in good if sent else ():
            self._note(record)
        if not sent:
            self._complain(reason or self._reason.take())

    def _readable(self, batch: Sequence[SpanRecord]) -> tuple[list[SpanRecord], list[ReadableSpan]]:
        """Return the records and their spans, without malformed ones: libraries may have made them."""
        good, made = [], []
        for record in batch:
            try:
                made.append(readable(record, self._resource))
                good.append(record)
            except (KeyError, TypeError, ValueError) as error:
                self._complain(f"malformed span: {type(error).__name__}")
        return good, made

    def _complain(self, reason: str) -> None:
        if self._clock() >= self._next_line:
            self._next_line = self._clock() + _QUIET
            _log.warning("traces: spans are lost: %s: %s", self._endpoint, reason[:300])


class _LastReason(logging.Handler):
    """The last message of the SDK's exporter, which logs each failure; its lines appear nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        for name in ("opentelemetry", "urllib3"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self._text = " ".join(record.getMessage().split())

    def take(self) -> str:
        """Return the last message, and forget it."""
        text, self._text = self._text, ""
        return text or "the collector did not take them"


def _otlp(settings: TraceSettings) -> SDKExporter:
    headers = pairs(settings.headers.reveal()) if settings.headers is not None else {}
    return OTLPSpanExporter(endpoint=settings.endpoint, headers=headers, timeout=settings.timeout)


def readable(record: SpanRecord, resource: Resource) -> ReadableSpan:
    """Return the span of a record, as the SDK's exporter takes it."""
    error = record["error"]
    parent = _place(record["trace_id"], record["parent_id"]) if record["parent_id"] else None
    own = record["scope"] == SCOPE
    return ReadableSpan(
        name=record["name"],
        context=_place(record["trace_id"], record["span_id"]),
        parent=parent,
        resource=resource,
        attributes=record["attributes"],
        events=[Event(name, attributes, when) for name, when, attributes in record["events"]],
        links=[Link(_place(trace_id, span_id)) for trace_id, span_id in record["links"]],
        kind=SpanKind[record["kind"].upper()],
        status=Status(StatusCode.ERROR, error) if error is not None else Status(StatusCode.UNSET),
        start_time=record["start"],
        end_time=record["end"],
        instrumentation_scope=InstrumentationScope(record["scope"], __version__ if own else None),
    )


def _place(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)
