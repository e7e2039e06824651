"""The aggregation in docs/handlers.md, as printed, with real backends."""

import json
import re
import time
from pathlib import Path

import pytest

from gproxy.testing.backends import Actor, Held, reply
from gproxy.testing.gateway import RunningGateway

PAGE = (Path(__file__).parents[2] / "docs/handlers.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
HEALTH = """
[gateway]
handlers = health
[handler:health]
cache = 0s
"""


@pytest.fixture
def overview(tmp_path):
    """The gateway of the page with its handlers, and its two backends."""
    (ini,) = (text for language, text in BLOCKS if language == "ini" and "[route:overview]" in text)
    code = [text for language, text in BLOCKS if language == "python" and not text.startswith("# test_")]
    (tmp_path / "handlers.py").write_text("\n".join(code))
    with Actor() as users, Actor() as orders:
        users.act = reply(b'{"name": "Ann"}')
        orders.act = reply(b"[1, 2]")
        text = ini.replace("http://localhost:5001", users.url).replace("http://localhost:5002", orders.url)
        with RunningGateway(HEALTH + text, tmp_path) as gateway:
            yield gateway, users, orders
            gateway.wait_until_idle()


@pytest.fixture
def stopwatch():
    return Stopwatch()


class Stopwatch:
    def __enter__(self):
        self.started = time.monotonic()

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.started


def slowly(seconds, body):
    def act(peer, request):
        time.sleep(seconds)
        reply(body)(peer, request)

    return act


def test_it_takes_the_time_of_the_slower_service(overview, stopwatch):
    gateway, users, orders = overview
    users.act, orders.act = slowly(0.5, b'{"name": "Ann"}'), slowly(0.25, b"[1]")
    with stopwatch:
        answer = gateway.get("/users/7")
    assert json.loads(answer.body) == {"name": "Ann", "orders": [1]}
    assert 0.5 <= stopwatch.seconds < 0.7
    assert orders.requests[0].line == "GET /orders/7 HTTP/1.1"


def test_a_service_that_hangs_is_left_out_in_its_limit(overview, stopwatch):
    gateway, _, orders = overview
    orders.act = held = Held()
    with stopwatch:
        answer = gateway.get("/users/7")
    assert json.loads(answer.body) == {"name": "Ann", "orders": None}
    assert 0.3 <= stopwatch.seconds < 1.0
    gateway.wait_until_idle()  # while the service still hangs
    held.go.set()


def test_without_the_user_there_is_the_failure(overview, stopwatch):
    gateway, users, _ = overview
    users.act = held = Held()
    with stopwatch:
        answer = gateway.get("/users/7")
    assert (answer.status, gateway.line("/users/7")["reason"]) == (504, "backend_timeout")
    assert 1.0 <= stopwatch.seconds < 2.0
    held.go.set()
