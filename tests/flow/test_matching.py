"""Which route takes a request, over real sockets: patterns, several paths, clients, listeners, negations."""

import pytest

BACKENDS = "one two"
INI = r"""
[gateway]
handlers = health, refuse
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
