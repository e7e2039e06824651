import gc
import json
import os
from ipaddress import ip_network

import pytest
from gevent import spawn

from gproxy.config.types import Seconds
from gproxy.handlers.health import Health
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runtime(clock):
    return Runtime(monotonic=clock)


@pytest.fixture
def handler(runtime):
    made = Health()
    made.open(runtime)
    return made


def report(handler, path="/health"):
    return json.loads(handler(request("GET", path, client="127.0.0.1"), answer()).body)


def backend(state):
    return {"backend": "127.0.0.1:5001", "state": state}


def test_the_report(handler, runtime, clock):
    runtime.backends = lambda: {"users": [backend("healthy")]}
    clock.advance(12.5)
    behind = answer()
    response = handler(request("GET", "/health", client="::1"), behind)
    content = json.loads(response.body)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert content["status"] == "up"
    assert content["uptime"] == 12.5
    assert (content["worker"], content["pid"]) == (1, os.getpid())
    assert content["memory"] > 1_000_000
    assert content["greenlets"] >= 0
    assert content["upstreams"] == {"users": [backend("healthy")]}
    assert behind.requests == []


def test_other_clients_see_no_address_no_process_id_and_no_reason(handler, runtime):
    runtime.backends = lambda: {"users": [backend("healthy"), backend("unhealthy") | {"why": "refused"}]}
    runtime.admission = lambda: {"users": {"breaker": "closed"}}
    response = handler(request("GET", "/health", client="192.0.2.1"), answer())
    content = json.loads(response.body)
    assert set(content) == {"status", "uptime", "memory", "greenlets", "upstreams"}
    assert content["upstreams"] == {"users": {"healthy": 1, "backends": 2}}
    assert set(report(handler)) == {*content, "worker", "pid", "admission"}


@pytest.mark.parametrize(("client", "sees"), [("10.1.2.3", True), ("unix", True), ("127.0.0.1", False), ("::1", False)])
def test_details_are_for_the_networks_that_are_listed(runtime, client, sees):
    handler = Health(details=(ip_network("10.0.0.0/8"),))
    handler.open(runtime)
    found = json.loads(handler(request("GET", "/health", client=client), answer()).body)
    assert ("pid" in found) is sees


def test_living_greenlets_are_counted(handler, clock):
    spawn(lambda: None).join()  # starts the hub, a greenlet too
    gc.collect()
    before = report(handler)["greenlets"]
    clock.advance(2)
    some = [spawn(lambda: None) for _ in range(7)]
    clock.advance(2)
    assert report(handler)["greenlets"] == before + 7
    for greenlet in some:
        greenlet.join()
    clock.advance(2)
    assert len(some) == 7  # still here, but not alive
    assert report(handler)["greenlets"] == before


def test_figures_are_cached_for_a_second_and_the_state_is_not(handler, runtime, clock, monkeypatch):
    walks = []
    monkeypatch.setattr(runtime.process, "greenlets", lambda: walks.append(1) or 5)
    for _ in range(5):
        report(handler)
        clock.advance(0.125)
    assert len(walks) == 1
    runtime.backends = lambda: {"users": [backend("ejected")]}
    assert report(handler)["status"] == "degraded"
    assert len(walks) == 1
    clock.advance(1)
    report(handler)
    assert len(walks) == 2


def test_without_a_cache_figures_are_measured_every_time(runtime, monkeypatch):
    walks = []
    monkeypatch.setattr(runtime.process, "greenlets", lambda: walks.append(1) or 5)
    handler = Health(cache=Seconds(0.0))
    handler.open(runtime)
    report(handler)
    report(handler)
    assert len(walks) == 2


@pytest.mark.parametrize(
    ("upstreams", "status"),
    [
        ({}, "up"),
        ({"a": [backend("healthy"), backend("down")]}, "up"),
        ({"a": [backend("healthy (unprobed)")]}, "up"),
        ({"a": [backend("healthy")], "b": [backend("unhealthy")]}, "degraded"),
        ({"a": []}, "degraded"),
    ],
)
def test_degraded_is_an_upstream_without_a_healthy_backend(handler, runtime, upstreams, status):
    runtime.backends = lambda: upstreams
    assert report(handler)["status"] == status


def key_set(state, **changes):
    return {"name": "https://id.example", "state": state, "age": 12.5, "count": 2, "last_error": "", **changes}


def test_key_sets_are_reported_by_issuer(handler, runtime):
    assert "keys" not in report(handler)
    runtime.keys = lambda: [key_set("stale", last_error="timeout after 5 s")]
    assert report(handler)["keys"] == {
        "https://id.example": {"state": "stale", "age": 12.5, "count": 2, "last_error": "timeout after 5 s"}
    }
    others = json.loads(handler(request("GET", "/health", client="192.0.2.1"), answer()).body)
    assert others["status"] == "degraded"
    assert "keys" not in others


@pytest.mark.parametrize(("state", "status"), [("fresh", "up"), ("stale", "degraded"), ("missing", "degraded")])
def test_degraded_is_a_key_set_that_is_not_fresh_and_ready_does_not_depend_on_it(handler, runtime, state, status):
    runtime.keys = lambda: [key_set("fresh", name="other"), key_set(state)]
    assert report(handler)["status"] == status
    assert handler(request("GET", "/ready"), answer()).status == 200


def test_while_draining_it_lives_and_is_not_ready(handler, runtime):
    assert handler(request("GET", "/ready"), answer()).status == 200
    assert report(handler, "/ready") == {"status": "ready"}
    runtime.stopping = True
    assert report(handler)["status"] == "draining"
    response = handler(request("GET", "/ready"), answer())
    assert (response.status, json.loads(response.body)) == (503, {"status": "draining"})
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/", "/healthy", "/health/", "/health/x", "/users"])
def test_other_paths_reach_the_next_step(handler, path):
    behind = answer(204)
    assert handler(request("GET", path), behind).status == 204
    assert len(behind.requests) == 1


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_methods(handler, path):
    assert handler(request("HEAD", path + "?x=1"), answer(404)).status == 200
    with pytest.raises(HTTPError) as caught:
        handler(request("POST", path), answer())
    assert (caught.value.status, caught.value.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"path": "health"}, "path"),
        ({"ready_path": ""}, "ready_path"),
        ({"path": "/x", "ready_path": "/x"}, "ready_path"),
    ],
)
def test_wrong_options(options, option):
    with pytest.raises(ValueError, match=f"^{option}: "):
        Health(**options)
