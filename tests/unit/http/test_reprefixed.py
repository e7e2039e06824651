"""A path with other beginnings: its escapes as they came, and no way out of what was put before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.patterns import Rewrite
from gproxy.config.types.route_action import UpstreamShare
from gproxy.gateway.route_action import path_change
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.rewrite import prefixed, reprefixed, tidied
from gproxy.http.target import readings


@pytest.mark.parametrize(
    ("path", "strip", "add", "sent"),
    [
        ("/api/users/1", "/api", "", "/users/1"),
        ("/api", "/api", "", "/"),
        ("/api/users", "/api", "/v1", "/v1/users"),
        ("/api", "/api", "/v1", "/v1"),
        ("/api/", "/api", "/v1", "/v1/"),
        ("/users%2F1;a=b", "", "/v1", "/v1/users%2F1;a=b"),
        ("/%61pi/a%20b", "/api", "/v1", "/v1/a%20b"),
        ("/x/../api//a/./b", "/api", "/v1", "/v1/a/b"),
        ("/../users", "", "/v1", "/v1/users"),
        ("/", "", "/v1", "/v1/"),
        ("*", "", "/v1", "*"),
    ],
)  # fmt: skip
def test_another_prefix(path, strip, add, sent):
    assert reprefixed(path, strip, add) == sent


@pytest.mark.parametrize(
    "path",
    ["/api/..%2fadmin", "/api/..\\admin", "/api/a%2f..%2f..%2f..%2fadmin", "/api/..;x/admin", "/api/%252e%252e/admin"],
)
def test_no_reader_gets_out_of_it(path):
    with pytest.raises(HTTPError, match="400"):
        reprefixed(path, "/api", "/v1/tenant")


@given(
    st.lists(st.sampled_from(["..", ".", "%2e%2E", "%252e.", "a", "", ";", "%2f", "%5c", "\\"]), max_size=6).map(
        "/".join
    )
)
def test_whatever_is_sent_stays_below(tail):
    try:
        sent = reprefixed("/" + tail, "", "/v1/t")
    except (HTTPError, BadMessage):
        return
    assert all(one == "/v1/t" or one.startswith("/v1/t/") for one in readings(sent))


def rewritten(rule, path):
    return path_change(RouteSettings("r", (UpstreamShare("u"),), rewrite=Rewrite.parse(rule)))(path)


@pytest.mark.parametrize(
    ("rule", "path", "sent"),
    [
        (r"^/old/(\d+)$ -> /new/\1", "/old/12", "/new/12"),
        (r"/old/(\d+) -> /new/\1", "/old/12/x", "/old/12/x"),
        (r"/old/(\d+) -> /new/\1", "/old/%31", "/old/%31"),
        (r"/old/(.*) -> /new/\1", "/old/a%2Fb;c", "/new/a%2Fb;c"),
        (r"/old/(.*) -> /new/\1", "/old//x/../a//b", "/new/a/b"),
        (r"/(\w+)/(?P<id>\w+) -> /\g<id>/of/\1", "/users/7", "/7/of/users"),
        (r"/a(/b)?/c -> /x\1/y", "/a/c", "/x/y"),
        (r"/a -> /x/\$1", "/a", "refused"),
        (r"/(.*) -> /\1", "//evil.test/", "/evil.test/"),
        (r"/a(.*) -> /\1", "/a/evil.test/", "/evil.test/"),
        (r"/a{1,3} -> /x", "/aaa", "/x"),
    ],
)  # fmt: skip
def test_rewrite(rule, path, sent):
    if sent == "refused":
        with pytest.raises(ValueError):
            Rewrite.parse(rule)
        return
    assert rewritten(rule, path) == sent


@pytest.mark.parametrize("path", ["/old/..%2fadmin", "/old/..\\..\\admin", "/old/x%2f..%2f..%2fadmin"])
def test_a_group_leads_nowhere_else(path):
    with pytest.raises(HTTPError, match="400"):
        rewritten(r"/old/(.*) -> /new/t/\1", path)


def test_tidied_leaves_escapes_alone():
    assert tidied("/a%2f//b/./%2e%2e/c%20") == "/a%2f/c%20"
    assert tidied("*") == "*"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/reports", "/alpha/reports"),
        ("/../beta/reports", "/alpha/beta/reports"),
        ("/%2e%2e/beta", "/alpha/beta"),
        ("//x/./y/", "/alpha/x/y/"),
        ("/", "/alpha/"),
        ("/caf%C3%A9", "/alpha/caf%C3%A9"),
    ],
)
def test_a_handler_puts_a_prefix_before_the_path(path, sent):
    assert prefixed(path, "/alpha") == sent


@pytest.mark.parametrize("path", ["/x/..%2f..%2fbeta", "/..%5cbeta", "/%252e%252e/beta", "/..;/beta"])
def test_a_path_that_leaves_the_prefix_of_a_handler_is_rejected(path):
    with pytest.raises(HTTPError):
        prefixed(path, "/alpha")


@pytest.mark.parametrize(
    "prefix", ["", "/", "alpha", "/alpha/", "/..", "/a/../b", "/.", "/a//b", "/a%2fb", "/a b", "/a?b", "/\u00e9"]
)
def test_a_prefix_is_plain(prefix):
    with pytest.raises(ValueError, match="is no prefix"):
        prefixed("/reports", prefix)
