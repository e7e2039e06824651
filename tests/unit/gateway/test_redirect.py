"""The Location of redirects; no path that a client sends leads to another site."""

from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.types.path_pattern import compiled_path
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
     "https://a{path}/x", "https://a{pth}", "https://{tenant}.a/", "https://{1}/", "https://a/x{path}?y=1", "https://a/#{path}", "https://{user}/", "{user}", "?x={path}", "https://a/{", "/\\evil", "https://a:99999/"],
)  # fmt: skip
def test_invalid_targets(text):
    with pytest.raises(ValueError):
        RedirectTarget.parse(text)


def moved(to, pattern, target):
    action = Redirect(RedirectTarget.parse(to), 308, None, [compiled_path(pattern)])
    return action(request("GET", target, {"Host": "gateway.test"})).headers["Location"]


@pytest.mark.parametrize(
    ("to", "pattern", "target", "leads"),
    [
        ("/users/{id}", r"/v[12]/users/(?P<id>\d+)", "/v1/users/7?x=y", "/users/7"),
        ("https://new.test/{2}/{1}", "/(a+)/(b+)", "/aa/%62", "https://new.test/b/aa"),
        ("/new/{1}", "/old/(.*)", "/old/a/b%20c", "/new/a/b%20c"),
        ("/new?path={1}&of={client}", "/old/(.*)", "/old/a/b&c=d", "/new?path=a%2Fb%26c%3Dd&of=192.0.2.1"),
        ("/new/{1}{path}", "/old/(.*)", "/old/a?b", "/new/a/old/a?b"),
        ("/caf/{1}", "/(.*)", "/caf%C3%A9", "/caf/caf%C3%A9"),
        ("/x{1}", "/old(?:/(.*))?", "/old", "/x"),
        ("/{1}", "/old(/.*)", "/old/evil.test", "/evil.test"),
        ("/{1}", "/old/(.*)", '/old/"<a>\r', "/%22%3Ca%3E%0D"),
        ("/n/{1}", "/old/(.*)", "/old/a%0D%0AX:1", "/n/a%0D%0AX:1"),
    ],
)
def test_groups_of_the_routes_pattern(to, pattern, target, leads):
    assert moved(to, pattern, target) == leads


@pytest.mark.parametrize("target", ["/old/a%252Fb", "/old/..%2fb", "/old/a%5cb", "/old/a%3Fb%23c", "/old/a/../b"])
def test_a_group_of_a_path_with_several_readings_leads_nowhere(target):
    with pytest.raises(HTTPError, match="400"):
        moved("/new/{1}", "/old/(.*)", target)


@given(st.text("/\\.%25ca@:?#\r\n\x00\x85", max_size=12))
def test_no_group_leads_to_another_site(text):
    target = "/old/" + quote(text, safe="/\\.%@:")
    for to in ("/{1}", "https://new.test/{1}", "/a?b={1}"):
        try:
            found = moved(to, "/old/(.*)", target)
        except HTTPError:
            continue
        assert urlsplit(urljoin("https://new.test/", found.replace("\\", "/"))).hostname == "new.test"
        assert found.isascii()
        assert found.isprintable()
