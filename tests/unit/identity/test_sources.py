import pytest

from gproxy.http.errors import HTTPError
from gproxy.identity.sources import RemoveCredentials, Source, find_one
from gproxy.testing import answer, request


def source(text):
    return Source.parse(text)


@pytest.mark.parametrize(
    ("text", "target", "headers", "content"),
    [
        ("bearer", "/", {"Authorization": "Bearer abc"}, "abc"),
        ("bearer", "/", {"Authorization": "BEARER  a b "}, "a b"),
        ("bearer", "/", {"Authorization": "Bearer"}, ""),
        ("bearer", "/", {"Authorization": "Bearerabc"}, None),
        ("bearer", "/", {"Authorization": "Basic abc"}, None),
        ("bearer", "/", {}, None),
        ("basic", "/", {"Authorization": "basic YTpi"}, "YTpi"),
        ("header:X-API-Key", "/", {"x-api-key": "k"}, "k"),
        ("header:X-API-Key", "/", {"X-API-Key": ""}, ""),
        ("cookie:sid", "/", {"Cookie": "a=b; sid=x=y; sid2=z"}, "x=y"),
        ("cookie:sid", "/", {"Cookie": "xsid=a; sid"}, None),
        ("query:token", "/?a=b&token=x%20y+z", {}, "x y z"),
        ("query:token", "/?%74oken=x", {}, "x"),
        ("query:token", "/?token", {}, ""),
        ("query:token", "/?tokens=x", {}, None),
        ("tls", "/", {}, None),
    ],
)
def test_the_content_of_a_source(text, target, headers, content):
    assert source(text).find(request("GET", target, headers)) == content


@pytest.mark.parametrize(
    ("text", "target", "headers"),
    [
        ("bearer", "/", [("Authorization", "Bearer a"), ("Authorization", "Basic b")]),
        ("header:X-Key", "/", [("X-Key", "a"), ("x-key", "a")]),
        ("cookie:sid", "/", [("Cookie", "sid=a"), ("Cookie", "sid=b")]),
        ("query:token", "/?token=a&%74oken=b", []),
    ],
)
def test_two_contents_of_one_source_are_a_bad_request(text, target, headers):
    with pytest.raises(HTTPError) as caught:
        source(text).find(request("GET", target, headers))
    assert (caught.value.status, caught.value.reason) == (400, "auth_invalid")


def test_a_cookie_that_comes_twice_with_one_value_is_one_cookie():
    assert source("cookie:sid").find(request(headers=[("Cookie", "sid=a; sid=a")])) == "a"


def test_a_header_and_a_parameter_together_are_a_bad_request():
    sources = (source("bearer"), source("query:token"))
    with pytest.raises(HTTPError, match="several credentials"):
        find_one(sources, request("GET", "/?token=a", {"Authorization": "Bearer b"}))


def test_a_header_takes_precedence_over_a_cookie():
    sources = (source("cookie:sid"), source("header:X-Key"))
    found = find_one(sources, request(headers={"Cookie": "sid=c", "X-Key": "k"}))
    assert found == (sources[1], "k")
    assert find_one(sources, request(headers={"Cookie": "sid=c"})) == (sources[0], "c")
    assert find_one(sources, request()) is None


@pytest.mark.parametrize(
    ("text", "target", "headers", "path", "left"),
    [
        ("header:X-Key", "/", {"X-KEY": "k", "A": "b"}, "/", [("A", "b")]),
        ("cookie:sid", "/", {"Cookie": "a=b;sid=x; sid2=y; sid=z"}, "/", [("Cookie", "a=b; sid2=y")]),
        ("cookie:sid", "/", {"Cookie": "sid=x"}, "/", []),
        ("cookie:sid", "/", {"Cookie": "a=b;  c=d"}, "/", [("Cookie", "a=b;  c=d")]),
        ("query:token", "/p?a=%41&token=x&b", {}, "/p?a=%41&b", []),
        ("query:token", "/p?%74oken=x", {}, "/p", []),
        ("query:token", "/p?a=b;c&&", {}, "/p?a=b;c&&", []),
        ("query:token", "/", {"Referer": "http://a/?token=x&b=c"}, "/", [("Referer", "http://a/?b=c")]),
        ("query:token", "/", {"Referer": "http://a/?%74oken=x"}, "/", [("Referer", "http://a/")]),
        ("query:token", "/", {"Referer": "http://a/?b&c=d"}, "/", [("Referer", "http://a/?b&c=d")]),
    ],
)
def test_removal(text, target, headers, path, left):
    asked = request("GET", target, headers)
    assert RemoveCredentials([source(text)])(asked, answer()).status == 200
    assert asked.target == path
    assert [pair for pair in asked.headers.items() if pair[0] != "Host"] == left


def test_a_route_keeps_a_header_of_its_own():
    sources = [source("header:X-API-Key"), source("cookie:sid"), source("bearer")]
    assert RemoveCredentials.of(sources[:1], ["x-api-key"]) is None
    assert RemoveCredentials.of(sources, ["X-API-Key"]).sources == tuple(sources[1:])


@pytest.mark.parametrize("text", ["", "Bearer", "header", "header:", "header:a b", "header:Host", "cookie", "tls:x"])
def test_no_source(text):
    with pytest.raises(ValueError, match=r"known are bearer|cannot carry"):
        source(text)


def test_sources_are_equal_if_their_place_is():
    assert len({*map(Source.parse, ("header:X-Key", "header:x-key", "bearer", "bearer"))}) == 2
    assert Source.parse("client_cert") == Source.parse("header:Client-Cert")
    assert Source.parse("cookie:sid") != Source.parse("cookie:SID")
    assert Source.parse("query:key") != Source.parse("header:key")
