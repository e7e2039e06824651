"""The series that one exchange adds to."""

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.route_action import RedirectTarget, UpstreamShare
from gproxy.gateway.request_metrics import RequestMetrics
from gproxy.http.exchange import Exchange
from gproxy.observe.metrics import Metrics


class Scene:
    """Request metrics over fresh metrics."""

    def __init__(self, *routes):
        self.metrics = Metrics()
        self.requests = RequestMetrics(self.metrics, routes)

    def record(self, status=200, *, route="r", reason="", tries=1, received=0, duration=0.5, size=10):
        exchange = Exchange(0.0, "192.0.2.1", "GET", "/", "HTTP/1.1")
        exchange.status, exchange.route, exchange.reason, exchange.tries = status, route, reason, tries
        exchange.bytes_received, exchange.bytes_sent, exchange.duration = received, size, duration
        self.requests.record(exchange)

    def names(self):
        return {(row.name.removeprefix("gproxy_"), *row.labels) for row in self.metrics.read()}

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


def test_series_of_known_routes_exist_from_the_start_and_are_the_ones_that_count():
    upstream, target = (UpstreamShare("u", 1),), RedirectTarget.parse("https://a.test")
    some = Scene(
        RouteSettings("r", upstream=upstream),
        RouteSettings("fixed", respond=204),
        RouteSettings("no", respond=403),
        RouteSettings("to", redirect=target, status=308),
    )
    before = some.names()
    assert {name for name in before if name[0] == "requests_total"} == {
        ("requests_total", "r", "200", ""),
        ("requests_total", "r", "502", "connect_refused"),
        ("requests_total", "r", "503", "none_available"),
        ("requests_total", "r", "504", "backend_timeout"),
        ("requests_total", "fixed", "204", ""),
        ("requests_total", "no", "403", "fixed"),
        ("requests_total", "to", "308", ""),
    }
    some.record()
    some.record(502, reason="connect_refused")
    assert some.names() == before
    assert (
        some.value("requests_total", "r", "200", "") == some.value("requests_total", "r", "502", "connect_refused") == 1
    )


def test_series_of_very_many_routes_leave_room_for_others():
    names = Scene(*(RouteSettings(str(number), respond=200) for number in range(1001))).names()
    assert ("retries_total", "999") in names
    assert ("retries_total", "1000") not in names


def test_attempts_beyond_the_first_are_retries():
    some = Scene()
    for tries in (0, 1, 3):
        some.record(tries=tries)
    assert some.value("retries_total", "r") == 2


def test_bytes_that_are_no_request_count_without_a_route():
    some = Scene()
    some.record(400, route="", reason="bad_request", tries=0, size=20)
    assert some.value("requests_total", "", "400", "bad_request") == 1
    assert some.value("response_bytes_total", "") == 20
