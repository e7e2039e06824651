import pytest

from gproxy.handlers.respond import Respond
from gproxy.testing import answer, request


def test_the_response():
    behind = answer()
    response = Respond(status=410, body="gone für immer", headers={"X-Why": "age"})(request(), behind)
    assert (response.status, response.body) == (410, "gone für immer".encode())
    assert response.headers.items() == [("X-Why", "age"), ("Content-Type", "text/plain; charset=utf-8")]
    assert behind.requests == []


def test_each_response_has_headers_of_its_own():
    handler = Respond(headers={"X-A": "1"})
    handler(request(), answer()).headers["X-B"] = "2"
    assert handler(request(), answer()).headers.items() == [("X-A", "1")]


def test_a_redirect_has_no_type_without_a_body():
    response = Respond(status=301, headers={"Location": "/new"})(request(), answer())
    assert response.headers.items() == [("Location", "/new")]


@pytest.mark.parametrize(
    ("options", "option"),
    [({"status": 100}, "status"), ({"headers": {"a b": "c"}}, "headers"), ({"status": 204, "body": "x"}, "body")],
)
def test_wrong_options(options, option):
    with pytest.raises(ValueError, match=f"^{option}: "):
        Respond(**options)
