"""The series that one exchange adds to."""

from types import SimpleNamespace

from gproxy.gateway.request_metrics import RequestMetrics
from gproxy.http.body import Body
from gproxy.observe.metrics import Metrics
from gproxy.testing import request


class Scene:
    """Request metrics over fresh metrics, with what was recorded."""

    def __init__(self):
        self.metrics = Metrics()
        self.recorded = []
        self.requests = RequestMetrics(self.metrics, lambda *facts: self.recorded.append(facts))

    def record(self, status=200, *, route="r", reason="", tries=1, received=0, duration=0.5, size=10):
        made = request()
        made.route = SimpleNamespace(name=route) if route else None
        made.reason, made.tries = reason, tries
        if received:
            made.body = Body(b"")
            made.body.received = received
        self.requests.record(made, status, duration, size)
        return made

    def value(self, name, *labels):
        rows = [row for row in self.metrics.read() if (row.name, row.labels) == (f"gproxy_{name}", labels)]
        return rows[0].cells[0] if rows else 0


def test_requests_are_counted_by_route_status_and_reason():
    some = Scene()
    some.record()
    some.record()
    some.record(502, reason="backend_reset")
    some.record(404, route="", reason="no_route")
    assert some.value("requests_total", "r", "200", "") == 2
    assert some.value("requests_total", "r", "502", "backend_reset") == 1
    assert some.value("requests_total", "", "404", "no_route") == 1


def test_durations_and_bytes_add_up():
    some = Scene()
    some.record(duration=0.5, size=10, received=3)
    some.record(duration=0.25, size=5)
    assert some.value("request_duration_seconds", "r") == 0.75
    assert some.value("response_bytes_total", "r") == 15
    assert some.value("request_bytes_total", "r") == 3


def test_attempts_beyond_the_first_are_retries():
    some = Scene()
    for tries in (0, 1, 3):
        some.record(tries=tries)
    assert some.value("retries_total", "r") == 2


def test_each_request_is_recorded_as_before():
    some = Scene()
    made = some.record(204, duration=0.5, size=7)
    assert some.recorded == [(made, 204, 0.5, 7)]


def test_what_is_no_request_counts_but_is_not_recorded():
    some = Scene()
    some.requests.count("", 400, "bad_request", 0.1, 20)
    assert some.value("requests_total", "", "400", "bad_request") == 1
    assert some.value("response_bytes_total", "") == 20
    assert some.recorded == []
