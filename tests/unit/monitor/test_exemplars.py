"""Which trace stands for a bucket of the durations of a route."""

import pytest

from gproxy.config.types.path_pattern import RoutePath
from gproxy.http.exchange import Exchange
from gproxy.monitor.exemplars import Exemplars
from gproxy.tracing.error_spans import ServerSpans
from gproxy.tracing.request_trace import RequestTrace, TraceOutput

NAME = "gproxy_request_duration_seconds"
BOUNDS = (0.1, 1.0)


def record(trace_id="a" * 32, seconds=0.05, route="users", *, sampled=True, status=200):
    exchange = Exchange(0.0, "192.0.2.1", "GET", "/users", "HTTP/1.1")
    exchange.route, exchange.status, exchange.duration = route, status, seconds
    exchange.trace_ids = trace_id, "b" * 16, ""
    records = []
    output = TraceOutput(records.append)
    if sampled:
        exchange.trace = RequestTrace(exchange.trace_ids, output)
    ServerSpans(output, {"users": [RoutePath.parse("/users")]}, errors=True, slow=10.0).record(exchange)
    return {**records[0], "end": records[0]["start"] + round(seconds * 1e9)}


def ids(exemplars, route="users", bounds=BOUNDS, name=NAME):
    return [one and one.trace_id[0] for one in exemplars.of(name, (route,), bounds)]


def test_each_bucket_has_the_latest_sampled_request():
    exemplars = Exemplars(BOUNDS)
    for letter, seconds in [("a", 0.05), ("b", 0.5), ("c", 5.0), ("d", 0.06), ("e", 0.1)]:
        exemplars.note(record(letter * 32, seconds))
    assert ids(exemplars) == ["e", "b", "c"]
    assert ids(exemplars, "others") == [None, None, None]
    assert ids(exemplars, name="gproxy_backend_duration_seconds") == [None, None, None]
    (_, middle, _) = exemplars.of(NAME, ("users",), BOUNDS)
    assert middle.value == pytest.approx(0.5) and middle.when > 1.7e9


def test_a_request_without_a_route_has_the_route_of_its_series():
    exemplars = Exemplars(BOUNDS)
    exemplars.note(record(route=""))
    assert ids(exemplars, "") == ["a", None, None]


@pytest.mark.parametrize(
    "other",
    [
        record(sampled=False, status=502),
        {**record(), "kind": "client"},
        {**record(), "scope": "opentelemetry.instrumentation.wsgi"},
    ],
)
def test_spans_that_are_no_sampled_requests_are_no_exemplars(other):
    exemplars = Exemplars(BOUNDS)
    exemplars.note(other)
    assert ids(exemplars) == [None, None, None]


def test_other_buckets_begin_without_exemplars():
    exemplars = Exemplars(BOUNDS)
    exemplars.note(record())
    exemplars.use(BOUNDS)
    assert ids(exemplars) == ["a", None, None]
    assert ids(exemplars, bounds=(0.2, 1.0)) == [None, None, None]
    exemplars.use((0.2, 1.0))
    assert ids(exemplars, bounds=(0.2, 1.0)) == [None, None, None]


def test_the_number_of_exemplars_is_bounded_and_the_oldest_go_first():
    exemplars = Exemplars(BOUNDS)
    one = record()
    for number in range(4097):
        exemplars.note(one | {"attributes": {"gproxy.route": f"route {number}"}})
        exemplars.note(one | {"attributes": {"gproxy.route": "route 1"}})
    assert ids(exemplars, "route 0") == [None, None, None]
    assert ids(exemplars, "route 1") == ids(exemplars, "route 4096") == ["a", None, None]
