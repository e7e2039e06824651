"""Which URLs and cookies of a backend get the stripped prefix back."""

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.gateway.restore_prefix import RestorePrefix
from gproxy.http.headers import Headers
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.testing import request
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.upstream import Upstream

ASKED = {"Host": "shop.test:8080"}


def made(strip="/app", add="", host="client", headers=()):
    backends = tuple(map(BackendURL.parse, ("http://app.internal:5001", "https://app.internal")))
    settings = construct(UpstreamSettings, name="u", backends=backends, host=host)
    upstream = Upstream(settings, RoundRobin(), Runtime())
    return RestorePrefix(lambda _: Response(302, headers=Headers(headers)), upstream, strip=strip, add=add)


def asked(**headers):
    return request("GET", "/app/x", ASKED | headers)


@pytest.mark.parametrize(
    ("location", "restored"),
    [
        ("/login", "/app/login"),
        ("/", "/app/"),
        ("/login?next=/x#y", "/app/login?next=/x#y"),
        ("/app2", "/app/app2"),
        ("/caf%C3%A9", "/app/caf%C3%A9"),
        # a backend that knows its prefix has written it
        ("/app", "/app"),
        ("/app/login", "/app/login"),
        ("/app?x", "/app?x"),
        # absolute: with the client's host
        ("http://shop.test:8080/login", "http://shop.test:8080/app/login"),
        ("HTTPS://SHOP.test:8080/login", "HTTPS://SHOP.test:8080/app/login"),
        ("//shop.test:8080/login", "//shop.test:8080/app/login"),
        ("http://shop.test:8080", "http://shop.test:8080/app/"),
        ("http://shop.test:8080?x", "http://shop.test:8080/app/?x"),
        ("http://shop.test:8080/app/login", "http://shop.test:8080/app/login"),
        # absolute: with a backend's address, which clients cannot reach
        ("http://app.internal:5001/login", "/app/login"),
        ("http://app.internal:5001/app/login", "/app/login"),
        ("http://app.internal:5001//evil.test", "/app//evil.test"),
        ("https://app.internal/login", "/app/login"),
        ("https://app.internal:443", "/app/"),
        # elsewhere
        ("http://shop.test/login", "http://shop.test/login"),
        ("https://login.test/app", "https://login.test/app"),
        ("https://app.internal.evil.test/x", "https://app.internal.evil.test/x"),
        ("http://app.internal:5001@evil.test/x", "http://app.internal:5001@evil.test/x"),
        ("//evil.test/x", "//evil.test/x"),
        ("/\\evil.test/x", "/\\evil.test/x"),
        ("http://app.internal:5001\\@evil.test/", "http://app.internal:5001\\@evil.test/"),
        ("mailto:a@app.internal", "mailto:a@app.internal"),
        # relative to the request's own path
        ("login", "login"),
        ("../login", "../login"),
        ("?page=2", "?page=2"),
        ("", ""),
    ],
)
def test_a_location(location, restored):
    response = made(headers={"Location": location, "Content-Location": location})(asked())
    assert (response.headers["Location"], response.headers["Content-Location"]) == (restored, restored)


def test_the_default_port_may_be_written_or_not():
    step = made()
    assert step.url("https://a.test:443/x", asked(Host="a.test")) == "https://a.test:443/app/x"
    assert step.url("https://a.test/x", asked(Host="a.test:443")) == "https://a.test/app/x"
    assert step.url("http://a.test:443/x", asked(Host="a.test")) == "http://a.test:443/x"


def test_the_host_that_the_client_asked_a_trusted_proxy_for():
    there = asked(**{"X-Forwarded-Host": "www.test"})
    assert made().url("https://www.test/x", there) == "https://www.test/app/x"


def test_a_literal_host_is_the_backends():
    assert made(host="api.internal").url("http://api.internal/x", asked()) == "/app/x"
    assert made().url("http://api.internal/x", asked()) == "http://api.internal/x"


@pytest.mark.parametrize(
    ("location", "restored"),
    [
        ("/v2/x", "/app/x"), ("/v2", "/app"), ("/v2?x", "/app?x"), ("http://app.internal:5001/v2/x", "/app/x"),
        ("/v2x", "/v2x"), ("/other", "/other"), ("http://app.internal:5001/other", "http://app.internal:5001/other"),
    ],
)  # fmt: skip
def test_an_added_prefix_is_replaced_and_what_is_beside_it_stays(location, restored):
    assert made(add="/v2").url(location, asked()) == restored


@pytest.mark.parametrize(
    ("cookie", "restored"),
    [
        ("a=1; Path=/; HttpOnly", "a=1; Path=/app; HttpOnly"),
        ("a=1;path=/x;Secure", "a=1;path=/app/x;Secure"),
        ("a=1; Path=/app", "a=1; Path=/app"),
        ("a=1; Path=/app/x", "a=1; Path=/app/x"),
        ("a=1; Path = /x ", "a=1; Path =/app/x"),
        ("a=1", "a=1"),
        ("a=1; Path", "a=1; Path"),
        ("a=1; Path=x", "a=1; Path=x"),
        ("Path=/; a=1", "Path=/; a=1"),
        ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
        ("__Secure-a=1; Path=/; Secure", "__Secure-a=1; Path=/app; Secure"),
        ("a=1; Domain=app.internal; Path=/", "a=1; Path=/app"),
        ("a=1; domain=.INTERNAL", "a=1"),
        ("a=1; Domain=shop.test", "a=1; Domain=shop.test"),
        ("a=1; Domain=test", "a=1; Domain=test"),
        ("a=1; Domain=other.test", "a=1; Domain=other.test"),
    ],
)
def test_a_cookie(cookie, restored):
    response = made(headers=[("Set-Cookie", cookie), ("X-A", "b"), ("Set-Cookie", "b=2; Path=/")])(asked())
    assert response.headers.all("set-cookie") == [restored, "b=2; Path=/app"]


def test_a_cookie_for_all_that_is_above_an_added_prefix():
    step = made(add="/v2/x")
    paths = ("/", "/v2", "/v2/x", "/v2/x/y", "/other")
    assert [step.cookie(f"a=1; Path={path}", asked())[10:] for path in paths] == [
        "/app", "/app", "/app", "/app/y", "/other",
    ]  # fmt: skip


def test_other_responses_pass_as_they_are():
    headers = {"Link": "</x>; rel=next", "Location": "/a"}
    twice = made(headers=[("Location", "/a"), ("Location", "/b")])(asked())
    assert twice.headers.all("location") == ["/a", "/b"]
    assert made(headers=headers)(asked()).headers["Link"] == "</x>; rel=next"
