import pytest

from gproxy.config.types import Seconds
from gproxy.config.types.origin import Origin
from gproxy.handlers.cors import Cors
from gproxy.testing import answer, request

APP = "https://app.example.com"
SITES = "https://*.example.com"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "PUT"}


def cors(*origins, **options):
    return Cors(origins=tuple(map(Origin.parse, origins)), **options)


def test_a_preflight_is_answered_by_the_gateway():
    behind = answer()
    handler = cors(APP, methods=("GET", "PUT"), headers=("X-A",), max_age=Seconds(60.0), credentials=True)
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
    response = cors("https://other.example")(request("OPTIONS", "/", PREFLIGHT), answer())
    assert (response.status, response.headers.items()) == (204, [("Vary", "Origin")])


def test_options_without_a_preflights_headers_is_forwarded():
    assert cors(APP)(request("OPTIONS", "/", {"Origin": APP}), answer(207)).status == 207


def test_a_response_names_the_origin_and_the_exposed_headers():
    behind = answer(
        headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true", "Vary": "Cookie"}
    )
    response = cors(APP, expose=("X-Total",))(request(headers={"Origin": APP}), behind)
    assert dict(response.headers.items()) == {
        "Vary": "Cookie, Origin",
        "Access-Control-Expose-Headers": "X-Total",
        "Access-Control-Allow-Origin": APP,
    }


@pytest.mark.parametrize("origin", [None, "https://app.example.com.evil.example", "HTTPS://APP.EXAMPLE.COM", "null"])
def test_other_origins_are_not_named(origin):
    response = cors(APP)(request(headers={"Origin": origin} if origin else ()), answer())
    assert response.headers.items() == [("Vary", "Origin")]


def test_any_origin():
    response = cors("*")(request(headers={"Origin": "https://a.example"}), answer())
    assert response.headers.items() == [("Access-Control-Allow-Origin", "*")]


def test_an_origin_by_pattern_is_named_itself():
    handler = cors("https://other.test", SITES, credentials=True)
    for origin, is_named in ((APP, True), ("https://example.com", False), ("null", False), (SITES, False)):
        headers = handler(request(headers={"Origin": origin}), answer()).headers
        assert headers.get("access-control-allow-origin") == (origin if is_named else None)
        assert headers.get("access-control-allow-credentials") == ("true" if is_named else None)
        assert headers["Vary"] == "Origin"


def test_a_frame_without_an_origin_only_if_it_is_listed():
    null = {"Origin": "null"}
    assert cors("null")(request(headers=null), answer()).headers["Access-Control-Allow-Origin"] == "null"
    assert "access-control-allow-origin" not in cors("~ .*")(request(headers=null), answer()).headers


@pytest.mark.parametrize(
    ("origins", "options", "option"),
    [
        ((), {}, "origins"),
        (("*",), {"credentials": True}, "credentials"),
        ((APP, "null"), {"credentials": True}, "credentials"),
        (("~ https://.*",), {"credentials": True}, "credentials"),
        ((APP,), {"credentials": True, "headers": ("*",)}, "headers"),
        ((APP,), {"credentials": True, "methods": ("*",)}, "methods"),
        ((APP,), {"credentials": True, "expose": ("*",)}, "expose"),
        (("*",), {"methods": ("GET\r\n",)}, "methods"),
        (("*",), {"methods": ("patch",)}, "methods"),
        (("*",), {"headers": ("a b",)}, "headers"),
        (("*",), {"expose": ("",)}, "expose"),
    ],
)
def test_wrong_options(origins, options, option):
    with pytest.raises(ValueError, match=f"^{option}: "):
        cors(*origins, **options)
