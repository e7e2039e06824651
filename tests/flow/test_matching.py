"""Which route takes a request, over real sockets: patterns, several paths, clients, listeners, negations."""

import socket

import pytest
from scenes import scene

from gproxy.testing.gateway import PATIENCE, Wire, free_port

BACKENDS = "one two"
INI = r"""
[gateway]
handlers = health, refuse
trusted_proxies = 127.0.0.0/8
[handler:refuse]
use = handlers:refuse

[route:rest]
upstream = one
skip = refuse
[route:users]
path = ~ /v[12]/users/\d{1,9}
    /people
upstream = two
skip = refuse
[route:me]
path = /v1/users/0
exact = yes
upstream = one
skip = refuse
[route:longer]
path = /v1/users/7/x
upstream = one
skip = refuse
[route:secret]
path = ~ /secret/.*
upstream = one

[route:bare]
path = /negated
upstream = one
skip = refuse
[route:negated]
path = /negated
headers = not X-Beta: ~y.*, not Authorization: *
cookies = not beta: *
query = not plan: free
upstream = two
skip = refuse
[route:inside]
path = /client
client = 10.0.0.0/8, 2001:db8::/32
upstream = two
skip = refuse
[route:outside]
path = /client
upstream = one
skip = refuse
[route:captured]
path = ~ /member/(?P<id>\d+)(/.*)?
rewrite = /u/{id}{2}
upstream = one
skip = refuse
[route:moved]
path = ~ /moved/(\d+)/(.*)
rewrite = /{2}/{1}
redirect = https://new.test{path}
skip = refuse

[upstream:one]
backends = {one}
[upstream:two]
backends = {two}
"""
HANDLERS = """
from gproxy import HTTPError

def refuse(request, next):
    raise HTTPError(403, "no")
"""


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/v1/users/7", "users"), ("/v2/users/123456789?x=1", "users"), ("/people/1", "users"), ("/v1/users/%37", "users"),
        ("//v1/./users/7", "users"), ("/v1/users/0", "me"), ("/v1/users/7/x", "longer"), ("/v3/users/7", "rest"),
        ("/v1/users/7/", "rest"), ("/v1/users/7%0A", "rest"), ("/v1/users/1234567890", "rest"),
    ],
)  # fmt: skip
def test_patterns_and_paths(play, target, route):
    answer = play.gateway.get(target)
    assert answer.body == (b"two" if route == "users" else b"one")
    assert play.gateway.line(target.partition("?")[0])["route"] == route


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/secret/1", 403), ("/secret/%0A", 403), ("/%73ecret/1", 403), ("/x/../secret/1", 403), ("/secret/", 403),
        ("/secret%2f1", 400), ("/x/..%2fsecret/1", 400), ("/x/..%5csecret/1", 400), ("/%252e/secret/1", 400),
        ("/secret/" + "a" * 2040, 403), ("/secret/" + "a" * 2041, 414), ("/x" * 2000, 414),
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_around_a_pattern(play, target, status):
    assert play.gateway.get(target).status == status
    assert play.one.requests == play.two.requests == []


@pytest.mark.parametrize(
    ("query", "header", "body"),
    [
        ("", "X-A: 1", b"two"), ("", "X-Beta: no", b"two"), ("", "X-Beta: yes", b"one"), ("", "Authorization: x", b"one"),
        ("", "Cookie: alpha=1", b"two"), ("", "Cookie: a=b; beta=", b"one"), ("?plan=large", "X-A: 1", b"two"),
        ("?plan=free", "X-A: 1", b"one"), ("?pl%61n=fr%65e", "X-A: 1", b"one"),
    ],
)  # fmt: skip
def test_what_a_request_must_not_have(play, query, header, body):
    assert play.gateway.get(f"/negated{query}", header).body == body


@pytest.mark.parametrize(
    ("client", "body"),
    [("10.1.2.3", b"two"), ("2001:db8::1", b"two"), ("::ffff:10.0.0.1", b"two"), ("11.0.0.1", b"one"), ("x", b"one")],
)
def test_the_client_behind_a_trusted_proxy(play, client, body):
    assert play.gateway.get("/client", f"X-Forwarded-For: {client}").body == body


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/member/7", "/u/7"), ("/member/7/a%20b?x=%2F", "/u/7/a%20b?x=%2F"), ("//member/%37/", "/u/7/"),
        ("/member/7/%C3%BC//b", "/u/7/%C3%BC/b"),
    ],
)  # fmt: skip
def test_groups_of_a_pattern_in_the_forwarded_path(play, target, sent):
    assert play.gateway.get(target).status == 200
    assert play.one.requests[0].line == f"GET {sent} HTTP/1.1"


@pytest.mark.parametrize("target", ["/member/7/..%2f..%2fsecret", "/member/7/x;y", "/member/7/%5c..%5c..%5csecret"])
def test_no_group_of_a_pattern_with_several_readings(play, target):
    assert play.gateway.get(target).status == 400
    assert play.one.requests == []


@pytest.mark.parametrize(
    ("target", "location"),
    [("/moved/7/", "/7"), ("/moved/7/a?b", "/a/7?b"), ("/moved/7//evil.test", "/evil.test/7"), ("/moved/7/%5Cx", None)],
)
def test_groups_of_a_pattern_in_a_redirect(play, target, location):
    assert play.gateway.get(target)["location"] == (location and f"https://new.test{location}")


LISTENERS = """
[gateway]
handlers = health
[route:rest]
upstream = one
[route:inner]
path = /inner
listener = 127.0.0.1:%d
upstream = two
[upstream:one]
backends = {one}
[upstream:two]
backends = {two}
"""


def test_a_route_of_one_listener(tmp_path):
    port = free_port()
    with scene(LISTENERS % port, "one two", tmp_path, arguments=("--bind", f"127.0.0.1:{port}")) as play:
        play.reset()
        assert play.gateway.get("/inner").body == b"one"
        with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
            for target, body in (("/inner/x", b"two"), ("/", b"one"), ("/health/x", b"one")):
                wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
                assert wire.read_response().body == body
            wire.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b'"status"' in wire.read_response().body
        assert play.gateway.line("/inner/x")["route"] == "inner"
        assert play.gateway.line("/inner")["route"] == "rest"
        play.gateway.wait_until_idle()
