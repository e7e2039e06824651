"""The order of handlers, and what becomes of their mistakes."""

import pytest

from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.testing import answer, request


class Mark:
    """Adds its letter to a header of the request and of the response."""

    def __init__(self, letter):
        self._letter = letter

    def __call__(self, request, following):
        request.context["down"] = request.context.get("down", "") + self._letter
        response = following(request)
        response.headers["X-Up"] = response.headers.get("x-up", "") + self._letter
        return response


def test_requests_go_down_the_list_and_responses_up():
    asked = request()
    response = compose([Mark("a"), Mark("b"), Mark("c")], answer(201))(asked)
    assert (response.status, asked.context["down"], response.headers["X-Up"]) == (201, "abc", "cba")


def test_functions_are_handlers_too():
    assert compose([lambda request, following: following(request)], answer(201))(request()).status == 201


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(HTTPError(403, "no"), 403, "forbidden"), (ValueError("broken"), 500, "handler_error")],
)
def test_what_the_last_step_raises_is_a_response_for_the_handlers(error, status, reason):
    def last(request):
        raise error

    asked = request()
    response = compose([Mark("a")], last)(asked)
    assert (response.status, response.headers["X-Up"], asked.reason) == (status, "a", reason)


def test_what_a_handler_raises_is_a_response_for_those_before_it():
    def broken(request, following):
        raise HTTPError(401)

    last = answer()
    response = compose([Mark("a"), broken, Mark("b")], last)(request())
    assert (response.status, response.headers["X-Up"], last.requests) == (401, "a", [])


@pytest.mark.parametrize("wrong", [None, "text", b"bytes", 200])
def test_what_is_no_response_is_a_500_and_a_line_with_the_handler(wrong, caplog):
    def forgetful(request, following):
        return wrong

    assert compose([forgetful], answer())(request()).status == 500
    assert "forgetful" in caplog.text
    assert f"returned {wrong!r}; expected a Response" in caplog.text


def test_a_client_that_left_passes_all_handlers():
    def last(request):
        raise ClientGone

    with pytest.raises(ClientGone):
        compose([Mark("a")], last)(request())


def test_a_guarded_step_is_not_guarded_again():
    last = compose([], answer())
    assert last.is_guarded
    assert compose([], last) is last


def test_the_errors_of_each_handler_are_counted():
    def broken(request, following):
        following(request)
        raise ValueError("broken")

    def forgetful(request, following):
        following(request)

    def strict(request, following):
        following(request)
        raise HTTPError(403)

    outer, errors = Mark("a"), ErrorResponses()
    chain = compose([outer, broken, forgetful, strict], answer(), errors)
    chain(request())
    chain(request())
    assert [errors.failures(handler) for handler in (outer, broken, forgetful, strict)] == [0, 2, 2, 0]
