"""The capture of an exchange, in the test kit: what is kept of the request, its attempts and its response."""

import gc

import pytest

from gproxy import Response, gather
from gproxy.config.types import BackendURL
from gproxy.gateway.watch.capture import MOST_ATTEMPTS, Capture, LentCapture, PassedBytes, Room
from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.gateway.watch.watched_forward import CapturedHead
from gproxy.http.request import request
from gproxy.state.cached import cached
from gproxy.testing import answer, refused, reset, slow
from gproxy.upstream.forwarder.request_head import RequestHeadWriter
from unit.upstream.backends import backend_of

SETTINGS = """
[trace]
timing_token = timing-token-of-16-bytes
[gateway]
timeout = 3s
[upstream:users]
backends = http://10.0.0.1:81, http://10.0.0.2:82
retry_on = connect, reset, 503
retries = 2
max_fails = 0
[upstream:orders]
backends = http://10.0.0.3:83
max_fails = 0
[route:own]
path = /own
handlers = own
respond = 404
[route:hedged]
path = /hedged
upstream = users
hedge = 100ms
[route:changed]
path = /changed
handlers = change
upstream = users
[route:all]
path = /
upstream = users
[handler:own]
use = unit.gateway.watch.test_capture:Own
[handler:change]
use = unit.gateway.watch.test_capture:change
"""
pytestmark = pytest.mark.gproxy(SETTINGS)


class Own:
    """A handler that calls what a test has set."""

    call = None

    def open(self, runtime):
        self.runtime = runtime

    def __call__(self, request, next):
        return type(self).call(self.runtime, request)


def change(request, next):
    request.body.buffer(1000)
    request.headers["X-Added"] = "1"
    response = next(request)
    response.body = (piece for piece in [b"other ", response.read()])
    return response


class Rule:
    """A rule that keeps the captures of all requests."""

    routes = ()

    def __init__(self, body_limit=1000):
        self.body_limit = body_limit
        self.taken = []

    def wants(self, request):
        return True

    def take(self, capture, exchange):
        self.taken.append(capture)


@pytest.fixture
def rule(gproxy):
    rule = Rule()
    gproxy._whole.parts.captures.add(rule)
    return rule


def test_a_request_its_attempt_and_its_response(gproxy, rule):
    gproxy.backend("users", answer(201, b"made", {"X-A": "1"}))
    assert gproxy.post("/a?b=c", {"d": 1}, {"X-C": "2"}).body == b"made"
    (capture,) = rule.taken
    assert capture.request.received.target == "/a?b=c"
    assert (bytes(capture.body.kept), capture.body.size, capture.body.is_whole) == (b'{"d": 1}', 8, True)
    (attempt,) = capture.attempts
    assert attempt.head.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert b"X-C: 2\r\n" in attempt.head
    assert attempt.body is capture.body
    assert (attempt.upstream, attempt.status, attempt.error) == ("users", 201, "")
    assert ("X-A", "1") in attempt.headers
    assert bytes(attempt.response_body.kept) == bytes(capture.response_body.kept) == b"made"
    assert capture.response.headers["X-Request-ID"] == capture.request.id


def test_a_long_body_is_kept_up_to_the_limit_and_passes_whole(gproxy):
    gproxy._whole.parts.captures.add(rule := Rule(body_limit=5))
    users = gproxy.backend("users", answer(200, iter([b"one", b"two", b"three"])))
    assert gproxy.post("/", b"0123456789").body == b"onetwothree"
    assert users.requests[0].body.read() == b"0123456789"
    (capture,) = rule.taken
    assert (bytes(capture.body.kept), capture.body.size) == (b"01234", 10)
    assert (bytes(capture.response_body.kept), capture.response_body.size) == (b"onetw", 11)
    assert capture.response_body is capture.attempts[0].response_body, "it has passed unchanged"
    assert capture.response_body.is_whole


def test_without_bodies_only_heads_are_kept(gproxy):
    gproxy._whole.parts.captures.add(rule := Rule(body_limit=0))
    gproxy.backend("users", answer(200, b"made"))
    gproxy.post("/", b"0123456789")
    (capture,) = rule.taken
    assert capture.body is capture.response_body is capture.attempts[0].body is None
    assert capture.attempts[0].response_body is None


def test_each_retry_is_an_attempt(gproxy, rule):
    gproxy.expect_warning("refused")
    gproxy.expect_warning("status 503")
    gproxy.backend("users", refused(), answer(503, b"later"), answer(200, b"done"))
    assert gproxy.get("/").status == 200
    (capture,) = rule.taken
    assert [(one.status, one.error) for one in capture.attempts] == [(0, "connect_refused"), (503, ""), (200, "")]
    assert capture.attempts[0].head == b""
    assert bytes(capture.response_body.kept) == b"done"


def test_failures_without_a_response(gproxy, rule):
    gproxy.expect_warning("without a response")
    gproxy.backend("users", reset())
    assert gproxy.get("/").status == 502
    (capture,) = rule.taken
    assert {one.error for one in capture.attempts} == {"backend_reset"}
    assert capture.attempts[0].head
    assert capture.response.status == 502


def test_both_attempts_of_a_hedge(gproxy, rule):
    gproxy.backend("users", slow(2), at="10.0.0.1:81")
    gproxy.backend("users", answer(200, b"quick"), at="10.0.0.2:82")
    for _ in range(2):  # one of them begins at the slow backend
        assert gproxy.get("/hedged").body in {b"quick", b""}
    hedged = next(one for one in rule.taken if len(one.attempts) == 2)
    assert {(one.backend, one.status) for one in hedged.attempts} == {("10.0.0.1:81", 0), ("10.0.0.2:82", 200)}
    assert next(one for one in hedged.attempts if not one.status).error == "cancelled"
    assert all(one.head for one in hedged.attempts)


def test_what_a_handler_changes_is_in_the_attempt_and_in_the_response(gproxy, rule):
    gproxy.backend("users", answer(200, b"body"))
    assert gproxy.post("/changed", b"sent").body == b"other body"
    (capture,) = rule.taken
    assert "X-Added" not in capture.request.received.headers
    assert b"X-Added: 1" in capture.attempts[0].head
    assert bytes(capture.attempts[0].response_body.kept) == b"body"
    assert bytes(capture.response_body.kept) == b"other body"


def test_calls_of_handlers_are_attempts(gproxy, rule):
    def call(runtime, request):
        users, orders = runtime.upstream("users"), runtime.upstream("orders")
        first, second = gather(lambda: users.request("GET", "/u"), lambda: orders.request("POST", "/o", body=b"sent"))
        third = orders.request("GET", "/3")
        return Response(200, first.read() + second.read() + third.read())

    Own.call = call
    gproxy.backend("users", answer(200, b"u"))
    gproxy.backend("orders", answer(200, b"o"))
    assert gproxy.get("/own").body == b"uoo"
    (capture,) = rule.taken
    calls = {(one.upstream, one.head.split(b" ")[1], bytes(one.response_body.kept)) for one in capture.attempts}
    assert calls == {("users", b"/u", b"u"), ("orders", b"/o", b"o"), ("orders", b"/3", b"o")}
    assert [bytes(one.body.kept) for one in capture.attempts if one.body] == [b"sent"]


def look_ups(patience):
    """Return a call of a handler that looks up by two calls side by side, and waits for so many seconds."""

    @cached(timeout=5)
    def look_up(runtime, name):
        calls = [lambda at=at: runtime.upstream("orders").request("GET", f"/{name}/{at}") for at in (1, 2)]
        return b"".join(one.read() for one in gather(*calls))

    def call(runtime, request):
        with runtime.bounded(patience):
            return Response(200, look_up(runtime, request.query))
        return Response(204)

    return call


def test_the_attempts_of_a_look_up_belong_to_the_request_that_begins_it(gproxy, rule):
    Own.call = look_ups(patience=2)
    gproxy.backend("orders", answer(200, b"o"))
    assert [gproxy.get(f"/own?{name}").body for name in ("a", "a", "b")] == [b"oo"] * 3
    assert [[one.head.split(b" ")[1] for one in capture.attempts] for capture in rule.taken] == [
        [b"/a/1", b"/a/2"],
        [],
        [b"/b/1", b"/b/2"],
    ]
    assert all(one.is_shared for capture in rule.taken for one in capture.attempts)


def test_a_look_up_that_outlasts_its_request_keeps_nothing_of_it(gproxy, rule):
    Own.call = look_ups(patience=0.1)
    gproxy.backend("orders", slow(0.3, answer(200, b"o")))
    assert gproxy.get("/own?a").status == 204
    (capture,) = rule.taken
    assert [(one.status, one.error) for one in capture.attempts] == [(0, "")] * 2
    rule.taken.clear()
    lenders = [one for one in gc.get_objects() if isinstance(one, LentCapture)]
    assert {one._lender for one in lenders} == {None}
    gproxy.clock.advance(0.3)
    assert gproxy.get("/own?a").body == b"oo"
    assert [(one.status, one.error) for one in capture.attempts] == [(0, "")] * 2


def test_attempts_beyond_the_bound_are_counted(gproxy, rule):
    def call(runtime, request):
        for _ in range(MOST_ATTEMPTS + 3):
            runtime.upstream("orders").request("GET", "/")
        return Response(200)

    Own.call = call
    gproxy.get("/own")
    (capture,) = rule.taken
    assert (len(capture.attempts), capture.omitted_attempts) == (MOST_ATTEMPTS, 3)


def test_passed_bytes_keep_the_beginning():
    passed = PassedBytes(3, Room())
    passed.add(b"ab")
    passed.add(b"cd")
    passed.end_with(b"ef")
    assert (bytes(passed.kept), passed.size, passed.is_whole) == (b"abc", 6, True)


def test_captures_share_the_room_for_bodies_until_they_are_released():
    room = Room(5)
    first, second = PassedBytes(4, room), PassedBytes(4, room)
    first.add(b"abcd")
    second.add(b"efgh")
    assert (bytes(second.kept), second.size, room.left) == (b"e", 4, 0)
    first.release()
    first.add(b"late")
    assert (bytes(first.kept), room.left) == (b"abcd", 4)


def test_the_head_of_an_attempt_over_http2_has_its_own_version():
    asked = request("POST", "/a?b=c", {"X-Own": "1"}, b"body")
    capture = Capture(asked, 100)
    asked.exchange.account = TimeAccount(asked.deadline, capture)
    writer = CapturedHead(RequestHeadWriter(host="client", change=lambda path: f"/x{path}"))
    capture.begin(asked, "users", backend_of(BackendURL.parse("http://10.0.0.1:81")))
    written = writer.lines(asked, "10.0.0.1:81")
    (attempt,) = capture.attempts
    line, *lines = attempt.head.decode().split("\r\n")
    assert line == "POST /x/a?b=c HTTP/2.0"
    assert lines == [*written, "", ""]
    assert bytes(attempt.body.kept) == b"body"
    assert writer.target(asked) == "/x/a?b=c"
