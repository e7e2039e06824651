"""The Location of redirects; no path that a client sends leads to another site."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.types.route_action import RedirectTarget
from gproxy.gateway.redirect import Redirect
from gproxy.http.errors import HTTPError
from gproxy.http.request import request


def location(to, target="/", host="gateway.test", change=None):
    response = Redirect(RedirectTarget.parse(to), 308, change)(request("GET", target, {"Host": host}))
    assert (response.status, response.body) == (308, b"")
    return response.headers["Location"]


@pytest.mark.parametrize(
    ("to", "target", "host", "leads"),
    [
        ("https://new.test{path}", "/a/b?c=d&e", "x", "https://new.test/a/b?c=d&e"),
        ("https://new.test/{path}", "/a", "x", "https://new.test/a"),
        ("https://new.test/v2{path}", "/a%20b", "x", "https://new.test/v2/a%20b"),
        ("https://new.test/landing?from=old", "/a?b=c", "x", "https://new.test/landing?from=old"),
        ("https://{host}{path}", "/a?b", "Api.Example.com:8080", "https://api.example.com/a?b"),
        ("https://{host}:8443{path}", "/", "[::1]:80", "https://[::1]:8443/"),
        ("https://{host}.new.test", "/a", "old", "https://old.new.test"),
        ("/new{path}", "//evil.test", "x", "/new/evil.test"),
        ("{path}", "//evil.test/a", "x", "/evil.test/a"),
        ("{path}", "/\\evil.test/a", "x", "/evil.test/a"),
        ("{path}", "/\\/\\evil.test\\a", "x", "/evil.test%5Ca"),
        ("https://new.test{path}", "*", "x", "https://new.test/*"),
        ("{scheme}://{host}:{port}{path}", "/a", "old.test:8080", "http://old.test:8080/a"),
        ("https://{host}:{port}/", "/a", "[::1]", "https://[::1]:80/"),
        ("https://sso.test/?rd={scheme}://{host}{path}&x=1", "/a b?c=d&e".replace(" ", "%20"), "old", "https://sso.test/?rd=http://old%2Fa%2520b%3Fc%3Dd%26e&x=1"),
        ("https://new.test/search?{query}", "/a?b=c&d", "x", "https://new.test/search?b=c&d"),
        ("https://new.test/search?x=1&{query}", "/a?b=c", "x", "https://new.test/search?x=1&b=c"),
        ("https://new.test/search?q={query}", "/a?b=c&d", "x", "https://new.test/search?q=b%3Dc%26d"),
        ("https://new.test/{host}/{method}/{client}#top", "/a", "x@y", "https://new.test/x%40y/GET/192.0.2.1#top"),
        ("/{user}/{query}{path}", "/evil.test", "x", "/evil.test"),
        ("/{query}", "/a?/evil.test", "x", "/%2Fevil.test"),
    ],
)  # fmt: skip
def test_location(to, target, host, leads):
    assert location(to, target, host) == leads


def test_the_path_may_be_rewritten():
    assert (
        location("https://new.test{path}", "/old/1?a", change=lambda path: path.replace("old", "new"))
        == "https://new.test/new/1?a"
    )


def test_a_target_with_host_needs_a_host_header():
    asked = request("GET", "/")
    asked.host = ""
    with pytest.raises(HTTPError, match="400"):
        Redirect(RedirectTarget.parse("https://{host}{path}"), 308, None)(asked)
    Redirect(RedirectTarget.parse("https://new.test{path}"), 308, None)(asked)


@given(st.text("/\\@:.?#%2fevil\t", max_size=20).filter(lambda text: "#" not in text and "\t" not in text))
def test_no_path_leads_to_another_site(tail):
    for to, site in (("{path}", "gateway.test"), ("https://new.test{path}", "new.test")):
        found = location(to, "/" + tail).replace("\\", "/")  # as browsers read it
        assert urlsplit(urljoin("https://gateway.test/x", found)).netloc == site


@pytest.mark.parametrize(
    "text",
    ["", "new.test{path}", "//new.test", "ftp://a{path}", "https://", "https://{path}", "https://a b{path}", "https://a@b{path}",
     "https://a{path}/x", "https://a/{hst}", "https://a/x{path}?y=1", "https://a/#{path}", "https://{user}/", "{user}", "?x={path}", "https://a/{", "/\\evil", "https://a:99999/"],
)  # fmt: skip
def test_invalid_targets(text):
    with pytest.raises(ValueError):
        RedirectTarget.parse(text)
