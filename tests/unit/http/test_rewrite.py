"""What is left of a target without its prefix, and which targets may be sent."""

import pytest

from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.http.rewrite import check_assigned, checked, without_prefix


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/api", "/"),
        ("/api/", "/"),
        ("/api/x/", "/x/"),
        ("/api/%2E", "/"),
        ("//api//x", "/x"),
        ("/%61pi/x", "/x"),
        ("/api/a%2Fb%20c", "/a%2Fb%20c"),
        ("/api/%0d%0aEvil:", "/%0d%0aEvil:"),
        ("//api/%0d%0aEvil:", "/%0d%0aEvil:"),
        ("/api/x/../y", "/y"),
        ("/api/x/%2e%2e/y", "/y"),
        ("/x/../api/y/", "/y/"),
        ("/other//x", "/other//x"),
    ],
)
def test_a_prefix_is_taken_off_however_it_is_spelled(path, left):
    assert without_prefix(path, "/api") == left


@pytest.mark.parametrize(
    "target", ["", "a", "?q", "http://a/", "**", "/a#b", "/?#", "/a b", "/a\r\nX: y", "/\x7f", "/ä", "/\0"]
)
def test_a_target_is_one_word_of_visible_ascii(target):
    with pytest.raises(ValueError, match="no request target"):
        checked(target)


def test_a_path_that_a_handler_assigns_is_checked():
    asked = request("GET", "/x")
    asked.path = "/x HTTP/1.1\r\nEvil: yes"
    with pytest.raises(ValueError, match="percent-encoded"):
        _ = asked.target


@pytest.mark.parametrize("path", ["x", "", "/a#b"])
def test_a_path_begins_with_a_slash_and_has_no_fragment(path):
    asked = request("GET", "/x?q")
    asked.path = path
    with pytest.raises(ValueError, match="begins with '/'"):
        _ = asked.target


def test_targets_that_may_be_sent():
    for target in ("*", "/", "/?", '/a"b<>[]{}|^`\\?x=/?'):
        assert checked(target) == target


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "\0", "\u20ac"])
def test_an_id_that_a_handler_assigns_goes_into_heads(value):
    asked = request()
    with pytest.raises(ValueError, match="id"):
        asked.id = value
    asked.id = "a/b:c=1"
    assert asked.id == "a/b:c=1"


def test_a_text_body_is_rejected_where_it_is_given():
    with pytest.raises(TypeError, match="encode it"):
        Response(200, "text")
    response = Response()
    with pytest.raises(TypeError, match="encode it"):
        response.body = "text"
    with pytest.raises(TypeError, match="None"):
        response.body = None


@pytest.mark.parametrize(
    ("method", "host"), [("GET /x", "a"), ("", "a"), ("GET\r\nX: y", "a"), ("GET", "a\r\nX: y"), ("GET", "a b")]
)
def test_what_a_handler_assigns_cannot_split_the_head(method, host):
    with pytest.raises(ValueError, match="is no"):
        check_assigned(method, host)
