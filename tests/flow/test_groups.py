"""Groups of a route's pattern in redirects and in headers, as clients and backends get them."""

import pytest

BACKENDS = "one"
INI = r"""
[gateway]
handlers = health, everywhere
[route:moved]
path = ~ /v[12]/users/(?P<id>\d+)
redirect = https://new.test/users/{id}?from={path}
[route:files]
path = ~ /files/(.*)
redirect = /static/{1}
[route:tenant]
path = ~ /t/(?P<tenant>[^/]+)(?:/(?P<rest>.*))?
upstream = one
handlers = here
[route:plain]
path = /
upstream = one
[handler:here]
use = headers
request = X-Rest: {rest}
[handler:everywhere]
use = headers
request = X-Tenant: {tenant}
response = X-Served-For: {tenant} by {route}
[upstream:one]
backends = {one}
"""


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/v1/users/7", "https://new.test/users/7?from=%2Fv1%2Fusers%2F7"),
        ("/v2/users/%37?a=b", "https://new.test/users/7?from=%2Fv2%2Fusers%2F%2537%3Fa%3Db"),
        ("/files/a/b%20c", "/static/a/b%20c"),
        ("/files//evil.test/x", "/static/evil.test/x"),
        ("/files/a%0D%0ASet-Cookie:%20a=b", "/static/a%0D%0ASet-Cookie:%20a=b"),
    ],
)
def test_a_redirect(play, target, location):
    answer = play.gateway.get(target)
    assert (answer.status, answer["location"], answer["set-cookie"]) == (307, location, None)


def test_a_path_with_several_readings_is_no_redirect(play):
    assert play.gateway.get("/files/a%252F..%252Fb").status == 400


def test_headers(play):
    answer = play.gateway.get("/t/acme%20inc/a/b", "X-Tenant: mine", "X-Rest: mine")
    seen = play.one.requests[-1]
    assert (seen["x-tenant"], seen["x-rest"]) == ("acme%20inc", "a/b")
    assert answer["x-served-for"] == "acme%20inc by tenant"


def test_a_group_cannot_end_a_line(play):
    answer = play.gateway.get("/t/a%0D%0AX-Admin:%20yes/r%0Ax")
    seen = play.one.requests[-1]
    assert (seen["x-tenant"], seen["x-rest"], seen["x-admin"]) == ("a%0D%0AX-Admin:%20yes", "r%0Ax", None)
    assert answer["x-admin"] is None


@pytest.mark.parametrize("path", ["/t/acme", "/other"])
def test_a_group_without_a_part_removes_the_clients_own_header(play, path):
    assert play.gateway.get(path, "X-Tenant: mine", "X-Rest: mine").status == 200
    seen = play.one.requests[-1]
    assert seen["x-tenant"] == ("acme" if path == "/t/acme" else None)
    assert seen["x-rest"] == (None if path == "/t/acme" else "mine")
