"""What a matched route does, by its settings."""

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.patterns import CapturedPath, Rewrite
from gproxy.config.types.route_action import RedirectTarget, Share, UpstreamShare
from gproxy.gateway.redirect import Redirect
from gproxy.gateway.route_action import composer, destination, path_change
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.testing import request
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.request_buffer import RequestBuffer
from gproxy.upstream.mirror import Mirror
from gproxy.upstream.split import Split
from gproxy.upstream.upstream import Upstream


def upstream(name, **options):
    settings = construct(UpstreamSettings, name=name, backends=(BackendURL("http", "192.0.2.1", 80),), **options)
    return Upstream(settings, RoundRobin(), Runtime())


UPSTREAMS = {name: upstream(name) for name in ("a", "b")}


def action(*shares, upstreams=UPSTREAMS, **options):
    settings = RouteSettings("r", tuple(map(UpstreamShare.parse, shares)), **options)
    return destination(settings, upstreams, 5.0, Runtime().throttle)


def test_one_upstream_is_forwarded_to():
    assert isinstance(action("a", buffer_request=0), Forward)


@pytest.mark.parametrize(
    ("of_route", "of_upstream", "collected"),
    [({}, {}, True), ({}, {"buffer_request": 0}, False), ({"buffer_request": 5}, {"buffer_request": 0}, True),
     ({"buffer_request": 0}, {}, False), ({"stream": True}, {}, False)],
)  # fmt: skip
def test_bodies_are_collected_before_it(of_route, of_upstream, collected):
    made = action("a", upstreams={"a": upstream("a", **of_upstream)}, **of_route)
    assert isinstance(made, RequestBuffer if collected else Forward)


def test_several_upstreams_share_the_requests():
    assert isinstance(action("a weight=2", "b"), Split)


@pytest.mark.parametrize("shares", [("a",), ("a", "b")])
def test_a_mirror_stands_before_all(shares):
    made = action(*shares, mirror="b", mirror_share=Share.parse("10%"))
    assert isinstance(made, Mirror)
    assert isinstance(made.first, RequestBuffer if len(shares) == 1 else Split)


def test_an_upstream_with_a_limit_guards_its_forward():
    some = {"a": upstream("a", max_requests=5)}
    assert not isinstance(action("a", upstreams=some, buffer_request=0), Forward)


def test_a_redirect():
    made = action(redirect=RedirectTarget.parse("https://new.test{path}"), status=301)
    assert isinstance(made, Redirect)
    response = made(request(target="/x?y"))
    assert (response.status, response.headers["Location"]) == (301, "https://new.test/x?y")


def test_a_fixed_response():
    response = action(respond=404, body="no", content_type="text/html")(request())
    assert (response.status, response.read(), response.headers["Content-Type"]) == (404, b"no", "text/html")


def test_a_fixed_success_needs_no_text():
    assert action(respond=204)(request()).status == 204


def test_a_fixed_error_without_a_text_is_a_problem():
    with pytest.raises(HTTPError) as raised:
        action(respond=410)(request())
    assert (raised.value.status, raised.value.reason) == (410, "fixed")


@pytest.mark.parametrize(
    ("options", "path", "changed"),
    [
        ({"path": "/api", "strip_prefix": True}, "/api/x", "/x"),
        ({"path": "/api/", "strip_prefix": True}, "/api", "/"),
        ({"add_prefix": "/v2/"}, "/x", "/v2/x"),
        ({"path": "/api", "strip_prefix": True, "add_prefix": "/v2"}, "/api/x", "/v2/x"),
        ({"rewrite": Rewrite.parse(r"/old/(\d+) -> /new/\1")}, "/old/7", "/new/7"),
        ({"rewrite": Rewrite.parse(r"/old/(\d+) -> /new/\1")}, "/old//7", "/new/7"),
        ({"rewrite": Rewrite.parse(r"/old/(\d+) -> /new/\1")}, "/other/./7", "/other/./7"),
    ],
)
def test_what_becomes_of_a_path(options, path, changed):
    options = {**options, "path": (RoutePath(options.get("path", "/")),)}
    assert path_change(RouteSettings("r", (UpstreamShare("a"),), **options))(path) == changed


def test_without_options_the_path_stays():
    assert path_change(RouteSettings("r", (UpstreamShare("a"),), (RoutePath("/api"),))) is None


def test_the_head_names_the_prefix_that_was_stripped():
    route = RouteSettings("r", (UpstreamShare("a"),), (RoutePath("/api"),), strip_prefix=True)
    made = composer(route, UPSTREAMS["a"].settings, "1f", "X-Request-ID")
    head = made(request(target="/api/x"), UPSTREAMS["a"].backends[0].authority)
    assert head.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"\r\nX-Forwarded-Prefix: /api\r\n" in head


@pytest.mark.parametrize(
    ("pattern", "rewrite", "path", "changed"),
    [
        (r"/users/(\d+)/(.*)", "/u/{1}/{2}", "/users/7/a%20b/%C3%BC", "/u/7/a%20b/%C3%BC"),
        (r"/(?P<id>\w+)", "/u/{id}/{1}", "//%61%62", "/u/ab/ab"),
        ("/a(/b)?", "/x{1}", "/a", "/x"),
        ("/(.*)", "/x/{1}", "/a:b@c%5B%22%5D+", "/x/a:b@c%5B%22%5D+"),
        ("/(.*)", "/x/{1}", "/100%25", "/x/100%25"),
        ("/(a)", "/x/{1}", "/other/./7", "/other/./7"),
        ("/(.*)", "/x/{1}", "/a%3Fb", 400),
        ("/(.*)", "/x/{1}", "/a%2f..%2fb", 400),
        ("/(.*)", "/x/{1}", "/a/..;/b", 400),
        ("/(.*)", "/x/{1}", "/%zz/x", 400),
    ],
)
def test_groups_of_the_pattern(pattern, rewrite, path, changed):
    paths = (RoutePath.parse(f"~ {pattern}"),)
    change = path_change(RouteSettings("r", (UpstreamShare("a"),), paths, rewrite=CapturedPath.parse(rewrite)))
    if changed == 400:
        with pytest.raises(HTTPError, match="400"):
            change(path)
    else:
        assert change(path) == changed
