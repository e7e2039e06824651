"""RFC 7662: the request about a token, and the answer."""

import base64
import json

import pytest

from gproxy.config.types import Secret
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.introspection import Client, read_answer


def test_the_request_with_basic_authentication():
    asking = Client("basic", "gate way", Secret("s:%é")).asking("to+ken")
    assert asking.body == b"token=to%2Bken&token_type_hint=access_token"
    scheme, _, credentials = asking.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"gate+way:s%3A%25%C3%A9")
    assert asking.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_the_request_with_the_credentials_in_the_body():
    asking = Client("post", "gateway", Secret("s&")).asking("t")
    assert asking.body == b"token=t&token_type_hint=access_token&client_id=gateway&client_secret=s%26"
    assert "Authorization" not in asking.headers


def test_the_request_with_a_bearer_token():
    asking = Client("bearer", "", Secret("abc")).asking("t")
    assert asking.body == b"token=t&token_type_hint=access_token"
    assert asking.headers["Authorization"] == "Bearer abc"


def test_an_active_token():
    assert read_answer(200, b'{"active": true, "sub": "alice"}') == {"active": True, "sub": "alice"}


@pytest.mark.parametrize("active", [False, "true", "false", 1, None, [True]])
def test_active_is_exactly_true(active):
    with pytest.raises(Untrusted, match="it is not active"):
        read_answer(200, json.dumps({"active": active, "sub": "alice"}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"error": "no"}',
        b"[true]",
        b"true",
        b"<html>",
        b'{"active": true',
        b"[" * 100_000,
        b"\xff",
        b'{"active": true, "active": true}',
        b'{"active": true, "exp": NaN}',
    ],
)
def test_an_answer_that_is_none_says_nothing_of_the_token(body):
    with pytest.raises(Unavailable, match="the endpoint's answer "):
        read_answer(200, body)


@pytest.mark.parametrize("status", [201, 204, 400, 403, 404, 429, 500, 503])
def test_another_status_says_nothing_of_the_token_either(status):
    with pytest.raises(Unavailable, match=f"answers {status}"):
        read_answer(status, b'{"active": false}')


def test_an_endpoint_that_does_not_know_the_gateway():
    with pytest.raises(Unavailable, match="the gateway's own credentials"):
        read_answer(401, b'{"active": false}')
