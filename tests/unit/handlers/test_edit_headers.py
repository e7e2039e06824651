import pytest

from gproxy.handlers.headers import EditHeaders
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


def test_an_unknown_placeholder_is_named_only_if_it_is_a_mistyped_one():
    with pytest.raises(ValueError, match=r"^request: X-A: unknown placeholder \{clint\}; did you mean 'client'\?$"):
        EditHeaders(request={"X-A": "{clint}"})
    with pytest.raises(ValueError, match=r"^request: X-Key: unknown placeholder; known: client, host"):
        EditHeaders(request={"X-Key": "a{zzyzx}b"})


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"request": {"a b": "c"}}, "request"),
        ({"response": {"X-A": "b\r\nX-C: d"}}, "response"),
        ({"request": {"Host": "b"}}, "request"),
        ({"request": {"X-A": "{clint}"}}, "request"),
        ({"response": {"Content-Length": "0"}}, "response"),
        ({"remove_response": ("Transfer-Encoding",)}, "remove_response"),
        ({"remove_request": ("",)}, "remove_request"),
    ],
)
def test_wrong_options(options, option):
    with pytest.raises(ValueError, match=f"^{option}: "):
        EditHeaders(**options)
