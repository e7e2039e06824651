"""Calls to upstreams from handlers, alone and side by side, over real sockets: times, ends, leases."""

import threading
import time

from gproxy.testing.backends import Held, reply
from gproxy.testing.gateway import eventually

INI = """
[gateway]
timeout = 2s
handlers = health
[handler:health]
cache = 0s
[route:both]
path = /both
handlers = both
respond = 404
[route:parts]
path = /parts
handlers = parts
respond = 404
[route:stream]
path = /stream
handlers = stream
respond = 404
[route:dropped]
path = /dropped
handlers = dropped
respond = 404
[route:job]
path = /job
handlers = job
respond = 404
[route:inner]
path = /inner
handlers = before
upstream = users
[handler:both]
use = handlers:Both
[handler:parts]
use = handlers:Parts
[handler:stream]
use = handlers:Stream
[handler:dropped]
use = handlers:Dropped
[handler:job]
use = handlers:Job
[handler:before]
use = handlers:Before
[upstream:users]
backends = {users}
max_fails = 0
[upstream:orders]
backends = {orders}
max_fails = 0
max_requests = 4
queue = 10
"""
BACKENDS = "users orders"
HANDLERS = """
import gevent
from gproxy import Response, gather
from gproxy.runtime.expired import Expired

class Calls:
    timeout = None
    def open(self, runtime):
        self.runtime = runtime
        self.users, self.orders = runtime.upstream("users"), runtime.upstream("orders")
    def user(self, request):
        return self.users.request("GET", request.path, timeout=self.timeout)
    def order(self, request):
        return self.orders.request("POST", "/orders?of=a", {"X-Mine": "1"}, b"ask", self.timeout)

class Both(Calls):
    def __call__(self, request, next):
        user, orders = gather(lambda: self.user(request), lambda: self.order(request))
        return Response(200, user.read() + b" " + orders.read())

class Parts(Calls):
    timeout = 0.4
    def __call__(self, request, next):
        user, orders = gather(lambda: self.user(request), lambda: self.order(request), partial=True)
        return Response(200, f"{user.status} {orders.status} {request.reason}".encode())

class Stream(Calls):
    def __call__(self, request, next):
        return self.users.request("GET", "/", timeout=1.0, stream=True)

class Dropped(Calls):
    def __call__(self, request, next):
        self.users.request("GET", "/", stream=True)
        return Response(200, b"dropped")

class Job(Calls):
    def __call__(self, request, next):
        job = gevent.spawn(self.order, request)
        return Response(200, f"{job.get().status}".encode())

class Before(Calls):
    def __call__(self, request, next):
        request.headers["X-Order"] = self.order(request).read().decode()
        return next(request)
"""


def test_both_are_asked_at_once_with_the_id_of_the_request(play):
    gate = threading.Barrier(2)

    def together(body):
        def act(peer, request):
            gate.wait(10)
            reply(body)(peer, request)

        return act

    play.users.act, play.orders.act = together(b"u"), together(b"o")
    answer = play.gateway.get(
        "/both", "Authorization: Bearer client", "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )
    assert (answer.status, answer.body) == (200, b"u o")
    (user,), (order,) = play.users.requests, play.orders.requests
    assert (user.line, order.line) == ("GET /both HTTP/1.1", "POST /orders?of=a HTTP/1.1")
    assert user["x-request-id"] == order["x-request-id"] == answer["x-request-id"]
    assert order["traceparent"].startswith("00-" + "a" * 32)
    assert (order["x-mine"], order.body, order["authorization"]) == ("1", b"ask", None)
    assert (order["host"], order["x-forwarded-for"]) == ("gateway.test", "127.0.0.1")


def test_a_part_that_hangs_is_missing_after_its_own_limit(play, stopwatch):
    held = Held()
    play.orders.act = held
    with stopwatch:
        answer = play.gateway.get("/parts")
    assert answer.body == b"200 504 backend_timeout"
    assert 0.3 < stopwatch.seconds < 1.5
    play.gateway.wait_until_idle()
    held.go.set()


def test_a_body_that_hangs_or_breaks_off_is_missing_too(play, stopwatch):
    def hangs(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
        peer.read_all()

    def breaks(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
        peer.close()

    play.orders.act = hangs
    with stopwatch:
        assert play.gateway.get("/parts").body == b"200 504 backend_timeout"
    assert stopwatch.seconds < 1.5
    play.gateway.wait_until_idle()
    play.orders.act = breaks
    assert play.gateway.get("/parts").body == b"200 502 backend_reset"


def test_the_deadline_of_the_request_ends_all_calls(play, stopwatch):
    held = Held()
    play.orders.act = play.users.act = held
    with stopwatch:
        assert play.gateway.get("/both").status == 504
    assert 1.8 < stopwatch.seconds < 3.5
    play.gateway.wait_until_idle()  # while both backends still hang
    held.go.set()


def test_a_client_that_leaves_ends_all_calls(play):
    held = Held()
    play.orders.act = play.users.act = held
    with play.gateway.connect() as wire:
        wire.send("GET /both HTTP/1.1\r\nHost: a\r\nX-Left: 1\r\n\r\n")
        assert held.asked.acquire(timeout=10)
        assert held.asked.acquire(timeout=10)
    eventually(lambda: [one for one in play.gateway.access() if one["status"] == "499"], "a 499")
    play.gateway.wait_until_idle()
    held.go.set()


def test_a_stream_arrives_piece_by_piece_beyond_the_timeout(play):
    go = threading.Event()

    def trickles(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfirs")
        assert go.wait(10)
        time.sleep(1.1)  # longer than the timeout of the call
        peer.send(b"last")

    play.users.act = trickles
    with play.gateway.connect() as wire:
        wire.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_until(b"firs").endswith(b"firs")
        go.set()
        assert wire.read_until(b"last").endswith(b"last")


def test_a_stream_that_is_dropped_gives_its_lease_back(play):
    play.users.act = lambda peer, request: peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(100_000)
    )
    for _ in range(5):
        assert play.gateway.get("/dropped").body == b"dropped"
    play.gateway.wait_until_idle()


def test_a_job_asks_under_the_timeout_of_the_gateway(play, stopwatch):
    assert play.gateway.get("/job").body == b"200"
    (asked,) = play.orders.requests
    assert len(asked["x-request-id"]) == 32
    assert (asked["host"], asked["x-forwarded-for"]) == (play.orders.url.partition("//")[2], "unknown")


def test_the_access_line_keeps_the_attempts_of_the_route(play):
    assert play.gateway.get("/inner").status == 200
    assert play.users.requests[0]["x-order"] == "orders"
    line = play.gateway.line("/inner")
    assert (line["upstream"], line["tries"], line["reason"]) == ("users", "1", "-")


def test_many_at_once_pass_the_limit_of_the_upstream(play):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(play.gateway.get("/both").body)) for _ in range(10)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [b"users orders"] * 10
