"""The gateway of gproxy.ini, without sockets and in virtual time."""

import json
import math

from gproxy import Response
from gproxy.testing import answer, reset, slow

ORDERS = answer(200, b'{"items": [1, 2, 3]}')


def users(request):
    """Answer as the service of users and plans does: with the path that was asked for."""
    return Response(200, json.dumps({"path": request.path}).encode())


def test_both_answer(gproxy):
    gproxy.backend("users", users)
    gproxy.backend("orders", ORDERS)
    assert gproxy.get("/overview/alice").json() == {"user": "/users/alice", "orders": 3, "plan": "/plans/alice"}


def test_late_orders_are_missing(gproxy):
    gproxy.expect_warning("did not respond in time")
    gproxy.backend("users", users)
    gproxy.backend("orders", slow(math.inf))
    response = gproxy.get("/overview/alice")
    assert (response.status, response.json()["orders"]) == (200, None)
    assert 0.3 <= gproxy.line["duration"] < 0.4


def test_broken_orders_are_missing(gproxy):
    gproxy.expect_warning("closed the connection")
    gproxy.backend("users", users)
    gproxy.backend("orders", reset())
    assert gproxy.get("/overview/alice").json()["orders"] is None


def test_a_missing_user_is_what_the_service_says(gproxy):
    gproxy.backend("users", lambda request: answer(404) if request.path.startswith("/users") else users(request))
    gproxy.backend("orders", ORDERS)
    assert gproxy.get("/overview/nobody").status == 404


def test_a_plan_is_asked_for_once(gproxy):
    service = gproxy.backend("users", users)
    gproxy.backend("orders", ORDERS)
    for _ in range(20):
        assert gproxy.get("/overview/alice").status == 200
    assert [request.path for request in service.requests].count("/plans/alice") == 1
    gproxy.clock.advance(31)
    gproxy.get("/overview/alice")
    assert [request.path for request in service.requests].count("/plans/alice") == 2
