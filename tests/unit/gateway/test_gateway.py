"""The gateway, called without a connection."""

import math
import time

import jwt
import pytest

from gproxy.gateway.build import build, load
from gproxy.http.deadline import Deadline
from gproxy.http.errors import BadMessage
from gproxy.http.exchange import Exchange
from gproxy.runtime import Runtime
from gproxy.testing import request

OWN = """
from gproxy import Response

def moves(request, next):
    request.path = request.headers.get("To", "/long")
    request.method = "GET"
    return next(request)

def tells(request, next):
    left = f"{request.deadline.remaining():.0f}".encode()
    return Response(200, iter([left]) if "pieces" in request.headers else left)
"""
INI = """
[gateway]
handlers = moves
timeout = 3s
[route:short]
path = /short
respond = 200
[route:long]
path = /long
timeout = 30s
handlers = tells
methods = GET
respond = 200
[route:endless]
path = /endless
timeout = 30s
handlers = tells
methods = GET
stream = yes
respond = 200
[handler:moves]
use = own_of_test_gateway:moves
[handler:tells]
use = own_of_test_gateway:tells
[log]
access = off
"""


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "own_of_test_gateway.py").write_text(OWN)
    (tmp_path / "gproxy.ini").write_text(INI)
    settings = load(tmp_path / "gproxy.ini")
    return build(settings, Runtime.of(settings))


@pytest.mark.parametrize(("method", "path"), [("GET", "/short"), ("GET", "/nowhere"), ("POST", "/long")])
def test_a_request_led_to_another_route_has_the_timeout_of_that_route(gateway, method, path):
    assert gateway(request(method, path)).body == b"30"


class Alarm:
    """Keeps the last limit that was set."""

    limit = None

    def set(self, expires, limit):
        self.limit = limit


def asked_for_pieces(method, path, **headers):
    asked = request(method, path, {"Pieces": "yes", **headers})
    alarm = Alarm()
    asked.deadline = Deadline(alarm)
    return asked, alarm


@pytest.mark.parametrize(("method", "path"), [("GET", "/short"), ("GET", "/nowhere"), ("POST", "/endless")])
def test_a_request_led_to_a_route_with_streams_has_tunnel_timeout_after_the_head(gateway, method, path):
    asked, alarm = asked_for_pieces(method, path, To="/endless")
    assert list(gateway(asked).body) == [b"30"]
    assert asked.deadline.expires == math.inf
    assert str(alarm.limit) == "3600 s, tunnel_timeout of [route:endless]"


def test_a_request_led_from_a_route_with_streams_has_the_limits_of_its_last_route(gateway):
    asked, alarm = asked_for_pieces("GET", "/endless")
    assert list(gateway(asked).body) == [b"30"]
    assert str(alarm.limit) == "30 s, timeout of [route:long]"


def test_a_body_that_is_complete_keeps_the_deadline(gateway):
    asked = request("GET", "/endless")
    assert gateway(asked).body == b"30"
    assert asked.deadline.remaining() > 20
    assert asked.deadline.expires != math.inf


@pytest.fixture
def noting(tmp_path):
    """The gateway with fields that need the request and the response."""
    (tmp_path / "own_of_test_gateway.py").write_text(OWN)
    fields = "query, scheme, tls, request.To, request.Referer, response.X-Request-ID, response.Content-Type"
    (tmp_path / "gproxy.ini").write_text(f"{INI}fields = {fields}\n")
    settings = load(tmp_path / "gproxy.ini")
    return build(settings, Runtime.of(settings))


def test_fields_of_request_and_response_are_noted(noting):
    asked = request("GET", "/short?a=1", {"To": "/nothing", "Referer": "http://r/?secret=1"})
    assert noting(asked).status == 404
    noted = ["a=1", "http", "", "/nothing", "http://r/", "test", "application/problem+json"]
    assert asked.exchange.noted == noted


def test_a_gateway_for_a_listener_notes_too(noting):
    asked = request("GET", "/short?a=1", {"To": "/short"})
    noting.with_router(noting.router)(asked)
    assert asked.exchange.noted[0] == "a=1"


def test_a_rejected_request_has_the_response_s_fields(noting):
    exchange = Exchange.rejected("192.0.2.1", ("GET", "/", "HTTP/1.1"))
    noting.reject(BadMessage("wrong"), exchange)
    assert exchange.noted == ["", "", "", "", "", exchange.id, "application/problem+json"]


def test_fields_that_the_exchange_has_are_not_noted(gateway):
    asked = request("GET", "/short", {"To": "/short"})
    gateway(asked)
    assert asked.exchange.noted == []


class Single:
    def __init__(self, runtime):
        self.runtime = runtime
        self.seen = []

    def open(self):
        self.seen.append("opened")

    def close(self):
        self.seen.append("closed")


def test_what_handlers_share_opens_and_closes_once_after_them(gateway, monkeypatch):
    def open_handler(runtime):
        runtime.single(Single).seen.append("handler opened")

    def close_handler():
        gateway.runtime.single(Single).seen.append("handler closed")

    monkeypatch.setattr(moves := gateway.handlers["moves"], "open", open_handler, raising=False)
    monkeypatch.setattr(moves, "close", close_handler, raising=False)
    gateway.open()
    gateway.close()
    assert gateway.runtime.single(Single).seen == ["handler opened", "opened", "handler closed", "closed"]


# --- what has only been reported, before a handler leads the request to a route that enforces it

SECRET = "0123456789abcdef0123456789abcdef"
OTHER = """
from copy import copy

def leads(request, next):
    made = copy(request) if "Copied" in request.headers else request
    made.path, made.method = "/strict", "GET"
    return next(made)
"""
REPORTED = f"""
[gateway]
handlers = token, network, limit, leads
[trace]
timing_token = watch-me-with-sixteen-bytes
[handler:token]
use = jwt
algorithms = HS256
secret = {SECRET}
[handler:network]
use = allow
allow = 192.0.2.0/24
[handler:limit]
use = rate_limit
limit = 2/hour
[handler:leads]
use = other_of_test_gateway:leads
[route:easy]
path = /easy
methods = GET
report = token, network, limit
respond = 200
[route:also]
path = /also
methods = GET
report = token, network, limit
respond = 200
[route:strict]
path = /strict
respond = 204
[log]
access = off
"""


def signed(method, path, secret, client, headers):
    token = jwt.encode({"sub": "alice", "exp": time.time() + 60}, secret, "HS256")
    return request(method, path, {"Authorization": f"Bearer {token}", **headers}, client=client)


@pytest.fixture(params=["plain", "watched"])
def led(request, tmp_path):
    """Ask the gateway whose handler leads each request to /strict, by the plain or the watched chain."""
    timing = {"X-Gproxy-Timing": "watch-me-with-sixteen-bytes"} if request.param == "watched" else {}
    (tmp_path / "other_of_test_gateway.py").write_text(OTHER)
    (tmp_path / "gproxy.ini").write_text(REPORTED)
    settings = load(tmp_path / "gproxy.ini")
    gateway = build(settings, Runtime.of(settings))

    def ask(method="GET", path="/easy", token=SECRET, client="192.0.2.1", **headers):
        return gateway(signed(method, path, token, client, {**timing, **headers}))

    return ask


@pytest.mark.parametrize("headers", [{}, {"Copied": "yes"}])
@pytest.mark.parametrize(("method", "path"), [("GET", "/easy"), ("POST", "/easy"), ("GET", "/nowhere")])
def test_what_has_been_reported_is_enforced_on_the_route_that_a_request_is_led_to(led, method, path, headers):
    assert led(method, path, token=SECRET[::-1], **headers).status == 401
    assert led(method, path, client="198.51.100.1", **headers).status == 403


@pytest.mark.parametrize(("method", "path"), [("GET", "/easy"), ("POST", "/also")])
def test_a_handler_that_had_nothing_to_report_does_not_run_twice(led, method, path):
    assert [led(method, path).status for _ in range(3)] == [204, 204, 429]
