"""Traces as a collector gets them: ids, parents, what is sampled, and what becomes of a collector that fails."""

import json
import re
import sys
import time

import forked
import pytest
from otlp_receiver import Receiver
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gproxy.commands.live.admin_client import AdminClient
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually

SERVER, CLIENT, INTERNAL = 2, 3, 1
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01"
HANDLERS = """
import threading
import gevent
def outer(request, next):
    return next(request)
def inner(request, next):
    request.trace.set("tenant", "acme")
    with request.trace.span("lookup"):
        request.trace.event("found")
    return next(request)
def broken(request, next):
    raise KeyError("a secret text")
def many(request, next):
    for _ in range(250):
        with request.trace.span("one of many"):
            pass
    return next(request)
def pause(request, next):
    gevent.sleep(0.2)
    return next(request)
class Asks:
    def open(self, runtime):
        self.runtime = runtime
    def __call__(self, request, next):
        self.runtime.upstream("app").request("GET", "/asked")
        return next(request)
def library(request, next):
    from opentelemetry import trace
    tracer = trace.get_tracer("mylibrary")
    with tracer.start_as_current_span("query"):
        pass
    def work():
        with tracer.start_as_current_span("in greenlet"):
            pass
    gevent.spawn(work).join()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return next(request)
"""
INI = """
[log]
fields = default, trace
[gateway]
handlers = outer
[trace]
endpoint = ENDPOINT
parent = always
MORE
[handler:outer]
use = mine:outer
[handler:inner]
use = mine:inner
[handler:broken]
use = mine:broken
[handler:library]
use = mine:library
[route:users]
path = /users
handlers = inner
upstream = app
[route:broken]
path = /broken
handlers = broken
respond = 200
[route:library]
path = /library
handlers = library
respond = 200
[handler:asks]
use = mine:Asks
[route:asks]
path = /asks
handlers = asks
respond = 200
[handler:many]
use = mine:many
[handler:pause]
use = mine:pause
[route:many]
path = /many
handlers = many
respond = 200
[route:pause]
path = /pause
handlers = pause
respond = 200
[route:half]
path = /half
respond = 200
sample = 100%
[route:all]
path = /
respond = 200
[upstream:app]
backends = http://127.0.0.1:DEAD, http://127.0.0.1:PORT
retries = 2
retry_on = connect, reset
"""
DEAD = 1


def running(tmp, receiver, more="", port=9, ini=INI, **options):
    (tmp / "mine.py").write_text(HANDLERS)
    text = ini.replace("ENDPOINT", receiver.endpoint if receiver else "http://127.0.0.1:1/v1/traces")
    text = text.replace("MORE", more).replace("PORT", str(port)).replace("DEAD", str(DEAD))
    return RunningGateway(text, tmp, **options)


@pytest.fixture(scope="module")
def backend():
    with Backend(answering()) as backend:
        yield backend


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, receiver, backend):
    more = "attributes =\n    team: edge\nservice = shop\nheaders = x-key=a%20b\nsample = 0%"
    with running(tmp_path_factory.mktemp("traces"), receiver, more, backend.port) as gateway:
        gateway.wait_for_line("monitor: sends traces")
        yield gateway


def named(spans, name):
    (found,) = [span for span in spans if span["name"] == name]
    return found


def test_a_sampled_request_is_traced_through_its_retries(gateway, receiver, backend):
    assert gateway.get("/users/1?key=secret", SAMPLED, "tracestate: a=1,b=2").status == 200
    spans = receiver.of(TRACE, 6)
    server = named(spans, "GET /users")
    assert (server["kind"], server["parent_id"]) == (SERVER, PARENT)
    expected = {
        "http.route": "/users",
        "url.path": "/users/1",
        "http.response.status_code": 200,
        "gproxy.route": "users",
    }
    assert server["attributes"].items() >= expected.items()
    assert "secret" not in str(spans)
    outer, inner, lookup = (named(spans, name) for name in ("outer", "inner", "lookup"))
    assert outer["parent_id"] == server["span_id"] and inner["parent_id"] == outer["span_id"]
    assert inner["attributes"] == {"tenant": "acme"}
    assert lookup["parent_id"] == inner["span_id"] and lookup["events"] == [("found", {})]
    attempts = sorted((span for span in spans if span["kind"] == CLIENT), key=lambda span: span["start"])
    assert all(attempt["parent_id"] == inner["span_id"] for attempt in attempts)
    got = backend.requests[-1]
    assert got["traceparent"] == f"00-{TRACE}-{attempts[-1]['span_id']}-01"
    assert got["tracestate"] == "a=1,b=2"
    assert [event for event, _ in attempts[-1]["events"]] == ["connected", "first_byte"]
    assert gateway.access()[-1]["trace"] == TRACE


def test_a_failed_attempt_has_a_span_of_its_own(tmp_path, receiver, backend):
    trace = "1" * 32
    ini = INI.replace("retries = 2", "retries = 2\nbalance = first")
    with running(tmp_path, receiver, "", backend.port, ini) as gateway:
        assert gateway.get("/users", f"traceparent: 00-{trace}-{PARENT}-01").status == 200
        spans = receiver.of(trace, 6)
    first, second = sorted((span for span in spans if span["kind"] == CLIENT), key=lambda span: span["start"])
    assert first["failed"] and first["attributes"]["error.type"] == "connect_refused"
    assert second["attributes"]["http.request.resend_count"] == 1 and not second["failed"]
    assert backend.requests[-1]["traceparent"] == f"00-{trace}-{second['span_id']}-01"


def test_a_call_of_a_handler_is_in_the_trace_of_its_request(gateway, receiver, backend):
    trace = "c" * 32
    assert gateway.get("/asks", f"traceparent: 00-{trace}-{PARENT}-01").status == 200

    def answered():
        return [one for one in receiver.of(trace) if "http.response.status_code" in one["attributes"]]

    eventually(lambda: len(answered()) == 2, "the spans of the request and of the last attempt of the call")
    (call,) = [one for one in answered() if one["kind"] == CLIENT]
    asks = named(receiver.of(trace), "asks")
    assert call["parent_id"] == asks["span_id"]
    assert backend.requests[-1]["traceparent"] == f"00-{trace}-{call['span_id']}-01"


def test_the_collector_gets_the_resource_and_the_headers(gateway, receiver):
    gateway.get("/", f"traceparent: 00-{'2' * 32}-{PARENT}-01")
    receiver.of("2" * 32, 2)
    assert receiver.resources[-1] == {"service.name": "shop", "team": "edge"}
    assert receiver.requests[-1]["x-key"] == "a b"


def test_an_unsampled_request_gets_an_id_and_no_span(gateway, receiver, backend):
    gateway.get("/users", f"traceparent: 00-{'3' * 32}-{PARENT}-00")
    assert re.fullmatch(f"00-{'3' * 32}-[0-9a-f]{{16}}-00", backend.requests[-1]["traceparent"])
    gateway.get("/users")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", backend.requests[-1]["traceparent"])
    receiver.settle()
    assert receiver.of("3" * 32) == []


def test_a_malformed_traceparent_starts_a_new_trace_without_tracestate(gateway, backend):
    gateway.get("/users", f"traceparent: 00-{'4' * 32}-{PARENT}", "tracestate: a=1")
    got = backend.requests[-1]
    assert "4" * 32 not in got["traceparent"] and got["traceparent"].endswith("-00")
    assert got["tracestate"] is None


def test_an_unsampled_failure_has_a_span_with_the_place_of_no_secret(gateway, receiver):
    trace = "5" * 32
    assert gateway.get("/broken", f"traceparent: 00-{trace}-{PARENT}-00").status == 500
    (span,) = receiver.of(trace, 1)
    assert span["failed"] and span["attributes"]["error.type"] == "handler_error"
    assert span["attributes"]["gproxy.sampled"] is False
    assert span["parent_id"] == PARENT


def test_an_exception_is_recorded_by_type_and_place(gateway, receiver):
    trace = "6" * 32
    gateway.get("/broken", f"traceparent: 00-{trace}-{PARENT}-01")
    spans = receiver.of(trace, 3)
    ((event, found),) = named(spans, "broken")["events"]
    assert event == "exception" and found["exception.type"] == "KeyError"
    assert found["code.file.path"].endswith("mine.py")
    assert "a secret text" not in str(spans)


def test_full_errors_have_their_text(tmp_path, receiver):
    trace = "7" * 32
    with running(tmp_path, receiver, "errors = full") as gateway:
        gateway.get("/broken", f"traceparent: 00-{trace}-{PARENT}-01")
        spans = receiver.of(trace, 3)
    assert "a secret text" in str(named(spans, "broken")["events"])


def test_spans_of_libraries_are_below_the_request_also_in_greenlets_and_threads(gateway, receiver):
    trace = "8" * 32
    assert gateway.get("/library", f"traceparent: 00-{trace}-{PARENT}-01").status == 200
    spans = receiver.of(trace, 6)
    handler = named(spans, "library")
    theirs = [span for span in spans if span["scope"] == "mylibrary"]
    assert sorted(span["name"] for span in theirs) == ["in greenlet", "in greenlet", "query"]
    assert {span["parent_id"] for span in theirs} == {handler["span_id"]}


def test_a_route_has_a_share_of_its_own(gateway, receiver):
    before = len(receiver.spans)
    gateway.get("/half")
    eventually(lambda: any(span["name"] == "GET /half" for span in receiver.spans[before:]), "the span")


def test_a_stranger_does_not_decide_what_is_sampled(tmp_path, receiver):
    trace = "9" * 32
    ini = INI.replace("parent = always", "parent = trusted")
    with running(tmp_path, receiver, "sample = 0%", ini=ini) as gateway:
        gateway.get("/", f"traceparent: 00-{trace}-{PARENT}-01")
        gateway.get("/half", f"traceparent: 00-{trace}-{PARENT}-01")
        eventually(lambda: [span for span in receiver.spans if (trace, PARENT) in span["links"]], "the link")
        receiver.settle(1.5)
    assert receiver.of(trace) == []
    (span,) = [span for span in receiver.spans if span["links"]]
    assert span["name"] == "GET /half" and span["parent_id"] == ""


def test_lines_of_the_error_log_have_the_id_of_the_trace(tmp_path, receiver):
    ini = INI.replace("[log]\n", "[log]\nerrors = json\n")
    with running(tmp_path, receiver, "sample = 0%", ini=ini) as gateway:
        trace = "b" * 32
        gateway.get("/broken", f"traceparent: 00-{trace}-{PARENT}-00")
        assert json.loads(gateway.wait_for_line("a handler failed"))["trace_id"] == trace


def test_the_environment_counts_where_the_section_is_silent(tmp_path, receiver):
    ini = "[log]\naccess = off\n[trace]\nsample = 100%\n[route:all]\npath = /\nrespond = 200\n"
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint.removesuffix("/v1/traces"),
        "OTEL_SERVICE_NAME": "of-the-environment",
    }
    with RunningGateway(ini, tmp_path, environ=environ) as gateway:
        gateway.wait_for_line("monitor: sends traces")
        gateway.get("/environment")
        found = {"service.name": "of-the-environment"}
        eventually(lambda: found in receiver.resources, "the resource")


@pytest.mark.parametrize("mode", ["fails", "hangs", "lies", "dead"])
def test_a_collector_that_fails_costs_spans_and_one_line(tmp_path, mode):
    with Receiver() as receiver:
        receiver.mode = mode
        ini = INI.replace("handlers = outer", "handlers = outer, metrics")
        more = "sample = 100%\ntimeout = 1s\nmax_rate = 100000/s"
        with running(tmp_path, receiver if mode != "dead" else None, more, ini=ini) as gateway:
            gateway.wait_for_line("monitor: sends traces")
            took = []
            for _ in range(300):
                began = time.monotonic()
                assert gateway.get("/").status == 200
                took.append(time.monotonic() - began)
            gateway.wait_for_line("traces: spans are lost")
            lost = 'gproxy_trace_spans_total{result="failed"}'
            eventually(lambda: gateway.metric(lost) > 0, "the count")
            began = time.monotonic()
            gateway.signal(15)
            gateway.wait()
            stopped = time.monotonic() - began
        assert stopped < 3
        assert sorted(took)[270] < 0.5
        assert gateway.errors.count("traces: spans are lost") == 1
        assert "Traceback" not in gateway.errors


def test_hedged_attempts_are_siblings_with_ids_of_their_own(tmp_path, receiver):
    def slow(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            time.sleep(1)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    trace = "d" * 32
    with Backend(slow) as first, Backend(answering()) as second:
        ini = INI.replace("DEAD", str(first.port)).replace("retries = 2", "balance = first\nhedge = 100ms\nretries = 2")
        with running(tmp_path, receiver, "", second.port, ini) as gateway:
            assert gateway.get("/users", f"traceparent: 00-{trace}-{PARENT}-01").status == 200
            spans = receiver.of(trace, 6)
        sent = {one.requests[0]["traceparent"] for one in (first, second)}
    attempts = [span for span in spans if span["kind"] == CLIENT]
    assert sent == {f"00-{trace}-{span['span_id']}-01" for span in attempts} and len(sent) == 2
    assert {span["parent_id"] for span in attempts} == {named(spans, "inner")["span_id"]}


def test_a_reload_changes_the_collector(tmp_path, receiver):
    with Receiver() as other, running(tmp_path, other, "sample = 100%") as gateway:
        gateway.wait_for_line("monitor: sends traces")
        gateway.get("/before")
        eventually(lambda: other.spans, "a span at the first collector")
        gateway.config.write_text(gateway.config.read_text().replace(other.endpoint, receiver.endpoint))
        gateway.reload()
        eventually(lambda: gateway.errors.count("monitor: sends traces") == 2, "another monitor")
        trace = "e" * 32
        gateway.get("/after", f"traceparent: 00-{trace}-{PARENT}-01")
        assert receiver.of(trace, 2)


def test_without_an_endpoint_the_fields_pass_unchanged(tmp_path, backend):
    ini = INI.replace("endpoint = ENDPOINT\nparent = always\n", "timing_token = 0123456789abcdef\n")
    with running(tmp_path, None, "", backend.port, ini) as gateway:
        assert gateway.get("/users", SAMPLED, "tracestate: a=1").status == 200
        assert "monitor" not in gateway.errors
    assert (backend.requests[-1]["traceparent"], backend.requests[-1]["tracestate"]) == (SAMPLED.split()[1], "a=1")


@pytest.fixture(scope="module")
def shown(tmp_path_factory, receiver):
    """A gateway with two workers and the admin listener."""
    ini = INI.replace("[trace]", "[server]\nworkers = 2\n[admin]\nbind = unix:{tmp}/admin.sock\n[trace]")
    with running(tmp_path_factory.mktemp("shown"), receiver, "sample = 0%", ini=ini) as gateway:
        gateway.wait_for_line("monitor: serves on")
        yield gateway


def test_traces_and_the_admin_listener_share_the_monitor(shown, receiver):
    trace = "f" * 32
    shown.get("/users", f"traceparent: 00-{trace}-{PARENT}-01")
    assert receiver.of(trace, 2)
    eventually(lambda: b'gproxy_trace_spans_total{result="sent"}' in metrics_of(shown), "the count")


def test_explain_shows_the_trace_of_a_request_that_failed(shown):
    trace = "ab" * 16
    identity = shown.get("/broken", f"traceparent: 00-{trace}-{PARENT}-00")["x-request-id"]
    command = [sys.executable, "-m", "gproxy", "explain", identity, "--admin", f"unix:{shown.folder}/admin.sock"]

    def explained():
        return forked.run(command, cwd=shown.folder, capture_output=True, text=True, timeout=60).stdout

    eventually(explained, "the monitor to know the request")
    assert re.search(rf"trace_id +{trace}\n", explained())


def test_spans_beyond_4096_are_dropped_and_counted_while_the_collector_hangs(tmp_path):
    with Receiver() as receiver:
        receiver.mode = "hangs"
        ini = INI.replace("handlers = outer", "handlers = outer, metrics")
        more = "sample = 100%\ntimeout = 60s\nmax_rate = 100000/s"
        with running(tmp_path, receiver, more, ini=ini) as gateway:
            gateway.wait_for_line("monitor: sends traces")
            for _ in range(17):  # of 252 spans each: fewer than fit into the queue and into what is being sent
                assert gateway.get("/many").status == 200
            eventually(lambda: receiver.requests, "what the collector got")
            dropped = 'gproxy_trace_spans_total{result="dropped"}'
            assert gateway.metric(dropped) == 0
            for _ in range(8):
                assert gateway.get("/many").status == 200
            eventually(lambda: gateway.metric(dropped) > 1000, "the count")


def test_a_bucket_names_a_trace_that_the_collector_has(shown, receiver):
    for number in range(4):  # each over a connection of its own, perhaps to the other worker
        trace = f"{number + 1:032x}"
        shown.get("/pause", f"traceparent: 00-{trace}-{PARENT}-01")
        shown.get("/pause")  # is not sampled
        eventually(lambda trace=trace: trace in [one for one, _, _ in exemplars_of(shown, "pause")], "the exemplar")
        assert receiver.of(trace)
    shown.get("/half")
    eventually(lambda: exemplars_of(shown, "half"), "the exemplar of another route")
    found = exemplars_of(shown, "pause") + exemplars_of(shown, "half")
    assert all(receiver.of(trace) for trace, _, _ in found)
    assert all(bound / 10 < value <= bound for _, value, bound in found if bound < float("inf"))
    assert all(value > 0.2 for _, value, _ in exemplars_of(shown, "pause"))
    assert b"trace_id" not in metrics_of(shown)


def exemplars_of(gateway, route):
    """The trace and the value of each exemplar of a route, with the bucket's upper bound."""
    page = metrics_of(gateway, "application/openmetrics-text; version=1.0.0")
    return [
        (sample.exemplar.labels["trace_id"], sample.exemplar.value, float(sample.labels["le"]))
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.exemplar is not None and sample.labels["route"] == route
    ]


def metrics_of(gateway, accept="*/*"):
    connection = AdminClient.of(str(gateway.config), None).connection()
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        return connection.getresponse().read()
    finally:
        connection.close()
