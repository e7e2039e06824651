"""Bodies in JSON: what is read, what is rejected, and within which limits."""

import pytest

from gproxy import HTTPError, Response
from gproxy.testing import request


def test_values_go_both_ways():
    value = {"a": [1, 2.5, None, True, "ü"]}
    response = Response.from_json(value, 201)
    assert (response.status, response.headers["Content-Type"]) == (201, "application/json")
    assert response.json() == value
    asked = request("POST", "/", body=response.read())
    assert asked.json() == asked.json() == value
    assert Response(200, [b"[1,", b"2]"]).json() == [1, 2]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": NaN}', b"[Infinity]", b"\xff\xfe\xfd", b"[" * 100_000, b"9" * 10_000, b"1 2"]
)
def test_what_is_no_json_is_a_400(body):
    with pytest.raises(HTTPError) as raised:
        request("POST", "/", body=body).json()
    assert raised.value.status == 400
    with pytest.raises(ValueError):
        Response(200, body).json()


def test_the_error_names_the_place_and_no_content():
    with pytest.raises(HTTPError) as raised:
        request("POST", "/", body=b'{\n"password": secret}').json()
    assert raised.value.detail == "the body is no valid JSON (line 2, column 13)"


def test_a_longer_body_is_a_413():
    asked = request("POST", "/", body=b'"' + b"x" * 100 + b'"')
    with pytest.raises(HTTPError) as raised:
        asked.json(limit=50)
    assert raised.value.status == 413
    assert len(asked.json()) == 100


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_does_not_have_cannot_be_sent(value):
    with pytest.raises(ValueError, match="JSON"):
        Response.from_json(value)
    with pytest.raises(TypeError):
        Response.from_json(object())
