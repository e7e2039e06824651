"""Look-ups that are kept: what the service behind them gets, and what the clients get while it fails."""

import threading

from gproxy.testing.backends import Held, reply
from gproxy.testing.gateway import eventually

INI = """
[gateway]
timeout = 5s
handlers = health, metrics
[handler:health]
cache = 0s
[route:all]
path = /
handlers = plan
respond = 404
[handler:plan]
use = handlers:Plan
[upstream:plans]
backends = {plans}
max_fails = 0
max_requests = 2
"""
BACKENDS = "plans"
HANDLERS = """
from gproxy import HTTPError, Response
from gproxy.state.cached import cached

class Plan:
    def open(self, runtime):
        self.plans = runtime.upstream("plans")

    @cached(ttl="200ms", stale="500ms")
    def plan(self, tenant):
        answer = self.plans.request("GET", f"/plans/{tenant}", timeout=4)
        if answer.status != 200:
            raise HTTPError(503, "the plan is not known", reason="plan_unknown")
        return answer.read()

    def __call__(self, request, next):
        return Response(200, self.plan(request.path))
"""


def test_two_hundred_clients_at_once_cost_the_service_one_request(play):
    held = Held(reply(b"gold"))
    play.plans.act = held
    wires = [play.gateway.connect() for _ in range(200)]
    try:
        for wire in wires:
            wire.send("GET /many HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.asked.acquire(timeout=10)
        eventually(lambda: play.gateway.metric("gproxy_requests_in_flight") > 200, "all clients")
        held.go.set()
        assert {wire.read_response().body for wire in wires} == {b"gold"}
    finally:
        for wire in wires:
            wire.sock.close()
    assert len(play.plans.requests) == 1


def test_the_client_that_came_first_may_leave(play):
    held = Held(reply(b"silver"))
    play.plans.act = held
    bodies = []
    with play.gateway.connect() as wire:
        wire.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.asked.acquire(timeout=10)
        second = threading.Thread(target=lambda: bodies.append(play.gateway.get("/left").body))
        second.start()
        eventually(lambda: play.gateway.metric("gproxy_requests_in_flight") > 2, "the second client")
    held.go.set()
    second.join()
    assert (bodies, len(play.plans.requests)) == ([b"silver"], 1)


def test_a_client_that_leaves_while_it_waits_is_seen_at_once(play):
    held = Held(reply(b"bronze"))
    play.plans.act = held
    with play.gateway.connect() as wire:
        wire.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.asked.acquire(timeout=10)
    eventually(lambda: [one for one in play.gateway.access() if one["status"] == "499"], "a 499 while the call runs")
    held.go.set()


def test_a_failing_service_gives_the_stale_value_then_its_error(play):
    play.plans.act = reply(b"gold")
    assert play.gateway.get("/stale").body == b"gold"
    play.plans.act = reply(b"no", status="500 Broken")
    eventually(lambda: play.gateway.get("/stale").body == b"gold" and len(play.plans.requests) > 1, "a stale value")
    eventually(lambda: play.gateway.get("/stale").status == 503, "the error")
    assert play.gateway.line("/stale")["reason"] in {"-", "plan_unknown"}
    assert "Plan.plan fails: HTTPError 503 the plan is not known; the last result stands in" in play.gateway.errors
    play.plans.act = reply(b"back")
    assert play.gateway.get("/stale").body == b"back"
