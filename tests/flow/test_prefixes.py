"""Responses of backends behind strip_prefix: a client that follows them stays on its route."""

import urllib.request
from http.cookiejar import CookieJar

import pytest

from gproxy.testing.backends import reply

BACKENDS = "one"
INI = """
[gateway]
handlers = health
[route:app]
path = /app
upstream = one
strip_prefix = yes
[route:replaced]
path = /replaced
upstream = one
strip_prefix = yes
add_prefix = /v2
[route:as-it-is]
path = /as-it-is
upstream = one
strip_prefix = yes
restore_prefix = no
[route:whole]
path = /whole
upstream = one
[route:sticky]
path = /sticky
upstream = sticky
strip_prefix = yes
[upstream:one]
backends = {one}
[upstream:sticky]
backends = {one}
balance = sticky
sticky_cookie = node
"""


def redirect(location, *more):
    return reply(b"", f"Location: {location}", *more, status="302 Found")


@pytest.mark.parametrize(
    ("path", "location", "seen"),
    [
        ("/app/x", "/login?next=%2Fx", "/app/login?next=%2Fx"),
        ("/app/x", "http://gateway.test/login", "http://gateway.test/app/login"),
        ("/app/x", "https://login.test/", "https://login.test/"),
        ("/app/x", "/app/login", "/app/login"),
        ("/replaced/x", "/v2/login", "/replaced/login"),
        ("/replaced/x", "/login", "/login"),
        ("/as-it-is/x", "/login", "/login"),
        ("/whole/x", "/login", "/login"),
    ],
)
def test_a_location(play, path, location, seen):
    play.one.act = redirect(location, "Content-Location: /other")
    answer = play.gateway.get(path)
    assert (answer.status, answer["location"]) == (302, seen)
    assert answer["content-location"] == ("/app/other" if path == "/app/x" else "/other")


def test_the_address_of_the_backend_is_not_for_clients(play):
    play.one.act = redirect(f"{play.one.url}/login")
    assert play.gateway.get("/app/x")["location"] == "/app/login"


def test_cookies(play):
    sent = (
        "Set-Cookie: a=1; Path=/",
        "Set-Cookie: b=2; Path=/x; Domain=127.0.0.1",
        "Set-Cookie: __Host-c=3; Path=/; Secure",
    )
    play.one.act = reply(b"ok", *sent)
    answer = play.gateway.get("/app/x")
    cookies = [value for name, value in answer.fields if name == "set-cookie"]
    assert cookies == ["a=1; Path=/app", "b=2; Path=/app/x", "__Host-c=3; Path=/; Secure"]


def test_the_gateways_own_cookie_stays(play):
    play.one.act = reply(b"ok", "Set-Cookie: a=1; Path=/")
    theirs, own = (value for name, value in play.gateway.get("/sticky/x").fields if name == "set-cookie")
    assert theirs == "a=1; Path=/sticky"
    assert own.startswith("node=")
    assert "Path=/;" in f"{own};"


def test_a_client_that_follows_stays_on_the_route(play):
    def login(peer, received):
        if received.line.startswith("GET /start "):
            act = redirect("/home", "Set-Cookie: session=s; Path=/")
        else:
            act = reply(b"home")
        act(peer, received)

    play.one.act = login
    jar = CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{play.gateway.port}/app/start") as found:
        assert (found.url.partition(str(play.gateway.port))[2], found.read()) == ("/app/home", b"home")
    assert [received.line for received in play.one.requests] == ["GET /start HTTP/1.1", "GET /home HTTP/1.1"]
    assert play.one.requests[1]["cookie"] == "session=s"
    with opener.open(f"http://127.0.0.1:{play.gateway.port}/whole/x"):
        assert play.one.requests[-1]["cookie"] is None
