"""The gateway of gproxy.ini with the new app, without sockets."""

import pytest
from gproxy.testing import answer


@pytest.fixture
def alice(gproxy):
    return {"Authorization": f"Bearer {gproxy.token('alice')}"}


def test_the_new_app_answers_its_urls(gproxy, alice):
    old = gproxy.backend("old")
    assert gproxy.get("/api/cart", alice).json() == {"by": "the new app", "user": "alice"}
    order = gproxy.post(
        "/api/orders", {"lines": [{"count": 2}, {"count": 3}]}, alice | {"Content-Type": "application/json"}
    )
    assert (order.status, order.json()["items"]) == (201, 5)
    assert old.requests == []


def test_the_old_service_answers_the_others(gproxy, alice):
    old = gproxy.backend("old", answer(200, b"an invoice"))
    assert gproxy.post("/api/invoices", b"for May", alice).body == b"an invoice"
    assert old.requests[0].body.buffer(100) == b"for May"
    assert old.requests[0].headers["X-User-ID"] == "alice"


def test_no_token_no_app(gproxy):
    assert gproxy.get("/api/cart").status == 401
    assert gproxy.get("/api/cart", {"X-User-ID": "mallory"}).status == 401


def test_the_front_end_needs_no_token(gproxy):
    assert b"<h1>Shop</h1>" in gproxy.get("/").body
    assert gproxy.get("/orders/17").body == gproxy.get("/").body


def test_the_limit_reports(gproxy, alice):
    statuses = {gproxy.get("/api/cart", alice).status for _ in range(150)}
    assert statuses == {200}
    assert sum("report" in line and line["report"] == "limit=429" for line in gproxy.lines) == 50
