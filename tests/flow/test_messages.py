"""Ordinary traffic: framing, keep-alive on both sides, order, headers, and whose turn it is."""

import threading
import time
from collections import Counter

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one a b c d w1 w2 w3 l1 l2 h1 h2 h3"
INI = """
[gateway]
handlers = health
timeout = 5s
[handler:health]
cache = 0s
[route:one]
path = /
upstream = one
[route:users]
path = /users
upstream = users
[route:orders]
path = /orders
upstream = orders
[route:weighted]
path = /weighted
upstream = weighted
[route:least]
path = /least
upstream = least
[route:hash]
path = /hash
upstream = hash
[route:full]
path = /full
upstream = full
[route:stripped]
path = /api/v1
strip_prefix = yes
upstream = one
[upstream:one]
backends = {one}
[upstream:users]
backends = {a}, {b}
[upstream:orders]
backends = {c}, {d}
[upstream:weighted]
backends = {w1} weight=3, {w2} weight=1, {w3} weight=1
[upstream:least]
backends = {l1}, {l2}
balance = least_conn
[upstream:hash]
backends = {h1}, {h2}, {h3}
balance = uri_hash
[upstream:full]
backends = {one}
max_connections = 1
"""


# --- framing


def test_head_has_the_length_and_no_body(play):
    play.one.act = lambda peer, request: peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    with play.gateway.connect() as wire:
        for _ in range(2):
            wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response(head_only=True)
            assert (answer.status, answer["content-length"]) == (200, "1234")
        play.one.act = reply(b"body")
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"body"
    assert [seen.line.split()[0] for seen in play.one.requests] == ["HEAD", "HEAD", "GET"]


def test_head_of_a_chunked_resource(play):
    play.one.act = lambda peer, request: peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with play.gateway.connect() as wire:
        wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response(head_only=True).status == 200
        play.one.act = reply(b"body")
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"body"


@pytest.mark.parametrize(
    ("head", "length"),
    [
        ("204 No Content\r\n", None),
        ("204 No Content\r\nContent-Length: 0\r\n", None),
        ('304 Not Modified\r\nETag: "x"\r\nContent-Length: 99\r\n', "99"),
        ("304 Not Modified\r\n", None),
    ],
)
def test_responses_that_never_have_a_body(play, head, length):
    play.one.act = lambda peer, request: peer.send(f"HTTP/1.1 {head}\r\n")
    with play.gateway.connect() as wire:
        wire.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = wire.read_response()
        assert answer.status == int(head[:3])
        assert answer["content-length"] == length
        assert answer["transfer-encoding"] is None
        play.one.act = reply(b"next")
        wire.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"next"


def test_an_empty_post_says_so(play):
    """RFC 9110 section 8.6: a method that is expected to have content gets a length even for none."""
    play.gateway.get("/", method="POST")
    play.gateway.get("/", method="GET")
    post, get = play.one.requests
    assert post["content-length"] == "0"
    assert get["content-length"] is None


# --- keep-alive


def test_many_requests_share_one_connection_on_both_sides(play):
    play.gateway.get("/warm")
    before = play.one.connections
    with play.gateway.connect() as wire:
        for n in range(50):
            wire.send(f"POST /kept/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{n:03}")
            answer = wire.read_response()
            assert (answer.status, answer["connection"]) == (200, None)
    for _ in range(5):
        play.gateway.get("/from-others")
    assert play.one.connections == before
    assert [seen.body for seen in play.one.requests[1:51]] == [b"%03d" % n for n in range(50)]


def test_the_largest_head_of_a_response_may_come_in_pieces(play):
    head = "HTTP/1.1 204 No Content\r\nX: ".ljust(64 * 1024, "y")

    def act(peer, _request):
        peer.send(head + "\r\n\r")
        time.sleep(0.05)
        peer.send("\n")

    play.one.act = act
    assert play.gateway.get("/").status == 204


def test_a_larger_head_of_a_response_is_refused_though_it_comes_whole(play):
    head = "HTTP/1.1 204 No Content\r\nX: ".ljust(64 * 1024 + 1, "y")
    play.one.act = lambda peer, _request: peer.send(head + "\r\n\r\n")
    assert play.gateway.get("/").status == 502


def test_a_chunked_response_leaves_the_backend_connection_usable(play):
    play.gateway.get("/warm")
    before = play.one.connections
    play.one.act = lambda peer, request: peer.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2;a=b\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    for _ in range(5):
        assert play.gateway.get("/chunked").body == b"ok"
    assert play.one.connections == before


@pytest.mark.parametrize(
    "raw",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_backend_that_wants_no_keep_alive(play, raw):
    """Its connection is not used again; the client's goes on, and hears nothing of it."""
    asked_again = threading.Event()

    def act(peer, request):
        peer.send(raw)
        if peer.read_head():
            asked_again.set()
        peer.close()

    play.one.act = act
    with play.gateway.connect() as wire:
        for _ in range(3):
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response()
            assert (answer.body, answer["connection"]) == (b"ok", None)
    assert not asked_again.is_set()


def test_a_body_until_close_becomes_chunks(play):
    play.one.act = lambda peer, request: (peer.send("HTTP/1.0 200 OK\r\n\r\nold style"), peer.close())
    with play.gateway.connect() as wire:
        for _ in range(2):
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response()
            assert answer["transfer-encoding"] == "chunked"
            assert (answer.body, answer.complete) == (b"old style", True)


def test_pipelined_requests_are_answered_in_order(play):
    """All at once on the wire; the first is the slowest, and still the first to be answered."""
    go = threading.Event()

    def act(peer, request):
        if request.line.startswith("GET /0 "):
            go.wait(5)
        reply(request.line.split()[1].encode())(peer, request)

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("".join(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(10)))
        wire.send("POST /10 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /11 HTTP/1.1\r\nHost: a\r\n\r\n")
        play.one.wait_for_requests(1)
        go.set()
        assert [wire.read_response().body for _ in range(12)] == [b"/%d" % n for n in range(12)]
    assert play.one.requests[10].body == b"body"


def test_a_client_that_says_close(play):
    with play.gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response()["connection"] == "close"
        assert wire.is_closed()
    assert len(play.one.requests) == 1
    assert play.one.requests[0]["connection"] is None


# --- HTTP/1.0 clients


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_client_that_says_close_and_sends_on(play, pause):
    """Its answer is not taken back by a reset (RFC 9112 section 9.6)."""
    play.one.act = reply(b"x" * 3_000_000)
    with play.gateway.connect() as wire:
        wire.send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + "GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10_000
        )
        time.sleep(pause)
        answer = wire.read_response()
        assert (len(answer.body), answer["connection"]) == (3_000_000, "close")
        assert wire.is_closed()
    assert len(play.one.requests) == 1


def test_http10_without_keep_alive(play):
    with play.gateway.connect() as wire:
        wire.send("GET /old HTTP/1.0\r\n\r\n")
        answer = wire.read_response()
        assert (answer.status, answer.body, answer["connection"]) == (200, b"one", "close")
        assert wire.is_closed()
    (seen,) = play.one.requests
    assert seen.line == "GET /old HTTP/1.1"
    assert seen["host"] == f"127.0.0.1:{play.one.port}"
    assert play.gateway.line("/old")["protocol"] == "HTTP/1.0"


def test_http10_with_keep_alive(play):
    with play.gateway.connect() as wire:
        for _ in range(3):
            wire.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            answer = wire.read_response()
            assert (answer.body, answer["connection"].lower()) == (b"one", "keep-alive")


@pytest.mark.parametrize("keep", ["", "Connection: keep-alive\r\n"])
def test_a_chunked_response_to_http10_goes_on_until_close(play, keep):
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        go.wait(5)
        peer.send("6\r\n world\r\n0\r\n\r\n")

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(f"GET / HTTP/1.0\r\nHost: a\r\n{keep}\r\n")
        head = wire.read_until(b"\r\n\r\n").lower()
        assert b"transfer-encoding" not in head
        assert b"connection: close\r\n" in head
        assert wire.read_exactly(5) == b"hello"
        go.set()
        assert wire.read_all() == b" world"
        assert not wire.was_reset


# --- headers


def test_a_date_is_added_and_a_date_is_kept(play):
    assert play.gateway.get("/")["date"].endswith(" GMT")
    play.one.act = reply(b"", "Date: Thu, 01 Jan 1970 00:00:00 GMT")
    assert play.gateway.get("/")["date"] == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_cookies_are_kept_apart(play):
    play.one.act = reply(b"", "Set-Cookie: a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT", "set-cookie: b=2", "Vary: x")
    answer = play.gateway.get("/")
    assert [pair for pair in answer.fields if pair[0] == "set-cookie"] == [
        ("set-cookie", "a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT"),
        ("set-cookie", "b=2"),
    ]


def test_the_target_travels_as_it_came(play):
    for target in ("/a%2Fb/%7Ec?x=%20&y=//z", "/a;b=c/d,e", "/%C3%A4?"):
        play.gateway.get(target)
        assert play.one.requests[-1].line == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/api/v1", "/"),
        ("/api/v1/", "/"),
        ("/api/v1/x?y=z", "/x?y=z"),
        ("/api/v1?y", "/?y"),
        ("/api/v1/a%20b%2Fc", "/a%20b%2Fc"),
        ("//api/v1/x", "/x"),
        ("/api//v1//x%20y", "/x%20y"),
        ("/api/./v1/x/", "/x/"),
        ("/api/v1/y/../x", "/x"),
        ("/api/v1/../v1/x", "/x"),
        ("/%61pi/v1/%0d%0aX-Evil:%20yes", "/%0d%0aX-Evil:%20yes"),
        ("//api/v1/%20HTTP/1.1%0d%0aX-Evil:%20yes", "/%20HTTP/1.1%0d%0aX-Evil:%20yes"),
    ],
)
def test_a_prefix_is_taken_off_and_nothing_else(play, target, sent):
    """However the prefix was spelled: what follows it stays encoded, or it could end the line it stands in."""
    assert play.gateway.get(target).status == 200
    (seen,) = play.one.requests
    assert seen.line == f"GET {sent} HTTP/1.1"
    assert seen["x-evil"] is None


# --- whose turn


def test_round_robin_is_exact_for_each_upstream(play):
    """Interleaved with the other upstream and with requests elsewhere, each keeps its own turn."""
    got = {"/users": [], "/orders": []}
    for n in range(40):
        path = "/users" if n % 3 else "/orders"
        got[path].append(play.gateway.get(path).body)
        play.gateway.get("/elsewhere")
    for path, names in (("/users", {b"a", b"b"}), ("/orders", {b"c", b"d"})):
        assert set(got[path][:2]) == names
        assert all(one != two for one, two in zip(got[path], got[path][1:], strict=False))


def test_weights_are_exact_and_interleaved(play):
    got = [play.gateway.get("/weighted").body for _ in range(20)]
    for turn in range(0, 20, 5):
        assert Counter(got[turn : turn + 5]) == {b"w1": 3, b"w2": 1, b"w3": 1}
    assert b"w1w1w1" not in b"".join(got[:5])


def test_least_conn_goes_where_less_is_under_way(play):
    go = threading.Event()

    def busy(peer, request):
        if request.line.startswith("GET /least/hold"):
            go.wait(10)
        reply(b"x")(peer, request)

    play.l1.act = play.l2.act = busy
    with play.gateway.connect() as wire:
        wire.send("GET /least/hold HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: len(play.l1.requests) + len(play.l2.requests) == 1, "held")
        held, free = (play.l1, play.l2) if play.l1.requests else (play.l2, play.l1)
        for _ in range(6):
            play.gateway.get("/least")
        assert (len(held.requests), len(free.requests)) == (1, 6)
        assert sum(play.gateway.active()) == 1
        go.set()
        assert wire.read_response().status == 200
    for _ in range(4):
        play.gateway.get("/least")
    assert (len(held.requests), len(free.requests)) == (3, 8)


def test_uri_hash_keeps_a_path_on_its_backend(play):
    where = {n: play.gateway.get(f"/hash/{n}").body for n in range(30)}
    assert set(where.values()) == {b"h1", b"h2", b"h3"}
    assert {n: play.gateway.get(f"/hash/{n}").body for n in range(30)} == where


def test_a_full_upstream_is_503(play):
    go = threading.Event()
    play.one.act = lambda peer, request: (go.wait(10), reply(b"x")(peer, request))
    with play.gateway.connect() as wire:
        wire.send("GET /full/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        play.one.wait_for_requests(1)
        answer = play.gateway.get("/full/2")
        assert (answer.status, answer["retry-after"]) == (503, "1")
        assert answer["proxy-status"] == "gproxy; error=destination_unavailable"
        assert play.gateway.line("/full/2")["reason"] == "none_available"
        go.set()
        assert wire.read_response().status == 200
    assert play.gateway.get("/full/3").status == 200
