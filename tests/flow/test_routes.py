"""Where routes lead, over real sockets: shares, copies, other paths, other places; and what is said about it."""

import signal

import pytest

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway

BACKENDS = "one two shadow"
INI = """
[gateway]
handlers = health, rate_limit
timeout = 3s
[handler:rate_limit]
limit = 100000/minute
[handler:few]
use = rate_limit
limit = 2/minute
[handler:note]
use = handlers:note

[route:split]
path = /split
upstream = stable weight=3, canary
[route:sticky]
path = /sticky
upstream = stable, canary
split_by = cookie:uid
[route:mirrored]
path = /mirrored
upstream = stable
mirror = shadow
handlers = note
[route:tenth]
path = /tenth
upstream = stable
mirror = shadow
mirror_share = 10%
[route:split_and_mirrored]
path = /both
upstream = stable, canary
mirror = shadow
[route:dead]
path = /dead
upstream = stable
mirror = nobody
[route:impatient]
path = /impatient
upstream = stable
mirror = shadow
timeout = 300ms
[route:stripped]
path = /api
upstream = stable
strip_prefix = yes
[route:moved]
path = /v0
upstream = stable
strip_prefix = yes
add_prefix = /v1/x
[route:rewritten]
path = /old
upstream = stable
rewrite = ^/old/(\\d+)/?(.*)$ -> /new/\\2/\\1
[route:redirected]
path = /gone
redirect = https://new.test{path}
[route:secure]
host = plain.test, *.plain.test
scheme = http
redirect = https://{host}{path}
status = 308
[route:renamed]
path = /r
strip_prefix = yes
add_prefix = /s
redirect = {path}
[route:fixed]
path = /robots.txt
exact = yes
respond = 200
body = User-agent: *
    Disallow: /
[route:closed]
path = /closed
respond = 410
[route:limited]
path = /limited
upstream = stable
handlers = few
max_body = 10
[upstream:stable]
backends = {one}
[upstream:canary]
backends = {two}
[upstream:shadow]
backends = {shadow}
[upstream:nobody]
backends = http://127.0.0.1:1
"""
HANDLERS = """
def note(request, next):
    request.headers["X-Note"] = "in"
    response = next(request)
    request.headers["X-Note"] = "out"
    return response
"""


def test_shares_are_exact_and_the_log_names_the_upstream(play):
    with play.gateway.connect() as wire:
        seen = []
        for _ in range(40):
            wire.send("GET /split/x HTTP/1.1\r\nHost: a\r\n\r\n")
            seen.append(wire.read_response().body)
    assert {seen[n : n + 4].count(b"two") for n in range(0, 40, 4)} == {1}
    lines = [line for line in play.gateway.access(40) if line["path"] == "/split/x"]
    upstreams = {b"one": "stable", b"two": "canary"}
    assert [line["upstream"] for line in lines] == [upstreams[body] for body in seen]


def test_a_client_stays_by_its_cookie(play):
    where = {uid: {play.gateway.get("/sticky", f"Cookie: uid={uid}").body for _ in range(3)} for uid in range(20)}
    assert all(len(bodies) == 1 for bodies in where.values())
    assert {body for bodies in where.values() for body in bodies} == {b"one", b"two"}


@pytest.mark.parametrize("framing", ["length", "chunked", "late"])
def test_a_copy_with_its_body_and_headers_as_they_were(play, framing):
    with play.gateway.connect() as wire:
        if framing == "chunked":
            wire.send("POST /mirrored/x?y=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            wire.send("2\r\nde\r\n0\r\n\r\n")
        else:
            wire.send(
                "POST /mirrored/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n" + "abc" * (framing == "late")
            )
            play.one.act = reply(b"one")
            wire.send("de" if framing == "late" else "abcde")
        answer = wire.read_response()
    assert answer.body == b"one"
    (copy,) = play.shadow.wait_for_requests(1)
    (first,) = play.one.requests
    assert copy.line == first.line == "POST /mirrored/x?y=1 HTTP/1.1"
    assert (copy["x-note"], copy["host"], copy["x-request-id"]) == ("in", "a", answer["x-request-id"])
    play.gateway.wait_until_idle()
    assert copy.body == b"abcde"
    line = play.gateway.line("/mirrored/x")
    assert (line["upstream"], line["tries"], line["status"]) == ("stable", "1", "200")
    assert sum(entry["id"] == answer["x-request-id"] for entry in play.gateway.access()) == 1


def test_exactly_a_tenth(play):
    with play.gateway.connect() as wire:
        for _ in range(50):
            wire.send("GET /tenth HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().body == b"one"
    assert len(play.shadow.wait_for_requests(5)) == 5
    play.gateway.wait_until_idle()
    assert len(play.shadow.requests) == 5


def test_a_split_request_is_copied_once(play):
    assert {play.gateway.get("/both").body for _ in range(2)} == {b"one", b"two"}
    assert len(play.shadow.wait_for_requests(2)) == 2


def test_what_is_not_copied(play):
    large = "x" * (64 * 1024 + 1)
    answer = play.gateway.ask(f"POST /mirrored HTTP/1.1\r\nHost: a\r\nContent-Length: {len(large)}\r\n\r\n{large}")
    assert answer.body == b"one"
    chunks = f"{len(large):x}\r\n{large}\r\n0\r\n\r\n"
    answer = play.gateway.ask(f"POST /mirrored HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
    assert answer.body == b"one"
    play.gateway.get("/mirrored/last")
    assert [copy.line for copy in play.shadow.wait_for_requests(1)] == ["GET /mirrored/last HTTP/1.1"]


def test_a_shadow_that_hangs_or_is_dead_delays_nobody(play, stopwatch):
    play.shadow.act = lambda peer, request: peer.read_all()
    with stopwatch as watch, play.gateway.connect() as wire:
        for path in ("/mirrored", "/dead") * 10:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().body == b"one"
    assert watch.seconds < 2
    assert len(play.shadow.wait_for_requests(10)) == 10
    play.gateway.wait_until_idle()  # under their own timeout of 3 s


def test_so_many_copies_at_most(play):
    play.shadow.act = lambda peer, request: peer.read_all()
    with play.gateway.connect() as wire:
        for _ in range(120):
            wire.send("GET /mirrored/many HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().body == b"one"
    play.gateway.wait_for_line("route mirrored: request not mirrored: the limit of 100 active copies is reached")
    assert len(play.shadow.wait_for_requests(100)) == 100
    play.gateway.wait_until_idle()


def test_the_copy_has_a_timeout_of_its_own(play):
    play.shadow.act = lambda peer, request: peer.read_all()
    assert play.gateway.get("/impatient").body == b"one"
    play.shadow.wait_for_requests(1)
    play.gateway.wait_until_idle()
    assert "backend did not respond in time" in play.gateway.errors


def test_a_stop_does_not_wait_for_copies(tmp_path, stopwatch):
    ini = (
        "[route:a]\nupstream = a\nmirror = b\ntimeout = 60s\n[upstream:a]\nbackends = %s\n[upstream:b]\nbackends = %s\n"
    )
    with Actor() as first, Actor(lambda peer, request: peer.read_all()) as second:
        with RunningGateway(ini % (first.url, second.url), tmp_path) as gateway:
            assert gateway.get("/").status == 200
            second.wait_for_requests(1)
            with stopwatch as watch:
                gateway.signal(signal.SIGTERM)
                assert gateway.wait() == 0
    assert watch.seconds < 10
    assert "nothing was cut" in gateway.errors
    assert "Traceback" not in gateway.errors


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/api/a%20b?c=%2F", "/a%20b?c=%2F"),
        ("/v0/a%20b?c=%2F", "/v1/x/a%20b?c=%2F"),
        ("/v0?", "/v1/x"),
        ("/old/12?q=1&r", "/new/12?q=1&r"),
        ("/old/12/a%2fb", "/new/a%2fb/12"),
        ("/old/x", "/old/x"),
    ],
)
def test_the_target_byte_for_byte(play, target, sent):
    assert play.gateway.get(target).body == b"one"
    (request,) = play.one.requests
    assert request.line == f"GET {sent} HTTP/1.1"
    prefix = {"/api": "/api", "/v0/": "/v0", "/v0?": "/v0"}.get(target[:4])
    assert request["x-forwarded-prefix"] == prefix


@pytest.mark.parametrize("target", ["/v0/..%2fsecret", "/old/1/..%2f..%2fsecret", "/v0/..\\secret"])
def test_no_way_out_of_a_prefix(play, target):
    answer = play.gateway.get(target)
    assert (answer.status, answer["content-type"]) == (400, "application/problem+json")
    assert play.one.requests == []


@pytest.mark.parametrize(
    ("target", "host", "status", "location"),
    [
        ("/gone/a%20b?c=d", "x", 307, "https://new.test/gone/a%20b?c=d"),
        ("/x?y", "plain.test:8080", 308, "https://plain.test/x?y"),
        ("//evil.test/x", "www.PLAIN.test", 308, "https://www.plain.test/evil.test/x"),
        ("/r//evil.test", "x", 307, "/s/evil.test"),
    ],
)
def test_redirects(play, target, host, status, location):
    answer = play.gateway.ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (answer.status, answer["location"], answer["content-length"]) == (status, location, "0")
    line = play.gateway.line(target.partition("?")[0])
    assert (line["status"], line["upstream"], line["backend"], line["tries"]) == (str(status), "-", "-", "0")


def test_fixed_responses(play):
    answer = play.gateway.get("/robots.txt")
    assert (answer.status, answer.body, answer["content-type"]) == (
        200,
        b"User-agent: *\nDisallow: /",
        "text/plain; charset=utf-8",
    )
    assert play.gateway.get("/robots.txt/x").status == 404
    closed = play.gateway.get("/closed/x")
    assert (closed.status, closed["content-type"]) == (410, "application/problem+json")
    assert play.gateway.line("/closed/x")["reason"] == "fixed"
    head = play.gateway.get("/robots.txt", method="HEAD")
    assert (head.body, head["content-length"]) == (b"", "25")


def test_limits_of_one_route_only(play):
    assert [play.gateway.get("/limited").status for _ in range(3)] == [200, 200, 429]
    assert play.gateway.get("/split").status == 200


def test_a_smaller_body_than_elsewhere(play):
    large = "Host: a\r\nContent-Length: 11\r\n\r\n" + "x" * 11
    assert play.gateway.ask(f"POST /limited HTTP/1.1\r\n{large}").status == 413
    assert play.gateway.ask(f"POST /api HTTP/1.1\r\n{large}").status == 200
