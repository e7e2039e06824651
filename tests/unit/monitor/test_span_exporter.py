"""The queue of spans in the monitor: batches, what is dropped, and what a failing collector costs."""

import logging

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from gproxy.config.sections.trace import TraceSettings
from gproxy.monitor.span_exporter import SpanExporter
from gproxy.tracing.request_trace import RequestTrace, TraceOutput

SETTINGS = TraceSettings(endpoint="http://collector.example/v1/traces")


class Collector:
    def __init__(self):
        self.batches = []
        self.answer = SpanExportResult.SUCCESS

    def export(self, spans):
        self.batches.append(spans)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def loggers():
    """The loggers of libraries as they were: the exporter takes their lines."""
    found = [logging.getLogger(name) for name in ("opentelemetry", "urllib3")]
    before = [(one, one.handlers, one.propagate) for one in found]
    yield
    for one, handlers, propagate in before:
        one.handlers, one.propagate = handlers, propagate


def record():
    records = []
    trace = RequestTrace(("a" * 32, "b" * 16, ""), TraceOutput(records.append))
    with trace.span("one"):
        trace.event("now")
    return records[0]


class Scene:
    def __init__(self):
        self.counts, self.now, self.collector, self.noted = {}, 0.0, Collector(), []
        self.exporter = SpanExporter(
            SETTINGS, self.count, self.noted.append, exporter=self.collector, clock=lambda: self.now
        )

    def count(self, result, number):
        self.counts[result] = self.counts.get(result, 0) + number

    def take(self, number, fields=None):
        for _ in range(number):
            self.exporter.take(None, 0.0, fields or record())


def test_a_batch_has_at_most_512_spans():
    scene = Scene()
    scene.take(600)
    scene.exporter.send()
    scene.exporter.send()
    assert [len(batch) for batch in scene.collector.batches] == [512, 88]
    assert scene.counts["sent"] == 600
    (span, *_) = scene.collector.batches[0]
    assert span.name == "one" and span.parent.span_id == int("b" * 16, 16)


def test_the_oldest_are_dropped_from_a_full_queue():
    scene = Scene()
    scene.take(1, {**record(), "name": "the oldest"})
    scene.take(4096)
    assert scene.counts == {"dropped": 1}
    scene.exporter.flush(5.0)
    assert sum(map(len, scene.collector.batches)) == 4096
    assert scene.collector.batches[0][0].name == "one"


@pytest.mark.parametrize("answer", [SpanExportResult.FAILURE, RuntimeError("what is this?")])
def test_a_failing_collector_costs_one_line_a_minute(caplog, answer):
    scene = Scene()
    scene.collector.answer = answer
    for second in range(61):
        scene.now = second
        scene.take(1)
        scene.exporter.send()
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == 2 and all("spans are lost" in line for line in lines)
    assert scene.counts["failed"] == 61


def test_a_malformed_record_does_not_cost_the_others(caplog):
    scene = Scene()
    scene.take(1)
    scene.take(1, {**record(), "kind": "unheard of"})
    scene.exporter.send()
    assert scene.counts == {"sent": 1, "failed": 1}


def test_only_spans_that_the_collector_has_taken_are_noted():
    scene = Scene()
    scene.collector.answer = SpanExportResult.FAILURE
    scene.take(1)
    scene.exporter.send()
    assert scene.noted == []
    scene.collector.answer = SpanExportResult.SUCCESS
    scene.take(1, {**record(), "kind": "unheard of"})
    scene.take(1, {**record(), "name": "good"})
    scene.exporter.send()
    assert [one["name"] for one in scene.noted] == ["good"]
