"""Metadata of issuers: where it is, and what of it is believed."""

import json

import pytest

from gproxy.identity.key_sets.discovery import check_issuer, endpoint, metadata_urls, parse_metadata

ISSUER = "https://id.example.com/realms/a"


@pytest.mark.parametrize(
    ("issuer", "openid", "oauth"),
    [
        ("https://a.example", "https://a.example{openid}", "https://a.example{oauth}"),
        ("https://a.example/", "https://a.example{openid}", "https://a.example{oauth}"),
        ("https://a.example:8443/b/c", "https://a.example:8443/b/c{openid}", "https://a.example:8443{oauth}/b/c"),
        ("https://a.example/b/", "https://a.example/b{openid}", "https://a.example{oauth}/b"),
        ("http://[::1]:80/b", "http://[::1]:80/b{openid}", "http://[::1]:80{oauth}/b"),
    ],
)
def test_where_metadata_is(issuer, openid, oauth):
    known = {"openid": "/.well-known/openid-configuration", "oauth": "/.well-known/oauth-authorization-server"}
    assert metadata_urls(issuer) == (openid.format(**known), oauth.format(**known))


def test_an_issuer_is_a_url_without_query():
    check_issuer(ISSUER)
    check_issuer("http://localhost:8080")
    for issuer in ("ci", f"{ISSUER}?a=b", f"{ISSUER}?", f"{ISSUER}#a", "http://id.example.com"):
        with pytest.raises(ValueError, match="; expected "):
            check_issuer(issuer)


def test_a_document_of_the_issuer_is_believed():
    document = {"issuer": ISSUER, "jwks_uri": "https://id.example.com/keys", "more": [1]}
    assert parse_metadata(ISSUER, json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html>", "the metadata is not strict JSON"),
        (b"[]", "it is no object"),
        (b"{}", "the metadata is of issuer None"),
        (
            json.dumps({"issuer": "https://evil.example"}).encode(),
            "of issuer 'https://evil.example'; expected 'https://id",
        ),
        (json.dumps({"issuer": f"{ISSUER}/"}).encode(), "which differs by a slash at the end; expected"),
        (json.dumps({"issuer": ISSUER.upper()}).encode(), "expected"),
        (json.dumps({"issuer": [ISSUER]}).encode(), "expected"),
        (b'{"issuer": "%s", "issuer": "https://evil.example"}' % ISSUER.encode(), "a name twice"),
    ],
)
def test_another_document_is_rejected(data, reason):
    with pytest.raises(ValueError, match=reason):
        parse_metadata(ISSUER, data)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://id.example.com/keys", False),
        ("https://ID.example.com:9443/keys", False),
        ("https://keys.example.com/keys", True),
        ("https://10.0.0.1/keys", True),
        ("http://localhost/keys", True),
    ],
)
def test_another_host_must_be_public(url, public):
    assert endpoint(ISSUER, {"jwks_uri": url}, "jwks_uri") == (url, public)


@pytest.mark.parametrize(
    "url", [None, 7, "", "keys", "/keys", "file:///etc/passwd", "http://id.example.com/", "https://a@b/"]
)
def test_an_endpoint_that_is_no_good_url_is_rejected(url):
    with pytest.raises(ValueError, match="jwks_uri"):
        endpoint(ISSUER, {"jwks_uri": url}, "jwks_uri")


def test_http_may_be_allowed():
    assert endpoint(ISSUER, {"a": "http://id.example.com/"}, "a", insecure=True) == ("http://id.example.com/", False)
