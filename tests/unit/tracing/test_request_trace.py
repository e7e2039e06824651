"""The spans of a request: what a handler adds, their parents, and their bounds."""

import marshal

import gevent
import pytest

from gproxy.http.errors import HTTPError
from gproxy.tracing import request_trace
from gproxy.tracing.request_trace import RequestTrace, TraceOutput

IDS = "a" * 32, "b" * 16, ""


@pytest.fixture
def records():
    return []


@pytest.fixture
def trace(records):
    return RequestTrace(IDS, TraceOutput(records.append))


def test_spans_nest_and_leave_when_they_end(trace, records):
    with trace.span("outer"):
        with trace.span("inner"):
            trace.set("tenant", "acme")
        trace.event("between")
    inner, outer = records
    assert inner["parent_id"] == outer["span_id"] and outer["parent_id"] == "b" * 16
    assert inner["attributes"] == {"tenant": "acme"}
    assert [name for name, _, _ in outer["events"]] == ["between"]
    assert marshal.loads(marshal.dumps(records)) == records


def test_a_span_in_another_greenlet_has_the_parent_of_its_spawner(trace, records):
    request_trace.inherit_spans()
    try:
        with trace.span("outer"):
            gevent.spawn(lambda: trace.span("inner").__enter__().__exit__(None, None, None)).join()
    finally:
        gevent.Greenlet.remove_spawn_callback(request_trace._inherit)
    inner, outer = records
    assert inner["parent_id"] == outer["span_id"]


def test_a_span_of_another_request_is_no_parent(trace, records):
    other = RequestTrace(("c" * 32, "d" * 16, ""), TraceOutput(records.append))
    with trace.span("outer"), other.span("inner"):
        pass
    assert records[0]["parent_id"] == "d" * 16


def test_an_exception_is_noted_without_its_text(trace, records):
    with pytest.raises(KeyError):
        with trace.span("broken"):
            raise KeyError("secret")
    assert records[0]["error"] == "KeyError"
    ((name, _, attributes),) = records[0]["events"]
    assert name == "exception" and attributes["exception.type"] == "KeyError"
    assert attributes["code.file.path"].endswith("test_request_trace.py")
    assert "secret" not in str(records)


def test_the_text_is_noted_if_it_is_wanted(records):
    trace = RequestTrace(IDS, TraceOutput(records.append, full=True))
    with pytest.raises(ValueError):
        with trace.span("broken"):
            raise ValueError("the text")
    assert records[0]["events"][0][2]["exception.message"] == "the text"


def test_an_answer_to_the_client_is_no_exception(trace, records):
    with pytest.raises(HTTPError):
        with trace.span("judge"):
            raise HTTPError(401)
    assert records[0]["error"] is None and records[0]["events"] == []


def test_everything_is_bounded(trace, records):
    with trace.span("n" * 5000):
        for number in range(1000):
            trace.set(f"name {number}", "v" * 5000)
            trace.event("e" * 5000)
    for _ in range(1000):
        with trace.span("one of many"):
            pass
    assert len(records[0]["name"]) == 1024
    assert len(records[0]["attributes"]) == len(records[0]["events"]) == 64
    assert max(map(len, records[0]["attributes"].values())) == 1024
    assert len(records) == 256


@pytest.mark.parametrize(
    ("value", "kept"), [(1, 1), (True, True), (1.5, 1.5), (None, "None"), ([1], "[1]"), (1 << 80, str(1 << 80))]
)
def test_any_value_becomes_one_that_a_record_can_carry(trace, records, value, kept):
    with trace.span("one"):
        trace.set("value", value)
    assert records[0]["attributes"] == {"value": kept}
