import re

import pytest

from gproxy.handlers.headers import EditHeaders
from gproxy.http.errors import HTTPError
from gproxy.testing import answer, request


def test_requests_and_responses():
    handler = EditHeaders(
        request={"X-Env": "test"}, response={"Server": "ours"}, remove_request=("Cookie",), remove_response=("X-Debug",)
    )
    behind = answer(headers=[("server", "a"), ("Server", "b"), ("X-Debug", "1"), ("X-Other", "2")])
    asked = request(headers=[("x-env", "mine"), ("X-Env", "too"), ("cookie", "a=1"), ("X-Kept", "yes")])
    response = handler(asked, behind)
    assert asked.headers.items() == [("X-Env", "test"), ("X-Kept", "yes"), ("Host", "gateway.test")]
    assert response.headers.items() == [("Server", "ours"), ("X-Other", "2")]


def test_a_header_that_is_removed_and_set_is_set():
    asked = request(headers={"X-A": "1"})
    EditHeaders(request={"X-A": "2"}, remove_request=("X-A",))(asked, answer())
    assert asked.headers["X-A"] == "2"


def test_placeholders_are_filled_in_and_an_empty_value_removes_the_header():
    handler = EditHeaders(
        request={"X-Who": "{user}", "X-Where": "{scheme}://{host}{path}"}, response={"X-For": "{client}; {user}"}
    )

    def next(request):
        request.user = "bob"
        return answer(headers={"X-For": "theirs"})(request)

    asked = request("GET", "/a?b", headers={"X-Who": "root", "X-Where": "x"})
    response = handler(asked, next)
    assert asked.headers.items() == [("X-Where", "http://gateway.test/a"), ("Host", "gateway.test")]
    assert response.headers["X-For"] == "192.0.2.1; bob"


class Route:
    name = "users"
    patterns = (re.compile(r"/(?P<tenant>[^/]+)/(?P<rest>.*)", re.DOTALL), re.compile(r"/(?P<tenant>[^/]+)"))


def on_route(target):
    made = request("GET", target, headers={"X-Tenant": "mine", "X-Rest": "mine"})
    made.route = Route()
    return made


GROUPS = EditHeaders(request={"X-Tenant": "t-{tenant}", "X-Rest": "{rest}"}, response={"X-Of": "{tenant} {method}"})


@pytest.mark.parametrize(
    ("target", "tenant", "rest"),
    [
        ("/a/b/c?d=e", "t-a", "b/c"),
        ("/a", "t-a", None),
        ("/a%20b/%22x", "t-a%20b", '"x'),
        ("/a%0D%0AX-Evil:%201/x", "t-a%0D%0AX-Evil:%201", "x"),
        ("/caf%C3%A9/%E2%82%AC", "t-caf%C3%A9", "%E2%82%AC"),
        ("/a%2525/x", None, None),
        ("/a/b/../c", None, None),
        ("/a//b/./c", "t-a", "b/c"),
        ("/", "t-", None),
    ],
)
def test_groups_of_the_routes_pattern(target, tenant, rest):
    asked = on_route(target)
    if tenant is None:  # the path has several readings
        with pytest.raises(HTTPError, match="400 the path is ambiguous"):
            GROUPS(asked, answer())
        return
    response = GROUPS(asked, answer())
    assert (asked.headers.get("X-Tenant"), asked.headers.get("X-Rest")) == (tenant, rest)
    assert response.headers["X-Of"] == f"{tenant[2:]} GET".strip()


def test_a_group_is_that_of_the_path_as_it_came():
    def rewritten(asked):
        asked.path = "/other/path"
        return answer()(asked)

    assert GROUPS(on_route("/a/b"), rewritten).headers["X-Of"] == "a GET"


def test_without_a_route_or_a_pattern_a_group_is_empty():
    asked = request("GET", "/a/b")
    assert GROUPS(asked, answer()).headers["X-Of"] == "GET"
    assert "X-Rest" not in asked.headers


def test_the_loader_gets_the_names():
    assert GROUPS.header_placeholders == [
        ("request", "X-Tenant", "tenant"), ("request", "X-Rest", "rest"),
        ("response", "X-Of", "tenant"), ("response", "X-Of", "method"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"request": {"a b": "c"}}, "request"),
        ({"response": {"X-A": "b\r\nX-C: d"}}, "response"),
        ({"request": {"Host": "b"}}, "request"),
        ({"response": {"Content-Length": "0"}}, "response"),
        ({"remove_response": ("Transfer-Encoding",)}, "remove_response"),
        ({"remove_request": ("",)}, "remove_request"),
    ],
)
def test_wrong_options(options, option):
    with pytest.raises(ValueError, match=f"^{option}: "):
        EditHeaders(**options)
