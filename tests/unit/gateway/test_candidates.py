"""The order in which the routes of one path are tried."""

import pytest

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types.patterns import Pattern
from gproxy.config.types.route_action import UpstreamShare
from gproxy.gateway.candidates import Candidates, endings
from gproxy.gateway.route import Route
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.http.wire import bare_host


def answer(_):
    return Response(200)


def route(name, *host, headers=(), **asked):
    patterns = {key: Pattern.parse("*") for key in headers}
    return Route(
        RouteSettings(name, (UpstreamShare("u"),), host=host, headers=patterns, **asked), timeout=3.0, action=answer
    )


def names(candidates, host="gateway.test"):
    return [route.name for route in candidates.of(request(headers={"Host": host}))]


@pytest.mark.parametrize(
    ("host", "bare"),
    [("A.Test", "a.test"), ("a.test:80", "a.test"), ("a.test.", "a.test"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")],
)  # fmt: skip
def test_a_host_without_its_port(host, bare):
    assert bare_host(host) == bare


@pytest.mark.parametrize(
    ("host", "found"), [("a.b.c", [".b.c", ".c"]), ("c", []), ("", []), (".b.c", [".c"]), ("a.", ["."])]
)
def test_the_endings_of_a_host_longest_first(host, found):
    assert list(endings(host)) == found


def test_the_host_goes_before_the_longest_wildcard_before_any_host():
    some = Candidates([route("any"), route("c", "*.c"), route("bc", "*.b.c"), route("abc", "a.b.c")])
    assert names(some, "a.b.c") == ["abc", "bc", "c", "any"]
    assert names(some, "x.b.c:80") == ["bc", "c", "any"]
    assert names(some, "b.c") == ["c", "any"]
    assert names(some, "other") == ["any"]


def test_a_name_longer_than_any_is_looked_up_whole_only():
    some = Candidates([route("any"), route("c", "*.c")])
    assert names(some, "a" * 251 + ".c") == ["c", "any"]
    assert names(some, "a" * 252 + ".c") == ["any"]


def test_an_exact_path_goes_before_all_hosts():
    some = Candidates([route("host", "a.test"), route("exact", exact=True)])
    assert names(some, "a.test") == ["exact", "host"]


def test_a_route_with_several_patterns_that_fit_stands_there_once():
    some = Candidates([route("both", "*.c", "a.c")])
    assert names(some, "a.c") == ["both"]


def test_more_conditions_go_first_then_the_order_of_the_file():
    some = Candidates([route("first"), route("second"), route("one", headers=("A",)), route("two", headers=("A", "B"))])
    assert names(some) == ["two", "one", "first", "second"]


def test_only_is_the_route_that_takes_whatever_comes():
    alone = route("alone")
    assert Candidates([alone]).only is alone
    assert Candidates([route("asks", headers=("A",))]).only is None
    assert Candidates([alone, route("other")]).only is None


def test_the_best_route_has_the_method_or_else_the_rest():
    some = Candidates([route("get", methods=("GET",)), route("post", methods=("POST",))])
    assert some.best(request("POST")).name == "post"
    assert some.best(request("HEAD")).name == "get"
    assert some.best(request("PUT")).name == "get"
    assert Candidates([route("asks", headers=("A",))]).best(request()) is None


def test_a_request_without_the_conditions_goes_to_the_next_route():
    some = Candidates([route("asks", headers=("A",)), route("any")])
    assert some.best(request()).name == "any"
    assert some.best(request(headers={"A": "1"})).name == "asks"


def test_allowed_lists_the_methods_of_routes_that_match():
    some = Candidates([
        route("get", methods=("GET",)), route("post", methods=("POST",)), route("other", methods=("PUT",), headers=("A",)),
    ])  # fmt: skip
    assert some.allowed(request("DELETE")) == "GET, HEAD, POST"
    assert Candidates([route("post", methods=("POST",))]).allowed(request()) == "POST"
