"""Pages of other origins over real sockets: preflights, responses, errors."""

import pytest

from gproxy.testing.backends import reply

BACKENDS = "one"
INI = r"""
[gateway]
handlers = health, cors, jwt
[route:api]
upstream = one
skip = jwt
[route:private]
path = /private
upstream = one
[route:open]
path = /open
skip = cors, jwt
handlers = any
upstream = one
[upstream:one]
backends = {one}
[handler:cors]
origins = https://admin.example.org, https://*.example.com, ~ https://pr-\d{1,4}\.preview\.test(:\d+)?
methods = GET, PUT
headers = Authorization
expose = X-Total
credentials = yes
[handler:any]
use = cors
origins = *
[handler:jwt]
secret = 0123456789abcdef0123456789abcdef
"""
ADMITTED = [
    "https://admin.example.org",
    "https://a.example.com",
    "https://a.b.example.com",
    "https://pr-12.preview.test:8443",
]
OTHERS = [
    "https://example.com",
    "http://a.example.com",
    "https://a.example.com.evil.test",
    "https://evilexample.com",
    "https://pr-12.preview.test.evil.test",
    "https://a.example.com:8443",
    "https://*.example.com",
    "https://A.example.com",
    "null",
    "https://" + "a" * 20_000 + ".example.com",
]


@pytest.mark.parametrize("origin", ADMITTED)
def test_an_admitted_page(play, origin):
    play.one.act = reply(b"one", "Access-Control-Allow-Origin: *")
    answer = play.gateway.get("/", f"Origin: {origin}")
    assert answer["access-control-allow-origin"] == origin
    assert answer["access-control-allow-credentials"] == "true"
    assert (answer["access-control-expose-headers"], answer["vary"]) == ("X-Total", "Origin")


@pytest.mark.parametrize("origin", OTHERS)
def test_another_page_gets_the_answer_without_permission(play, origin):
    play.one.act = reply(b"one", "Access-Control-Allow-Origin: *")
    answer = play.gateway.get("/", f"Origin: {origin}")
    assert (answer.status, answer.body, answer["vary"]) == (200, b"one", "Origin")
    assert "access-control" not in str(answer.fields).lower()


def test_a_preflight_needs_no_token_and_reaches_no_backend(play):
    with play.gateway.connect() as wire:
        for origin in (ADMITTED[3], OTHERS[0]):
            wire.send(
                f"OPTIONS /private HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\r\n"
            )
            answer = wire.read_response()
            assert (answer.status, answer["vary"]) == (204, "Origin")
            assert dict(answer.fields).get("access-control-allow-origin") == (origin if origin in ADMITTED else None)
            assert dict(answer.fields).get("access-control-allow-methods") == (
                "GET, PUT" if origin in ADMITTED else None
            )
    assert play.one.requests == []


def test_errors_can_be_read_by_the_page_too(play):
    answer = play.gateway.get("/private", f"Origin: {ADMITTED[1]}")
    assert (answer.status, answer["access-control-allow-origin"]) == (401, ADMITTED[1])


def test_any_page_without_credentials(play):
    answer = play.gateway.get("/open", "Origin: null", "Cookie: a=b")
    assert answer["access-control-allow-origin"] == "*"
    assert not {"access-control-allow-credentials", "vary"} & dict(answer.fields).keys()
