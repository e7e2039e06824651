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
