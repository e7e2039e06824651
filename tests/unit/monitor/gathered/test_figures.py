"""The figures from the counters: rates, errors, percentiles, the last minute, the last use, ejections."""

import random

import pytest

from gproxy.monitor.gathered.changes import Changes
from gproxy.monitor.gathered.figures import Figures
from gproxy.monitor.gathered.history import Figure, History
from gproxy.monitor.gathered.reading import Reading
from gproxy.observe.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics()


class Watching:
    """Figures over the metrics of this process, with a clock that the test moves."""

    def __init__(self, metrics):
        self.now = 1000.0
        self.figures = Figures(metrics.read, History(60), Changes(lambda: self.now))
        self.metrics = metrics

    def second(self):
        self.now += 1
        self.figures.sample(self.now, 1_000_000 + self.now)

    def serve(self, count, route="users", status=200, reason="", seconds=0.02):
        self.metrics.series("gproxy_requests_total", route, str(status), reason).cells[0] += count
        for _ in range(count):
            self.metrics.series("gproxy_request_duration_seconds", route).observe(seconds)


@pytest.fixture
def watching(metrics):
    made = Watching(metrics)
    made.serve(100)  # before the monitor began
    made.second()
    return made


def test_rates_count_from_the_second_sample_on(watching):
    assert watching.figures.latest == {}
    watching.serve(5)
    watching.serve(2, status=502, reason="connect_refused")
    watching.serve(3, status=429, reason="rate_limited")
    watching.second()
    latest = watching.figures.latest
    assert (latest["requests"], latest["errors"]) == (10.0, 2.0)
    assert latest["reasons"] == {"connect_refused": 2.0, "rate_limited": 3.0}
    watching.second()
    assert watching.figures.latest["requests"] == 0.0
    assert watching.figures.latest["reasons"] == {}


def test_percentiles_follow_the_last_seconds_and_end_without_requests(watching):
    watching.serve(95, seconds=0.004)
    watching.serve(5, seconds=0.9)
    watching.second()
    latest = watching.figures.latest
    assert 0.0025 <= latest["p50"] <= 0.005
    assert 0.5 <= latest["p99"] <= 1.0
    for _ in range(120):
        watching.second()
    assert "p50" not in watching.figures.latest


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_within_15_percent_of_the_truth(watching, seed):
    chance = random.Random(seed)
    durations = sorted(chance.lognormvariate(-3.5 + seed / 2, 0.8) for _ in range(5000))
    for seconds in durations:
        watching.serve(1, route="known", seconds=seconds)
    watching.second()
    minute = watching.figures.last_minute("route")["known"]
    for share, found in ((0.5, minute.p50), (0.95, minute.p95), (0.99, minute.p99)):
        assert found == pytest.approx(durations[round(share * 5000) - 1], rel=0.15)


def test_the_last_minute_forgets_what_is_older(watching):
    watching.serve(60)
    watching.serve(6, status=500, reason="handler_error")
    for _ in range(30):
        watching.second()
    minute = watching.figures.last_minute("route")["users"]
    assert (minute.requests, minute.errors) == (66.0, 6.0)
    assert minute.rate == pytest.approx(66 / 30)
    assert 0.01 <= minute.p50 <= 0.025
    for _ in range(45):
        watching.second()
    assert watching.figures.last_minute("route")["users"].requests == 0.0


def test_the_last_minute_changes_with_each_sample(watching):
    for count in (1, 2, 3):
        watching.serve(1)
        watching.second()
        assert watching.figures.last_minute("route")["users"].requests == count


def test_the_last_use_of_a_route_is_known(watching):
    assert watching.figures.last_use(["users"]) is None
    watching.serve(1)
    watching.second()
    used = watching.now
    watching.second()
    assert watching.figures.last_use(["users", "never"]) == 1_000_000 + used


def test_routes_and_upstreams_have_a_history_of_their_own(watching):
    watching.serve(4)
    watching.metrics.series("gproxy_backend_attempts_total", "shop", "10.0.0.1:80").cells[0] += 3
    watching.metrics.series("gproxy_backend_failures_total", "shop", "10.0.0.1:80").cells[0] += 1
    watching.second()
    found = dict(watching.figures.history.read())
    assert found[Figure("requests", "route", "users")] == [4.0]
    assert found[Figure("errors", "upstream", "shop")] == [1.0]


def test_an_ejection_is_a_change(watching):
    watching.metrics.series("gproxy_backend_ejections_total", "shop", "10.0.0.1:80").cells[0] += 1
    watching.second()
    watching.second()
    (change,) = watching.figures.changes.since()
    assert (change.kind, change.text) == ("ejected", "10.0.0.1:80 of upstream shop was ejected")


def test_a_counter_that_began_anew_has_no_negative_rate():
    before, after = (Reading(when, {"a": {(): [value]}}) for when, value in ((0.0, 100.0), (1.0, 3.0)))
    assert after.since(before).total("a") == 0.0


def test_a_reading_shares_what_has_not_changed_with_the_one_before(metrics):
    metrics.series("gproxy_request_duration_seconds", "idle").observe(0.1)
    metrics.series("gproxy_request_duration_seconds", "busy").observe(0.1)
    before = Reading.of(1.0, metrics.read())
    metrics.series("gproxy_request_duration_seconds", "busy").observe(0.1)
    after = Reading.of(2.0, metrics.read(), before)
    found = [reading.series("gproxy_request_duration_seconds") for reading in (before, after)]
    assert found[0]["idle",] is found[1]["idle",]
    assert found[0]["busy",] != found[1]["busy",]
    growth = after.since(before).series("gproxy_request_duration_seconds")
    assert (sum(growth["idle",]), sum(growth["busy",][1:])) == (0.0, 1.0)
