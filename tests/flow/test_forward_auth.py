"""An external authorizer in each of its moods: what it gets, what passes, what clients see, and what is kept."""

import threading
import time

import pytest

from gproxy.testing.backends import Held, reply, switching
from gproxy.testing.gateway import eventually

INI = """
[server]
head_timeout = 3s
[gateway]
handlers = health, auth
timeout = 3s
[handler:health]
cache = 0s
[handler:auth]
use = forward_auth
upstream = auth
path = /verify?rd=login
copy = Remote-User, Remote-Groups
copy_back = Set-Cookie, X-Session
user = Remote-User
role_claims = Remote-Groups
set = X-Original-URL: {scheme}://{host}{uri}, X-Original-Method: {method}
[handler:allow]
allow = role:admin
[handler:kept]
use = forward_auth
upstream = auth
cache = 1m
send = Cookie, Authorization
copy = Remote-User
user = Remote-User
[handler:guarded]
use = forward_auth
upstream = auth
max_failures = 3/minute
[handler:body]
use = forward_auth
upstream = auth
method = same
body = 1KiB
[handler:open]
use = forward_auth
upstream = auth
on_failure = open
copy = Remote-User
[handler:small]
use = forward_auth
upstream = auth
max_body = 1KiB
[handler:who]
use = any_of
of = keys, gate
[handler:keys]
use = jwt
secret = correct horse battery staple
[handler:gate]
use = forward_auth
upstream = auth
copy = X-Gate
user = X-Named
[route:app]
path = /
upstream = app
[route:admin]
path = /admin
upstream = app
handlers = allow
[route:public]
path = /public
upstream = app
skip = auth
[route:kept]
path = /kept
upstream = app
skip = auth
handlers = kept
[route:guarded]
path = /guarded
upstream = app
skip = auth
handlers = guarded
[route:body]
path = /body
upstream = app
skip = auth
handlers = body
[route:open]
path = /open
upstream = app
skip = auth
handlers = open
[route:small]
path = /small
upstream = app
skip = auth
handlers = small
[route:late]
path = /late
upstream = app
timeout = 500ms
[route:who]
path = /who
upstream = app
skip = auth
handlers = who
[upstream:app]
backends = {app}
[upstream:auth]
backends = {auth}
max_fails = 0
"""
BACKENDS = "app auth"
YES = ("Remote-User: alice", "Remote-Groups: admin,dev", "X-Secret: s")


@pytest.fixture
def play(play):
    play.auth.act = reply(b"", *YES)
    return play


def test_what_the_authorizer_gets(play):
    answer = play.gateway.get(
        "/a/b?c=d", "Cookie: sid=1", "Authorization: Basic YTpi", "X-Own: 1", "Range: bytes=0-1", 'If-None-Match: "x"',
        "If-Modified-Since: x", "Max-Forwards: 0", "TE: trailers", "Connection: TE, X-Hop", "X-Hop: 1",
        "X-Forwarded-Uri: /forged", "X-Forwarded-Method: PUT", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Host: forged",
        "X_Forwarded_Uri: /forged", "X-Request-ID: forged", "Forwarded: for=forged", "Remote-User: forged",
        method="OPTIONS",
    )  # fmt: skip
    assert answer.status == 204  # Max-Forwards: 0 ends at the gateway, behind the authorizer
    (seen,) = play.auth.requests
    assert seen.line == "GET /verify?rd=login HTTP/1.1"
    for name, value in {
        "cookie": "sid=1",
        "authorization": "Basic YTpi",
        "x-own": "1",
        "host": "gateway.test",
        "x-forwarded-method": "OPTIONS",
        "x-forwarded-uri": "/a/b?c=d",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "gateway.test",
        "x-forwarded-proto": "http",
        "x-original-url": "http://gateway.test/a/b?c=d",
        "x-original-method": "OPTIONS",
        "x-request-id": answer["x-request-id"],
    }.items():
        assert seen[name] == value, name
    for name in (
        "range", "if-none-match", "if-modified-since", "max-forwards", "te", "connection", "x-hop", "content-length",
        "transfer-encoding", "upgrade", "expect", "remote-user",
    ):  # fmt: skip
        assert seen[name] is None, name
    assert "forged" not in seen.head.decode()


def test_max_forwards_does_not_bypass_the_authorizer(play):
    play.auth.act = reply(b"", status="401 Unauthorized")
    assert play.gateway.get("/body", "Max-Forwards: 0", method="OPTIONS").status == 401


def test_what_the_backend_and_the_client_get(play):
    play.auth.act = reply(b"ignored", *YES, "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Session: s")
    play.app.act = reply(b"app", "Set-Cookie: c=3", "X-Session: of-the-backend")
    answer = play.gateway.get("/a", "Authorization: Bearer x")
    assert [value for name, value in answer.fields if name == "set-cookie"] == ["c=3", "a=1", "b=2"]
    assert (answer.body, answer["x-session"], answer["x-secret"]) == (b"app", "s", None)
    (seen,) = play.app.requests
    assert (seen["remote-user"], seen["remote-groups"], seen["x-secret"]) == ("alice", "admin,dev", None)
    assert seen["authorization"] is None
    line = play.gateway.line("/a")
    assert (line["user"], line["auth"], line["upstream"], line["tries"]) == ("alice", "auth", "app", "1")


@pytest.mark.parametrize("path", ["/a", "/public", "/kept", "/open", "/who"])
@pytest.mark.parametrize(
    "spelling", ["Remote-User", "REMOTE-USER", "Remote_User", "remote.user", "X_Gate", "x-gate", "X-Named", "x_named"]
)
def test_headers_of_the_authorizer_never_come_from_a_client(play, path, spelling):
    play.auth.act = reply(b"")
    assert play.gateway.get(path, f"{spelling}: root").status == 200
    assert "root" not in play.app.requests[-1].head.decode()


def test_roles_are_those_of_a_copied_header(play):
    assert play.gateway.get("/admin").status == 200
    play.auth.act = reply(b"", "Remote-User: bob", "Remote-Groups: dev, administrators")
    assert play.gateway.get("/admin").status == 403


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "302 Found", "303 See Other", "429 Too Many"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_other_answers_go_to_the_client_as_they_are(play, status, method):
    headers = ("Location: https://login.test/?rd=x", 'WWW-Authenticate: Basic realm="a"', "Set-Cookie: a=1")
    play.auth.act = reply(b"<p>login</p>", *headers, "Set-Cookie: b=2", "Content-Type: text/html", status=status)
    answer = play.gateway.get("/a", method=method)
    assert answer.line == f"HTTP/1.1 {status}"
    assert answer.body == (b"" if method == "HEAD" else b"<p>login</p>")
    assert (answer["location"], answer["content-type"]) == ("https://login.test/?rd=x", "text/html")
    assert [value for name, value in answer.fields if name == "set-cookie"] == ["a=1", "b=2"]
    assert play.app.requests == []


def endless(peer, request):
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.send(b"1\r\nx\r\n")
        time.sleep(0.02)


BROKEN = {
    "500": reply(b"", *YES, status="500 Oops"),
    "503": reply(b"", status="503 Busy"),
    "101": lambda peer, request: peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "closes": lambda peer, request: peer.close(),
    "garbage": lambda peer, request: peer.send(b"no http at all\r\n\r\n"),
    "cut": lambda peer, request: (peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), peer.close()),
    "long": reply(bytes(70_000), *YES),
    "endless": endless,
    "silent": lambda peer, request: peer.read_all(),
    "stops": lambda peer, request: (peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), peer.read_all()),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_authorizer_that_is_not_there_is_a_503(play, stopwatch, name):
    play.auth.act = BROKEN[name]
    with stopwatch:
        answer = play.gateway.get(f"/broken/{name}")
    assert (answer.status, answer["retry-after"]) == (503, "1")
    assert stopwatch.seconds < 2
    assert play.gateway.line(f"/broken/{name}")["reason"] == "auth_unavailable"
    assert play.app.requests == []
    play.gateway.wait_until_idle()


def test_with_on_failure_open_requests_pass_without_identity(play):
    play.auth.act = BROKEN["500"]
    assert play.gateway.get("/open/x", "Remote-User: root").status == 200
    assert play.app.requests[0]["remote-user"] is None
    assert play.gateway.line("/open/x")["user"] == "-"


def test_the_deadline_of_the_route_comes_first(play, stopwatch):
    play.auth.act = BROKEN["silent"]
    with stopwatch:
        assert play.gateway.get("/late").status == 504
    assert stopwatch.seconds < 0.95
    assert play.gateway.line("/late")["reason"] == "handler_timeout"


def test_a_client_that_leaves_cancels_the_call(play):
    held = Held()
    play.auth.act = held
    with play.gateway.connect() as wire:
        wire.send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.asked.acquire(timeout=10)
    assert play.gateway.line("/leaves")["status"] == "499"
    play.gateway.wait_until_idle()
    held.go.set()


def test_a_body_is_sent_to_both(play):
    data = b"x" * 1000
    raw = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nContent-Type: a/b\r\n\r\n" + data
    seen = []

    def act(peer, request):
        seen.append(peer.read_body(request))
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    play.auth.act = act
    assert play.gateway.ask(raw).status == 200
    assert (seen[0].line, seen[0].body, seen[0]["content-type"]) == ("POST / HTTP/1.1", data, "a/b")
    assert play.app.requests[0].body == data
    chunked = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert play.gateway.ask(chunked).status == 200
    assert (seen[1].body, seen[1]["content-length"]) == (b"hello", "5")


def test_a_body_that_is_too_long_for_the_authorizer_is_a_413(play):
    raw = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n" + bytes(1025)
    assert play.gateway.ask(raw).status == 413
    assert play.auth.requests == []


def test_a_websocket_passes(play):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGVzdA==")
    play.app.act = lambda peer, request: peer.send(switching(request) + b"hello")
    lines = "".join(f"{line}\r\n" for line in upgrade)
    with play.gateway.connect() as wire:
        wire.send(f"GET /ws HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
        assert wire.read_response().status == 101
        assert wire.read_exactly(5) == b"hello"
    (seen,) = play.auth.requests
    assert (seen["upgrade"], seen["connection"]) == (None, None)
    assert play.app.requests[0]["remote-user"] == "alice"
    play.auth.act = reply(b"", status="401 Unauthorized")
    with play.gateway.connect() as wire:
        wire.send(f"GET /ws HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
        assert wire.read_response().status == 401


def test_equal_requests_are_one_call(play):
    for _ in range(3):
        assert play.gateway.get("/kept/1", "Cookie: sid=1", "X-Other: x").status == 200
    assert len(play.auth.requests) == 1
    different = [
        ("/kept/2", "GET", "Cookie: sid=1"),
        ("/kept/1?x", "GET", "Cookie: sid=1"),
        ("/kept/1", "POST", "Cookie: sid=1"),
        ("/kept/1", "GET", "Cookie: sid=2"),
        ("/kept/1", "GET", "Authorization: Bearer a"),
    ]
    for count, (path, method, header) in enumerate(different, 2):
        assert play.gateway.get(path, header, method=method).status == 200
        assert len(play.auth.requests) == count
    assert {request["remote-user"] for request in play.app.requests} == {"alice"}


@pytest.mark.parametrize(
    ("headers", "status", "calls"),
    [
        (("Cache-Control: no-store",), "200 OK", 2),
        (("Cache-Control: max-age=0",), "200 OK", 2),
        (("Set-Cookie: a=1",), "200 OK", 2),
        (("Cache-Control: max-age=60",), "200 OK", 1),
        ((), "401 Unauthorized", 1),
        ((), "403 Forbidden", 1),
        (("Location: /login",), "302 Found", 2),
        ((), "404 Not Found", 2),
        ((), "500 Oops", 2),
    ],
)
def test_what_is_kept_of_an_answer(play, headers, status, calls):
    play.auth.act = reply(b"b", *headers, status=status)
    path = f"/kept/{status[:3]}/{'-'.join(headers)}".replace(" ", "").replace(":", "")
    answers = [play.gateway.get(path) for _ in range(2)]
    assert len(play.auth.requests) == calls
    if status[0] != "2":
        assert {answer.status for answer in answers} == {503 if status[0] == "5" else int(status[:3])}


def ask_at_once(play, path, count):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(play.gateway.get(path, "Cookie: sid=9")), daemon=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads, answers


def test_equal_concurrent_requests_are_one_call(play):
    held = Held(reply(b"", *YES))
    play.auth.act = held
    threads, answers = ask_at_once(play, "/kept/at-once", 10)
    assert held.asked.acquire(timeout=10)
    time.sleep(0.2)
    held.go.set()
    for thread in threads:
        thread.join(10)
    assert ([answer.status for answer in answers], len(play.auth.requests)) == ([200] * 10, 1)


def test_an_answer_that_may_not_be_kept_is_not_shared(play):
    held = Held(reply(b"", *YES, "Cache-Control: no-store"))
    play.auth.act = held
    threads, answers = ask_at_once(play, "/kept/not-shared", 5)
    assert held.asked.acquire(timeout=10)
    held.go.set()
    for thread in threads:
        thread.join(10)
    assert ([answer.status for answer in answers], len(play.auth.requests)) == ([200] * 5, 5)


def test_bad_credentials_sent_at_once_do_not_pass_the_limit_and_good_ones_do(play):
    threads, answers = ask_at_once(play, "/guarded", 12)
    for thread in threads:
        thread.join(10)
    assert ([answer.status for answer in answers], len(play.auth.requests)) == ([200] * 12, 12)
    held = Held(reply(b"", status="401 Unauthorized"))
    play.auth.act = held
    threads, answers = ask_at_once(play, "/guarded", 12)
    for _ in range(3):
        assert held.asked.acquire(timeout=10)
    time.sleep(0.2)
    held.go.set()
    for thread in threads:
        thread.join(10)
    assert sorted(answer.status for answer in answers) == [401] * 3 + [429] * 9
    assert len(play.auth.requests) == 15


def test_a_client_that_leaves_does_not_end_the_calls_of_others(play):
    held = Held(reply(b"", *YES))
    play.auth.act = held
    with play.gateway.connect() as first:
        first.send("GET /kept/left HTTP/1.1\r\nHost: gateway.test\r\nCookie: sid=9\r\n\r\n")
        assert held.asked.acquire(timeout=10)
        threads, answers = ask_at_once(play, "/kept/left", 3)
        time.sleep(0.2)
    held.go.set()
    for thread in threads:
        thread.join(10)
    assert [answer.status for answer in answers] == [200] * 3
    eventually(lambda: any(line["status"] == "499" for line in play.gateway.access()), "a 499")


def test_as_the_last_of_several_kinds(play):
    play.auth.act = reply(b"", "X-Gate: yes", "Set-Cookie: a=1")
    assert play.gateway.get("/who").status == 200
    assert play.app.requests[0]["x-gate"] == "yes"
    assert play.gateway.get("/who", "Authorization: Bearer a.b.c").status == 401
    assert len(play.auth.requests) == 1
    play.auth.act = reply(b"", "Location: /login", status="302 Found")
    assert play.gateway.get("/who").status == 302
