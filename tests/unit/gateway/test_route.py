"""The conditions of a route, and what it accepts."""

from ipaddress import ip_network

import pytest

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types import Address
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.patterns import Pattern
from gproxy.config.types.route_action import UpgradeToken, UpstreamShare
from gproxy.gateway.route import Condition, Route
from gproxy.http.errors import HTTPError
from gproxy.http.request import Received, Request, request
from gproxy.http.response import Response


def paths(text):
    return tuple(RoutePath.parse(path) for path in text.split(" | "))


def answer(_):
    return Response(200)


def route(path="/", **asked):
    for kind in ("headers", "cookies", "query"):
        asked[kind] = {key: Pattern.parse(text) for key, text in asked.get(kind, {}).items()}
    return Route(RouteSettings("r", (UpstreamShare("u"),), paths(path), **asked), timeout=3.0, action=answer)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a=1", "1"), ("b=2&a=1", "1"), ("a=1&a=2", "1"), ("a", ""), ("a=", ""), ("%61=1", "1"), ("a=x+y%20z", "x y z"),
        ("aa=1", None), ("b=a", None), ("", None), ("A=1", None), ("a=%ff", "\N{REPLACEMENT CHARACTER}"),
    ],
)  # fmt: skip
def test_the_value_of_a_parameter(query, found):
    assert Condition("query", "a", Pattern("*")).found(request(target=f"/?{query}")) == found


@pytest.mark.parametrize(
    ("kind", "name", "headers", "found"),
    [
        ("header", "X-A", {"x-a": "1"}, "1"),
        ("header", "X-A", {}, None),
        ("cookie", "sid", {"Cookie": "a=b; sid=1"}, "1"),
        ("cookie", "sid", {}, None),
        ("scheme", "", {}, "http"),
        ("scheme", "", {"X-Forwarded-Proto": "HTTPS"}, "https"),
    ],
)
def test_the_value_of_a_field(kind, name, headers, found):
    assert Condition(kind, name, Pattern("*")).found(request(headers=headers)) == found


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (request(target="/?" + "&" * 1000), "query"),
        (request(headers={"Cookie": "a=1;" * 1000}), "cookie"),
    ],
)
def test_too_many_pairs_are_rejected(asked, kind):
    with pytest.raises(HTTPError) as raised:
        Condition(kind, "a", Pattern("*")).found(asked)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Condition("header", "X-A", Pattern.parse("yes")), "header X-A: yes"),
        (Condition("header", "X-A", Pattern.parse("*")), "header X-A"),
        (Condition("scheme", "", Pattern.parse("https")), "scheme: https"),
        (Condition("header", "Authorization", Pattern.parse("secret")), "header Authorization: ***"),
    ],
)
def test_a_condition_in_words_hides_secrets(condition, text):
    assert str(condition) == text


def test_a_route_matches_if_each_condition_does():
    some = route(scheme="http", headers={"X-A": "1"}, query={"b": "*"})
    assert some.matches(request(target="/?b", headers={"X-A": "1"}))
    assert not some.matches(request(target="/?b", headers={"X-A": "2"}))
    assert not some.matches(request(target="/", headers={"X-A": "1"}))
    assert not some.matches(request(target="/?b", headers={"X-A": "1", "X-Forwarded-Proto": "https"}))


@pytest.mark.parametrize(
    ("methods", "method", "accepted"),
    [((), "PATCH", True), (("GET",), "GET", True), (("GET",), "HEAD", True), (("POST",), "HEAD", False)],
)
def test_get_accepts_head(methods, method, accepted):
    assert route(methods=methods).accepts_method(method) is accepted


def test_names_in_one_spelling():
    some = route("/a/", host=("API.example.com.", "*.Test"))
    assert (some.prefixes, some.hosts, route().prefixes) == (("/a",), ("api.example.com", "*.test"), ("/",))


@pytest.mark.parametrize(
    ("asked", "takes_all"),
    [({}, True), ({"exact": True}, False), ({"methods": ("GET",)}, False), ({"host": ("a",)}, False),
     ({"headers": {"X-A": "*"}}, False)],
)  # fmt: skip
def test_which_routes_take_all(asked, takes_all):
    assert route(**asked).takes_all is takes_all


def test_the_more_a_route_asks_for_the_more_specific_it_is():
    routes = [
        route(), route(query={"a": "*"}), route(query={"a": "*", "b": "*"}), route(methods=("GET",)), route(exact=True),
    ]  # fmt: skip
    assert sorted(routes, key=lambda one: one.specificity) == routes


@pytest.mark.parametrize(
    ("headers", "matches"),
    [({}, True), ({"X-A": "1"}, False), ({"X-A": "2"}, True), ({"X-B": ""}, False), ({"X-A": "2", "X-B": "x"}, False)],
)
def test_what_a_request_must_not_have(headers, matches):
    some = route(headers={"not X-A": "1", "not  X-B": "*"})
    assert some.matches(request(headers=headers)) is matches
    assert [str(condition) for condition in some.conditions] == ["not header X-A: 1", "not header X-B"]


@pytest.mark.parametrize(
    ("client", "matches"),
    [("10.1.2.3", True), ("::ffff:10.0.0.1", True), ("2001:db8::1", True), ("11.0.0.1", False), ("unix", False)],
)
def test_the_networks_of_clients(client, matches):
    some = route(client=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
    assert some.matches(request(client=client)) is matches
    assert not some.takes_all
    assert str(some.conditions[0]) == "client: 10.0.0.0/8, 2001:db8::/32"


def test_a_listener_makes_a_route_more_specific():
    assert route(listener=(Address.parse(":1"),)).specificity > route().specificity


@pytest.mark.parametrize(
    ("upgrades", "method", "body", "offered", "upgrade"),
    [
        (("websocket",), "GET", b"", ("other", "WebSocket"), "WebSocket"),
        (("websocket",), "POST", b"", ("websocket",), None),
        (("websocket",), "GET", b"x", ("websocket",), None),
        (("websocket",), "GET", b"", ("tcp",), None),
        (("tcp", "websocket"), "GET", b"", ("websocket", "tcp"), "websocket"),
        (("tcp", "websocket"), "PATCH", b"x", ("websocket", "TCP"), "TCP"),
        ((), "GET", b"", ("websocket",), None),
    ],
)
def test_the_upgrade_of_a_request(upgrades, method, body, offered, upgrade):
    asked = request(method, body=body)
    asked.offered = offered
    assert route(upgrades=tuple(map(UpgradeToken.parse, upgrades))).upgrade_of(asked) == upgrade


def test_a_connect_in_http2_for_a_protocol_that_the_route_does_not_list_is_a_501():
    asked = request()
    received = asked.received
    asked = Request(
        Received("GET", "/", 1, received.headers, received.peer, None, "HTTP/2.0"), asked.headers, "", "/", "",
        offered=("websocket",),
    )  # fmt: skip
    assert route().upgrade_of(asked) == "websocket"
    with pytest.raises(HTTPError) as caught:
        route(upgrades=()).upgrade_of(asked)
    assert caught.value.status == 501
