import pytest

from gproxy.config.types import Seconds
from gproxy.handlers.cors import Cors
from gproxy.testing import answer, request

APP = "https://app.example.com"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "PUT"}


def test_a_preflight_is_answered_by_the_gateway():
    behind = answer()
    handler = Cors(origins=(APP,), methods=("GET", "PUT"), headers=("X-A",), max_age=Seconds(60.0), credentials=True)
    response = handler(request("OPTIONS", "/", PREFLIGHT), behind)
    assert response.status == 204
    assert dict(response.headers.items()) == {
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "X-A",
        "Access-Control-Max-Age": "60",
        "Vary": "Origin",
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Credentials": "true",
    }
    assert behind.requests == []


def test_a_preflight_of_another_origin_gets_no_permission():
    response = Cors(origins=("https://other.example",))(request("OPTIONS", "/", PREFLIGHT), answer())
    assert (response.status, response.headers.items()) == (204, [("Vary", "Origin")])


def test_options_without_a_preflights_headers_is_forwarded():
    assert Cors(origins=(APP,))(request("OPTIONS", "/", {"Origin": APP}), answer(207)).status == 207


def test_a_response_names_the_origin_and_the_exposed_headers():
    behind = answer(
        headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true", "Vary": "Cookie"}
    )
    response = Cors(origins=(APP,), expose=("X-Total",))(request(headers={"Origin": APP}), behind)
    assert dict(response.headers.items()) == {
        "Vary": "Cookie, Origin",
        "Access-Control-Expose-Headers": "X-Total",
        "Access-Control-Allow-Origin": APP,
    }


@pytest.mark.parametrize("origin", [None, "https://app.example.com.evil.example", "HTTPS://APP.EXAMPLE.COM", "null"])
def test_other_origins_are_not_named(origin):
    response = Cors(origins=(APP,))(request(headers={"Origin": origin} if origin else ()), answer())
    assert response.headers.items() == [("Vary", "Origin")]


def test_any_origin():
    response = Cors(origins=("*",))(request(headers={"Origin": "https://a.example"}), answer())
    assert response.headers.items() == [("Access-Control-Allow-Origin", "*")]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"origins": ()}, "origins"),
        ({"origins": ("app.example.com",)}, "origins"),
        ({"origins": ("https://app.example.com/",)}, "origins"),
        ({"origins": ("*",), "credentials": True}, "credentials"),
        ({"origins": ("*",), "methods": ("GET\r\n",)}, "methods"),
        ({"origins": ("*",), "headers": ("a b",)}, "headers"),
        ({"origins": ("*",), "expose": ("",)}, "expose"),
    ],
)
def test_wrong_options(options, option):
    with pytest.raises(ValueError, match=f"^{option}: "):
        Cors(**options)
