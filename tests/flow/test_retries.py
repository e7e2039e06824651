"""What is tried again, where, after how long and how often; what is not; bodies that are sent a second time."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually, free_port

BACKENDS = "one two"
DEAD = free_port()
PAIR = "backends = {one}, {two}\nmax_fails = 0\nretry_budget = none\n"
INI = f"""
[server]
state_dir = {{tmp}}/state
[gateway]
handlers = health
timeout = 3s
[handler:health]
cache = 0s
[route:all]
path = /
upstream = plain
[route:status]
path = /status
upstream = status
buffer_request = 0
[route:never]
path = /status/never
upstream = status
retries = 0
[route:others]
path = /status/others
upstream = status
retry_on = 418
retries = 3
[route:short]
path = /short
upstream = slow-again
timeout = 400ms
[route:polite]
path = /polite
upstream = polite
timeout = 2s
[route:try]
path = /try
upstream = try
[route:spool]
path = /spool
upstream = spool
[route:budget]
path = /budget
upstream = budget
timeout = 20s
[route:alone]
path = /alone
upstream = alone
[route:told]
path = /told
upstream = told
[route:half]
path = /half
upstream = half
[route:stream]
path = /stream
upstream = status
stream = yes
timeout = 700ms
[upstream:plain]
{PAIR}
[upstream:status]
{PAIR}
retry_on = 502, 503, reset, stale
[upstream:slow-again]
{PAIR}
retry_on = 503
retry_backoff = 10s
retry_backoff_max = 10s
[upstream:polite]
{PAIR}
retry_on = 503
retry_after = yes
[upstream:try]
{PAIR}
retry_on = timeout
per_try_timeout = 300ms
[upstream:spool]
{PAIR}
retry_on = 503, reset
replay = 16KiB
spool = 20MB
[upstream:budget]
backends = {{one}}, {{two}}
max_fails = 0
retry_on = 503
retries = 3
retry_header = X-Retry-Count
[upstream:alone]
backends = {{one}}
max_fails = 0
retry_on = 503
[upstream:told]
{PAIR}
retry_on = 503, timeout
per_try_timeout = 500ms
retry_header = X-Retry-Count
deadline_header = X-Request-Timeout
[upstream:half]
backends = http://127.0.0.1:{DEAD}, {{two}}
max_fails = 0
"""

SERVICE_UNAVAILABLE = reply(b"busy", "X-From: backend", status="503 Service Unavailable")


@pytest.fixture
def play(stage):
    """Also without a greenlet more than before, and with nothing left on disk."""
    stage.reset()
    stage.gateway.wait_until_idle()
    before = stage.gateway.health()["greenlets"]
    yield stage
    stage.gateway.wait_until_idle()
    eventually(lambda: stage.gateway.health()["greenlets"] <= before, "as few greenlets as before")
    assert stage.gateway.process.poll() is None
    assert not list((stage.gateway.folder / "state").glob("tmp*"))


def once(play, act):
    """Whichever backend is asked first acts so; from then on both answer 200."""
    lock = threading.Lock()
    asked = []

    def acting(peer, request):
        with lock:
            asked.append(request)
            first = len(asked) == 1
        (act if first else reply(b"fine"))(peer, request)

    play.one.act = play.two.act = acting
    return asked


def both(play, act):
    play.one.act = play.two.act = act


def ask(play, path, method="GET", body=b"", *headers):
    lines = "".join(f"{header}\r\n" for header in headers)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return play.gateway.ask(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}{length}\r\n".encode() + body)


def tries(play, path):
    line = play.gateway.line(path)
    return int(line["tries"]), line["reason"]


# --- what is tried again


def test_503_then_200(play):
    asked = once(play, SERVICE_UNAVAILABLE)
    assert play.gateway.get("/status/1").body == b"fine"
    assert len(asked) == 2
    assert len(play.one.requests) == len(play.two.requests) == 1
    assert tries(play, "/status/1") == (2, "-")


def test_503_with_a_body_that_is_still_coming(play):
    """Its end is not awaited; its connection is dropped before the next attempt."""
    left, asked = threading.Event(), []

    def act(peer, request):
        asked.append(request)
        if len(asked) == 1:
            peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\nbusy")
            peer.read_all()
            left.set()
        else:
            reply(b"fine" if left.wait(2) else b"not dropped")(peer, request)

    both(play, act)
    assert play.gateway.get("/status/2").body == b"fine"


def test_the_last_answer_passes_as_it_is(play):
    both(play, SERVICE_UNAVAILABLE)
    answer = play.gateway.get("/status/3")
    assert (answer.status, answer.body, answer["x-from"]) == (503, b"busy", "backend")
    assert tries(play, "/status/3") == (2, "-")


def test_also_if_it_streams(play):
    def act(peer, request):
        peer.send("HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n")
        time.sleep(0.1)
        peer.send("5\r\n, bye\r\n0\r\n\r\n")

    both(play, act)
    answer = play.gateway.get("/status/4")
    assert (answer.status, answer.body, answer.complete) == (503, b"busy, bye", True)


def test_other_statuses_pass_at_once(play):
    both(play, reply(b"", status="500 Internal Server Error"))
    assert play.gateway.get("/status/5").status == 500
    assert tries(play, "/status/5") == (1, "-")


def test_a_route_has_its_own_number(play):
    both(play, SERVICE_UNAVAILABLE)
    assert play.gateway.get("/status/never/1").body == b"busy"
    assert tries(play, "/status/never/1") == (1, "-")


def test_a_route_has_its_own_causes(play):
    both(play, SERVICE_UNAVAILABLE)
    assert play.gateway.get("/status/others/1").body == b"busy"
    assert tries(play, "/status/others/1") == (1, "-")
    both(play, reply(b"tea", status="418 I'm a teapot"))
    assert play.gateway.get("/status/others/2").body == b"tea"
    assert tries(play, "/status/others/2") == (4, "-")


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", (), 1),
        ("PATCH", (), 1),
        ("POST", ("Idempotency-Key: 1",), 2),
        ("PUT", (), 2),
        ("DELETE", (), 2),
        ("HEAD", (), 2),
    ],
)
def test_methods(play, method, headers, expected):
    asked = once(play, SERVICE_UNAVAILABLE)
    path = f"/status/{method}/{len(headers)}"
    with play.gateway.connect() as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n" + "".join(f"{h}\r\n" for h in headers) + "\r\n")
        answer = wire.read_response(head_only=method == "HEAD")
    assert answer.status == (200 if expected == 2 else 503)
    assert len(asked) == expected
    assert tries(play, path)[0] == expected


@pytest.mark.parametrize("when", ["", "HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_broken_off_before_the_head_is_whole(play, when, how):
    asked = once(play, lambda peer, request: (peer.send(when), getattr(peer, how)()))
    assert play.gateway.get("/broken").body == b"fine"
    assert len(asked) == 2


@pytest.mark.parametrize("when", ["", "HTTP/1.1 200 OK\r\nContent-Le"])
def test_but_not_a_post(play, when):
    asked = once(play, lambda peer, request: (peer.read_body(request), peer.send(when), peer.reset()))
    assert ask(play, "/broken/post", "POST", b"x").status == 502
    assert len(asked) == 1
    play.gateway.wait_for_line("not retried: retry_methods has no POST")


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_nothing_is_tried_again_once_a_byte_has_gone_to_the_client(play, framing):
    asked = once(play, lambda peer, request: (peer.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"), peer.reset()))
    answer = play.gateway.get("/mid-body")
    assert (answer.status, answer.complete) == (200, False)
    assert len(asked) == 1
    assert tries(play, "/mid-body") == (1, "backend_reset")


def test_only_a_refused_post_is_tried_again(play):
    for n in range(2):
        assert ask(play, f"/half/{n}", "POST", b"once").body == b"two"
    assert [seen.body for seen in play.two.requests] == [b"once"] * 2


def test_a_busy_backend_without_a_sister_is_asked_again(play):
    asked = []
    play.one.act = lambda peer, request: (
        asked.append(1),
        (SERVICE_UNAVAILABLE if len(asked) == 1 else reply(b"one"))(peer, request),
    )
    assert play.gateway.get("/alone").body == b"one"
    assert len(asked) == 2


def test_one_that_resets_is_not(play):
    play.one.act = lambda peer, request: peer.reset()
    assert play.gateway.get("/alone/reset").status == 502
    assert len(play.one.requests) == 1


def test_the_next_request_on_the_connection_is_untouched(play):
    with play.gateway.connect() as wire:
        for _ in range(3):
            once(play, SERVICE_UNAVAILABLE)
            wire.send("PUT /status/again HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            assert wire.read_response().body == b"fine"


# --- bodies


def chunked(body, size, trailers=b""):
    pieces = [body[n : n + size] for n in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def after_body(act):
    return lambda peer, request: (peer.read_body(request), act(peer, request))


SIZES = {"small": 20, "in-memory": 60_000}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("act", [SERVICE_UNAVAILABLE, after_body(lambda peer, _: peer.reset())])
def test_a_post_with_a_key_has_its_whole_body_again(play, size, act):
    body = bytes(n % 251 for n in range(SIZES[size]))
    asked = once(play, act)
    assert ask(play, f"/status/key/{len(body)}", "POST", body, "Idempotency-Key: 42").body == b"fine"
    assert [seen.body for seen in asked] == [body, body]
    assert play.gateway.line(f"/status/key/{len(body)}")["reqsize"] == str(len(body))


def test_a_large_body_is_spooled_and_comes_again_byte_for_byte(play):
    body = bytes(range(256)) * 40_000  # 10 MB
    asked = once(play, SERVICE_UNAVAILABLE)
    assert ask(play, "/spool/large", "PUT", body).body == b"fine"
    assert [len(seen.body) for seen in asked] == [len(body)] * 2
    assert asked[1].body == body


@pytest.mark.parametrize("path", ["/spool/chunks", "/status/chunks"])
def test_chunks_come_again_with_their_trailers(play, path):
    body = bytes(range(256)) * 200
    trailers = []

    def act(peer, request):
        while (line := peer.read_until(b"\r\n")) != b"0\r\n":
            request.body += peer.read_exactly(int(line, 16) + 2)[:-2]
        trailers.append(peer.read_until(b"\r\n\r\n"))
        if len(trailers) == 1:
            SERVICE_UNAVAILABLE(peer, type(request)(b"", b""))
        else:
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    both(play, act)
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert play.gateway.ask(head + chunked(body, 5000, b"X-Sum: 7\r\n")).body == b"ok"
    assert [seen.body for seen in play.one.requests + play.two.requests] == [body, body]
    assert [one.lower() for one in trailers] == [b"x-sum: 7\r\n\r\n"] * 2


def test_an_answer_in_the_middle_of_the_upload(play):
    """What has come so far is played again, the rest comes from the client."""
    body = bytes(range(256)) * 200
    early = threading.Event()
    first = []

    def act(peer, request):
        if not first:
            first.append(peer.read_exactly(1000))
            peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            early.set()
            peer.read_all()
        else:
            reply(b"fine")(peer, request)

    both(play, act)
    with play.gateway.connect() as wire:
        wire.send(
            f"PUT /status/middle HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:2000]
        )
        assert early.wait(5)
        wire.send(body[2000:])
        assert wire.read_response().body == b"fine"
    assert body in [seen.body for seen in play.one.requests + play.two.requests]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_over_the_limit_is_not_tried_again_and_that_is_said(play, framing):
    body = bytes(70_000)
    asked = once(play, after_body(lambda peer, _: peer.reset()))
    path = f"/status/over/{framing}"
    if framing == "length":
        answer = ask(play, path, "PUT", body)
    else:
        head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        answer = play.gateway.ask(head + chunked(body, 9000))
    assert answer.status == 502
    assert len(asked) == 1
    assert play.gateway.errors.count(f" {path}:") <= 1
    line = play.gateway.wait_for_line("the request body exceeds the replay limit")
    assert "the backend closed the connection" in line
    assert "([Errno 104] Connection reset by peer)" in line


# --- how long, how often


def test_a_pause_that_would_pass_the_deadline_is_not_made(play, stopwatch):
    """What is known is the answer, at once. (Full jitter of 10 s in 400 ms: there is a chance of 4 % that it fits.)"""
    both(play, SERVICE_UNAVAILABLE)
    with stopwatch:
        statuses = [play.gateway.get(f"/short/{n}").status for n in range(8)]
    assert statuses == [503] * 8
    assert stopwatch.seconds < 8 * 0.4
    assert sum(tries(play, f"/short/{n}")[0] == 1 for n in range(8)) >= 5


def test_retry_after_is_waited_for(play, stopwatch):
    once(play, reply(b"", "Retry-After: 1", status="503 Service Unavailable"))
    with stopwatch:
        assert play.gateway.get("/polite").body == b"fine"
    assert 1.0 <= stopwatch.seconds < 1.7


def test_retry_after_the_deadline_is_the_answer(play, stopwatch):
    asked = once(play, reply(b"later", "Retry-After: 60", status="503 Service Unavailable"))
    with stopwatch:
        answer = play.gateway.get("/polite/60")
    assert (answer.status, answer.body, answer["retry-after"]) == (503, b"later", "60")
    assert stopwatch.seconds < 1
    assert len(asked) == 1


def test_a_client_that_leaves_in_the_pause(play):
    asked = once(play, reply(b"", "Retry-After: 1", status="503 Service Unavailable"))
    with play.gateway.connect() as wire:
        wire.send("GET /polite/gone HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: asked, "the first attempt")
    line = play.gateway.line("/polite/gone")
    assert (line["status"], line["reason"]) == ("499", "client_gone")
    assert float(line["duration"]) < 0.9
    assert len(asked) == 1


def test_a_pipelined_request_in_the_pause_is_no_leaving(play):
    once(play, reply(b"", "Retry-After: 1", status="503 Service Unavailable"))
    with play.gateway.connect() as wire:
        wire.send("GET /polite/a HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: play.one.requests or play.two.requests, "the first attempt")
        wire.send("GET /polite/b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [wire.read_response().body for _ in range(2)] == [b"fine", b"fine"]


def hang(peer, request):
    peer.read_all()


def test_one_attempt_has_its_own_time(play, stopwatch):
    once(play, hang)
    with stopwatch:
        assert play.gateway.get("/try/1").body == b"fine"
    assert 0.3 <= stopwatch.seconds < 0.9
    assert tries(play, "/try/1") == (2, "-")


def test_a_timeout_is_named_for_what_it_was(play, stopwatch):
    both(play, hang)
    with stopwatch:
        answer = play.gateway.get("/try/2")
    assert (answer.status, answer["proxy-status"]) == (504, "gproxy; error=http_response_timeout")
    assert 0.6 <= stopwatch.seconds < 1.2
    assert tries(play, "/try/2") == (2, "per_try_timeout")


def test_a_timeout_is_not_tried_again_for_a_post(play):
    asked = once(play, hang)
    assert ask(play, "/try/3", "POST", b"x").status == 504
    assert len(asked) == 1


def test_per_try_timeout_does_not_bound_the_body(play):
    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.5)
        peer.send("b")

    both(play, act)
    assert play.gateway.get("/try/4").body == b"ab"


def test_a_busy_answer_leaves_a_stream_routes_deadline_in_place(play, stopwatch):
    asked = []

    def act(peer, request):
        asked.append(request)
        if len(asked) == 1:
            peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\nbusy")
        peer.read_all()

    both(play, act)
    with stopwatch:
        assert play.gateway.get("/stream/503").status == 504
    assert 0.7 <= stopwatch.seconds < 1.1
    assert len(asked) == 2


def test_the_budget_bounds_retries_under_way(play):
    """Fifty fail at once; their retries hang, so that those let through are counted exactly; the others are answered."""
    arrived, go, lock = threading.Barrier(50, timeout=15), threading.Event(), threading.Lock()
    retried = []

    def act(peer, request):
        if request["x-retry-count"] == "0":
            arrived.wait()
            SERVICE_UNAVAILABLE(peer, request)
            return
        with lock:
            retried.append(request["x-retry-count"])
        go.wait(15)
        reply(b"fine")(peer, request)

    both(play, act)
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(play.gateway.get, f"/budget/{n}") for n in range(50)]
        eventually(lambda: sum(one.done() for one in asked) >= 40, "those that found no room")
        eventually(lambda: sum(one.done() for one in asked) + len(retried) == 50, "all decided")
        assert 3 <= len(retried) <= 10
        go.set()
        statuses = [one.result().status for one in asked]
    assert statuses.count(200) == len(retried) == 50 - statuses.count(503)
    play.gateway.wait_for_line("upstream budget: the retry budget is exhausted")
    once(play, SERVICE_UNAVAILABLE)
    assert play.gateway.get("/budget/after").body == b"fine"


# --- what the backend is told


def test_how_many_attempts_and_how_much_time(play):
    asked = once(play, hang)
    assert play.gateway.get("/told/1", "X-Retry-Count: 9", "X_Retry_Count: 9", "X-Request-Timeout: 1").body == b"fine"
    assert [seen["x-retry-count"] for seen in asked] == ["0", "1"]
    assert not any("_" in name for seen in asked for name, _ in seen.fields)
    first, second = (int(seen["x-request-timeout"]) for seen in asked)
    assert 2000 < first <= 3000
    assert 400 <= first - second <= 1500
    assert all(re.fullmatch("[0-9]+", seen["x-request-timeout"]) for seen in asked)


def test_nobody_else_is_told(play):
    play.gateway.get("/")
    (seen,) = play.one.requests + play.two.requests
    assert seen["x-retry-count"] is seen["x-request-timeout"] is None
