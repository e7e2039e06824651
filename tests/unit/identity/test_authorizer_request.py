"""The fields that an authorizer gets, and the digest of all of them."""

import pytest

from gproxy.http.headers import Headers
from gproxy.http.request import request
from gproxy.identity.authorizer_request import AuthorizerRequest, request_digest

CAME = [
    ("Cookie", "a=1"), ("Authorization", "Bearer x"), ("X-A", "1"), ("X-A", "2"), ("Range", "bytes=0-1"),
    ("If-Match", "x"), ("If-Range", "x"), ("Max-Forwards", "0"), ("TE", "trailers"), ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Proto", "https"), ("X-Forwarded-Uri", "/of-a-proxy"), ("X-Other", "o"),
]  # fmt: skip


def fields(send=("*",), given=(), target="/a?b", headers=CAME):
    return AuthorizerRequest(send, dict(given)).fields(request("PUT", target, headers)).items()


def test_all_headers_but_those_of_the_connection_and_conditions():
    assert fields() == [
        ("Cookie", "a=1"), ("Authorization", "Bearer x"), ("X-A", "1"), ("X-A", "2"), ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"), ("X-Forwarded-Uri", "/a?b"), ("X-Other", "o"), ("X-Forwarded-Method", "PUT"),
    ]  # fmt: skip


def test_chosen_headers_and_those_of_trusted_proxies():
    assert fields(("cookie", "X-A")) == [
        ("cookie", "a=1"), ("X-A", "1"), ("X-A", "2"), ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Method", "PUT"), ("X-Forwarded-Uri", "/a?b"),
    ]  # fmt: skip


def test_headers_for_other_dialects():
    given = {"X-Original-URL": "{scheme}://{host}{uri}", "X-Other": "{method} {client}"}
    found = dict(fields(("X-Other",), given))
    assert found["X-Original-URL"] == "https://gateway.test/a?b"
    assert found["X-Other"] == "PUT 192.0.2.1"


@pytest.mark.parametrize(("target", "uri"), [("/ä\x80", "/%C3%A4%C2%80"), ("/%41?x=1&y#", "/%41?x=1&y#")])
def test_a_uri_is_visible_ascii(target, uri):
    assert dict(fields((), {"X-U": "{uri}"}, target))["X-U"] == uri


@pytest.mark.parametrize(
    ("send", "given", "message"),
    [
        (("Range",), {}, "send: Range cannot be chosen"),
        (("Connection",), {}, "send: Connection cannot be chosen"),
        (("a b",), {}, "send: 'a b' is not a header name"),
        (("*", "Cookie"), {}, r"send: \* stands alone"),
        ((), {"Content-Length": "1"}, "set: Content-Length cannot be chosen"),
        ((), {"X-Request-ID": "1"}, "set: X-Request-ID cannot be chosen"),
        ((), {"X-Forwarded-Uri": "/"}, "set: X-Forwarded-Uri is always the gateway's own"),
        ((), {"X-A": "{uris}"}, "set: X-A: unknown placeholder {uris}"),
        ((), {"X A": "1"}, "set: 'X A' is not a header name"),
    ],
)
def test_what_cannot_be_sent(send, given, message):
    with pytest.raises(ValueError, match=message):
        AuthorizerRequest(send, given)


def digest(came=None, method="GET", target="/", headers=(("Cookie", "a=1"),), body=b""):
    return request_digest(came or request(), method, target, Headers(headers), body)


def test_the_digest_has_everything_but_the_id():
    came = request()
    came.id = "another"
    assert digest() == digest(came)
    others = [
        digest(method="POST"),
        digest(target="/x"),
        digest(headers=[("Cookie", "a=2")]),
        digest(headers=[("Cookie", "a=1"), ("X", "")]),
        digest(body=b"x"),
        digest(request(client="192.0.2.9")),
        digest(request(headers={"Host": "other.test"})),
    ]
    assert len({digest(), *others}) == 8
