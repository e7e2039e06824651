"""The metrics of an upstream and its backends."""

from types import SimpleNamespace

import pytest

from gproxy.config.types import BackendURL
from gproxy.observe.metrics import EXPIRES_AFTER, Metrics
from gproxy.upstream.upstream_metrics import UpstreamMetrics
from unit.upstream.backends import backend_of


@pytest.fixture
def backend():
    return backend_of(BackendURL.parse("http://a.test:81"), keepalive=1, connect_timeout=1)


@pytest.fixture
def metrics():
    return Metrics()


def values(metrics):
    return {(row.name.removeprefix("gproxy_"), *row.labels[1:]): row.value for row in metrics.read()}


def test_the_metrics_follow_the_counts(backend, metrics):
    UpstreamMetrics("u", metrics).add(backend)
    backend.attempts, backend.failures, backend.times_ejected, backend.active = 4, 3, 2, 1
    assert values(metrics) == {
        ("backend_attempts_total", "a.test:81"): 4,
        ("backend_failures_total", "a.test:81"): 3,
        ("backend_ejections_total", "a.test:81"): 2,
        ("backend_active", "a.test:81"): 1,
        ("backend_healthy", "a.test:81", "1"): 1,
    }
    backend.health.eject(105.0, "reset")
    assert values(metrics)["backend_healthy", "a.test:81", "1"] == 0


def test_a_removed_backend_leaves_after_ten_minutes(backend, metrics):
    now = [0.0]
    metrics.clock = lambda: now[0]
    made = UpstreamMetrics("u", metrics)
    made.add(backend)
    made.remove(backend)
    assert len(values(metrics)) == 5
    now[0] = EXPIRES_AFTER + 1
    assert values(metrics) == {}


def test_exchanges_connects_and_waits_are_timed_once_metrics_are_read(backend, metrics):
    made, limit = UpstreamMetrics("u", metrics), SimpleNamespace(observe_wait=None)
    made.measure([backend], limit)
    backend.observer(0.25, True)
    backend._observe_connect(0.5)
    limit.observe_wait(0.75)
    assert values(metrics) == {
        ("backend_duration_seconds",): 0.25,
        ("connect_duration_seconds",): 0.5,
        ("queue_wait_seconds",): 0.75,
    }


@pytest.mark.parametrize(("state", "number"), [("closed", 0), ("trial", 1), ("recovering", 1), ("open", 2)])
def test_breaker_queue_and_pool(backend, metrics, state, number):
    made = UpstreamMetrics("u", metrics)
    backend.active = 2
    made.watch([backend], SimpleNamespace(state=state), SimpleNamespace(queued=3))
    assert values(metrics) == {
        ("pool_connections", "active"): 2,
        ("pool_connections", "idle"): 0,
        ("breaker_state",): number,
        ("queue_depth",): 3,
    }
