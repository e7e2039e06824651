"""What the chain does around handlers: a mode, their errors, and a bound on their own time."""

import time

import jwt
import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one"
SECRET = "0123456789abcdef0123456789abcdef"
#: Each handler of handlers.py: the options of its section, and its route's.
POLICIES = {
    "rejects": "mode = report",
    "answers": "mode = report",
    "rejects_late": "mode = report",
    "breaks_reporting": "mode = report",
    "consumes": "mode = report",
    "gone": "mode = off",
    "closed_before": "time_limit = 200ms",
    "open_before": "on_error = open",
    "closed_after": "on_error = closed",
    "open_after": "on_error = open",
    "reads_and_breaks": "on_error = open",
    "wrong_value": "on_error = open",
    "exits": "on_error = open",
    "skipped": "on_error = skip\nerror_limit = 3/10s\nerror_pause = 1s",
    "slow_closed": "time_limit = 200ms",
    "slow_open": "time_limit = 200ms\non_error = open",
    "patient": "time_limit = 300ms",
    "uploads": "time_limit = 300ms",
    "slow_aside": "time_limit = 200ms",
}  # fmt: skip
INI = (
    f"""
[trace]
timing_token = watch-me-with-sixteen-bytes
[gateway]
handlers = health, metrics, limit
report_header = both
timeout = 3s
[handler:health]
cache = 0s
[handler:metrics]
[handler:limit]
use = rate_limit
limit = 100/hour
[handler:jwt]
algorithms = HS256
secret = {SECRET}
forward = role: X-Role
[route:default]
path = /
skip = limit
upstream = one
[route:reported]
path = /reported
report = limit
upstream = one
[route:enforced]
path = /enforced
upstream = one
[route:tokens]
path = /tokens
skip = limit
handlers = jwt
report = jwt
upstream = one
[handler:spawns]
use = handlers:spawns
[route:aside]
path = /aside
skip = limit
handlers = spawns, slow_aside
upstream = one
"""
    + "".join(
        f"""
[handler:{name}]
use = handlers:{name}
{options}
[route:{name}]
path = /{name}
skip = limit
handlers = {name}
upstream = one
"""
        for name, options in POLICIES.items()
    )
    + """
[upstream:one]
backends = {one}
"""
)

HANDLERS = """
import sys, time
import gevent
from gproxy import HTTPError, Response

failing = {"skipped": True}

def spoil(request):
    request.headers["X-Spoiled"] = "yes"
    del request.headers["X-Own"]
    request.method, request.path, request.query, request.host = "DELETE", "/other", "x=1", "elsewhere"
    request.user = "mallory"
    request.context["spoiled"] = True

def rejects(request, next):
    request.body.buffer(1000)
    request.body.read()
    spoil(request)
    raise HTTPError(403, "no")

def answers(request, next):
    spoil(request)
    return Response(302, b"go", {"Location": "/login"})

def rejects_late(request, next):
    response = next(request)
    response.status = 299
    response.headers["X-Spoiled"] = "yes"
    response.body = b"spoiled"
    raise HTTPError(403, "no")

def breaks_reporting(request, next):
    spoil(request)
    raise LookupError("down")

def consumes(request, next):
    for piece in request.body:
        pass
    raise HTTPError(403, "no")

def gone(request, next):
    raise HTTPError(403, "no")

def closed_before(request, next):
    raise LookupError("down")

def open_before(request, next):
    spoil(request)
    raise LookupError("down")

def closed_after(request, next):
    next(request)
    raise LookupError("down")

def open_after(request, next):
    response = next(request)
    response.status = 299
    response.headers["X-Spoiled"] = "yes"
    response.body = b"spoiled"
    raise LookupError("down")

def reads_and_breaks(request, next):
    response = next(request)
    first = next_piece = iter(response.pieces).__next__()
    raise LookupError(first)

def wrong_value(request, next):
    return "text"

def exits(request, next):
    sys.exit("goodbye")

def skipped(request, next):
    if request.headers.get("X-Fail"):
        raise LookupError("down")
    response = next(request)
    response.headers["X-Ran"] = "yes"
    return response

def slow_closed(request, next):
    gevent.sleep(2)
    return next(request)

slow_open = slow_closed

def patient(request, next):
    gevent.sleep(0.1)
    response = next(request)
    gevent.sleep(0.1)
    return response

def uploads(request, next):
    request.body.buffer(1000)
    return next(request)

def spawns(request, next):
    return gevent.spawn(next, request).get()

slow_aside = slow_closed
"""


BIG = b"piece" * 200_000


@pytest.fixture(params=["plain", "watched"])
def ask(request, play):
    """Send a request on a connection of its own, by the plain or by the watched chain of its route."""
    timing = ["X-Gproxy-Timing: watch-me-with-sixteen-bytes"] if request.param == "watched" else []

    def send(path, *headers, body=b"the body"):
        lines = "".join(f"{header}\r\n" for header in (*headers, *timing, f"Content-Length: {len(body)}"))
        head = f"PUT {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n"
        return play.gateway.ask(head.encode() + body)

    return send


def errors(play, handler):
    return play.gateway.metric(f'gproxy_handler_errors_total{{handler="{handler}"}}')


def reports(play, handler, status, route):
    labels = f'handler="{handler}",route="{route}",status="{status}"'
    return play.gateway.metric(f"gproxy_policy_reports_total{{{labels}}}")


def line(play, answer):
    """Return the access line of the request."""
    wanted = answer["x-request-id"]
    found = []
    eventually(lambda: found.extend(one for one in play.gateway.access() if one["id"] == wanted) or found, "the line")
    return found[0]


def test_a_limit_is_tried_before_it_is_switched_on(play):
    """150 requests: none is rejected, and what the limit would do is what it does in the end."""
    statuses = [play.gateway.get("/reported").status for _ in range(150)]
    assert statuses == [200] * 150
    lines = [one for one in play.gateway.access(150) if one["path"] == "/reported"]
    assert [one.get("report") for one in lines] == [None] * 100 + ["limit=429"] * 50
    assert {one["reason"] for one in lines} == {"-"}
    assert reports(play, "limit", 429, "reported") == 50
    assert play.gateway.metric('gproxy_rate_limited_total{handler="limit"}') == 50
    told = [one["gproxy-report"] for one in play.one.requests]
    assert told == [None] * 100 + ["limit;status=429"] * 50
    answer = play.gateway.get("/enforced")  # the client has used up its limit
    assert (answer.status, answer["gproxy-report"]) == (429, None)


def test_bad_tokens_pass_without_an_identity_and_good_ones_with(play, ask):
    good = jwt.encode({"sub": "alice", "role": "admin", "exp": time.time() + 60}, SECRET, "HS256")
    bad = jwt.encode({"sub": "mallory", "role": "admin", "exp": time.time() + 60}, SECRET[::-1], "HS256")
    answers = [ask("/tokens", f"Authorization: Bearer {token}", "X-Role: root") for token in (good, bad)]
    assert [answer.status for answer in answers] == [200, 200]
    assert [request["x-role"] for request in play.one.requests] == ["admin", None]
    assert [request["authorization"] for request in play.one.requests] == [None, None]
    lines = [line(play, answer) for answer in answers]
    assert [(one["user"], one.get("report")) for one in lines] == [("alice", None), ("-", "jwt=401")]


def test_a_client_cannot_say_what_is_reported(play, ask):
    ask("/patient", "Gproxy-Report: limit;status=429")
    assert play.one.requests[0]["gproxy-report"] is None


@pytest.mark.parametrize(("name", "status"), [("rejects", 403), ("answers", 302), ("breaks_reporting", 500)])
def test_a_handler_that_only_reports_leaves_the_request_as_it_was(play, ask, name, status):
    before = reports(play, name, status, name)
    answer = ask(f"/{name}?q=1", "X-Own: mine")
    assert (answer.status, answer.body) == (200, b"one")
    (request,) = play.one.requests
    assert request.line == f"PUT /{name}?q=1 HTTP/1.1"
    assert (request["x-own"], request["x-spoiled"], request.body) == ("mine", None, b"the body")
    assert request["gproxy-report"] == answer["gproxy-report"] == f"{name};status={status}"
    found = line(play, answer)
    assert (found["report"], found["user"], found["reason"]) == (f"{name}={status}", "-", "-")
    assert reports(play, name, status, name) == before + 1


def test_after_next_the_response_stands_of_which_a_handler_only_reports(play, ask):
    play.one.act = reply(b"theirs", "X-Theirs: yes")
    answer = ask("/rejects_late")
    assert (answer.status, answer.body, answer["x-theirs"], answer["x-spoiled"]) == (200, b"theirs", "yes", None)
    assert answer["gproxy-report"] == "rejects_late;status=403"


def test_a_rejection_stands_if_the_handler_has_consumed_the_body(play, ask):
    assert ask("/consumes").status == 403
    assert play.one.requests == []
    assert "body.buffer would keep it" in play.gateway.wait_for_line("handler consumes")


def test_a_handler_that_is_off_is_not_called(play, ask):
    assert ask("/gone").status == 200


@pytest.mark.parametrize("name", ["closed_before", "closed_after"])
def test_an_error_ends_the_request_unless_the_settings_say_otherwise(play, ask, name):
    before = errors(play, name)
    answer = ask(f"/{name}")
    assert answer.status == 500
    assert line(play, answer)["reason"] == "handler_error"
    assert errors(play, name) == before + 1


@pytest.mark.parametrize("name", ["open_before", "wrong_value", "exits"])
def test_a_request_goes_on_as_it_was_after_an_error(play, ask, name):
    before = errors(play, name)
    answer = ask(f"/{name}", "X-Own: mine")
    assert (answer.status, answer.body, answer["gproxy-report"]) == (200, b"one", None)
    (request,) = play.one.requests
    assert (request.line, request["x-own"], request.body) == (f"PUT /{name} HTTP/1.1", "mine", b"the body")
    assert "report" not in line(play, answer)
    assert errors(play, name) == before + 1


def test_a_response_stays_as_it_was_after_an_error(play, ask):
    play.one.act = reply(b"theirs", "X-Theirs: yes")
    answer = ask("/open_after")
    assert (answer.status, answer.body, answer["x-theirs"], answer["x-spoiled"]) == (200, b"theirs", "yes", None)


def test_a_stream_of_which_a_failed_handler_has_read_is_whole(play, ask):
    play.one.act = reply(BIG)
    answer = ask("/reads_and_breaks")
    assert (answer.status, answer.body == BIG, answer["content-length"]) == (200, True, str(len(BIG)))


def test_a_broken_handler_is_skipped_and_tried_again(play, ask):
    def ran(answer):
        assert answer.status == 200
        return answer["x-ran"] == "yes"

    def is_skipped():
        return play.gateway.metric('gproxy_handler_skipped{handler="skipped"}') == 1

    before = errors(play, "skipped")
    assert ran(ask("/skipped"))
    for _ in range(3):
        assert not ran(ask("/skipped", "X-Fail: yes"))
    assert not ran(ask("/skipped"))
    assert errors(play, "skipped") == before + 3
    eventually(is_skipped, "the gauge")
    health = play.gateway.health()
    assert (health["status"], health["handlers"]["skipped"]["state"]) == ("degraded", "skipped")
    play.gateway.wait_for_line("handler skipped is skipped for 1 s, after 3 errors within 10 s")
    time.sleep(1.1)  # the pause itself
    assert not ran(ask("/skipped", "X-Fail: yes"))  # a trial, which fails
    assert errors(play, "skipped") == before + 4
    assert not ran(ask("/skipped"))
    time.sleep(1.1)
    assert ran(ask("/skipped"))  # a trial, which succeeds
    assert ran(ask("/skipped"))
    eventually(lambda: not is_skipped(), "the gauge")
    assert "skipped" not in play.gateway.health().get("handlers", {})


@pytest.mark.parametrize(("name", "status"), [("slow_closed", 504), ("slow_open", 200)])
def test_a_slow_lookup_is_an_error_in_time(play, ask, stopwatch, name, status):
    before = errors(play, name)
    with stopwatch:
        answer = ask(f"/{name}")
    assert answer.status == status
    assert 0.2 <= stopwatch.seconds < 1.5
    assert line(play, answer)["reason"] == ("handler_timeout" if status == 504 else "-")
    assert errors(play, name) == before + 1
    assert f"0.2 s, time_limit of [handler:{name}]" in play.gateway.wait_for_line(f"/{name}: ")


def test_the_time_of_the_backend_is_not_the_handlers(play, ask):
    def slow(peer, request):
        time.sleep(0.6)
        reply(b"late")(peer, request)

    play.one.act = slow
    assert (ask("/patient").status, errors(play, "patient")) == (200, 0)


def test_the_time_of_the_client_is_not_the_handlers(play):
    with play.gateway.connect() as wire:
        wire.send("PUT /uploads HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 8\r\n\r\nfour")
        time.sleep(0.6)
        wire.send("more")
        assert wire.read_response().status == 200
    assert play.one.requests[0].body == b"fourmore"


def test_a_limit_holds_in_a_greenlet_of_a_handler(play, stopwatch):
    with stopwatch:
        assert play.gateway.get("/aside").status == 504
    assert stopwatch.seconds < 1.5
