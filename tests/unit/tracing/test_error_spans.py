"""The spans of requests themselves, at the end of their exchange."""

import pytest

from gproxy.config.types.path_pattern import RoutePath
from gproxy.http.exchange import Exchange
from gproxy.tracing.error_spans import ServerSpans
from gproxy.tracing.request_trace import RequestTrace, TraceOutput

IDS = "a" * 32, "b" * 16, "c" * 16


def exchange(status=200, target="/users/1", method="GET", **more):
    made = Exchange(0.0, "192.0.2.1", method, target, "HTTP/1.1")
    made.id, made.route, made.status, made.duration, made.trace_ids = "id", "users", status, 0.25, IDS
    for name, value in more.items():
        setattr(made, name, value)
    return made


def record_of(made, *, errors=True, sampled=False, paths=("/users",)):
    records = []
    output = TraceOutput(records.append)
    if sampled:
        made.trace = RequestTrace(IDS, output)
    parsed = {"users": [RoutePath.parse(path) for path in paths]}
    ServerSpans(output, parsed, errors=errors, slow=1.0, streams=["stream"]).record(made)
    return records[0] if records else None


def test_a_sampled_request_has_a_span_with_its_ids_and_its_time():
    record = record_of(exchange(), sampled=True)
    assert (record["trace_id"], record["span_id"], record["parent_id"]) == IDS
    assert record["name"] == "GET /users" and record["kind"] == "server" and record["error"] is None
    assert record["attributes"]["http.route"] == "/users" and "error.type" not in record["attributes"]
    assert record["end"] - record["start"] == pytest.approx(0.25e9, abs=0.05e9)


@pytest.mark.parametrize(
    ("made", "has_span"),
    [
        (exchange(200), False),
        (exchange(404), False),
        (exchange(502), True),
        (exchange(200, duration=1.5), True),
        (exchange(200, duration=1.5, is_endless=True), False),
        (exchange(101, duration=1.5, is_tunnel=True), False),
        (exchange(200, duration=1.5, route="stream"), False),
        (exchange(502, trace_ids=("", "", "")), False),
    ],
)
def test_an_unsampled_request_has_a_span_if_it_fails_or_is_slow(made, has_span):
    record = record_of(made)
    assert (record is not None) is has_span
    assert not has_span or record["attributes"]["gproxy.sampled"] is False
    assert record_of(made, errors=False) is None


def test_the_reason_is_the_type_of_the_error():
    record = record_of(exchange(502, reason="connect_refused"))
    assert record["error"] == record["attributes"]["error.type"] == "connect_refused"
    assert record_of(exchange(500, reason=""), sampled=True)["error"] == "500"
    assert record_of(exchange(200, reason="reset_mid_body"), sampled=True)["error"] == "reset_mid_body"
    assert record_of(exchange(404, reason="no_route"), sampled=True)["error"] is None


@pytest.mark.parametrize(
    ("target", "route"), [("/users/1", "/users"), ("/people", "/people"), ("/42", "~ /[0-9]+"), ("/usersx", "/people")]
)
def test_the_route_is_the_path_that_matched(target, route):
    record = record_of(exchange(target=target), sampled=True, paths=("/people", "/users", "~ /[0-9]+"))
    assert record["attributes"]["http.route"] == route


def test_a_method_that_a_client_invents_names_no_span():
    record = record_of(exchange(method="X" * 30), sampled=True)
    assert record["name"] == "HTTP /users" and record["attributes"]["http.request.method"] == "_OTHER"


@pytest.mark.parametrize(("protocol", "version"), [("HTTP/1.0", "1.0"), ("HTTP/1.1", "1.1"), ("HTTP/2.0", "2")])
def test_the_version_is_that_of_the_conventions(protocol, version):
    made = exchange()
    made.protocol = protocol
    assert record_of(made, sampled=True)["attributes"]["network.protocol.version"] == version
