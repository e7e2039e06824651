"""The environ: what a backend would get, with the client as the gateway knows it."""

import pytest

from gproxy.http.request import request as made_request


@pytest.fixture
def seen(mounted):
    """Return the environ that an app gets; options are those of the route."""

    def see(request, **options):
        found = {}

        def app(environ, start_response):
            found.update(environ)
            start_response("204 No Content", [])
            return []

        mounted(app, **options)(request)
        return found

    return see


def test_the_client_is_that_of_the_gateway(seen):
    request = made_request("GET", "/a?b=c", {"Host": "shop.example:8443"}, client="192.0.2.7")
    environ = seen(request)
    assert {name: environ[name] for name in ("REMOTE_ADDR", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")} == {
        "REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "shop.example:8443", "SERVER_NAME": "shop.example",
        "SERVER_PORT": "8443",
    }  # fmt: skip
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["SCRIPT_NAME"]) == ("/a", "b=c", "")
    assert environ["gproxy.request"] is request


def test_a_trusted_proxy_names_the_scheme(seen):
    environ = seen(made_request("GET", "/", {"Host": "shop.example", "X-Forwarded-Proto": "https"}))
    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["SERVER_PORT"]) == (
        "https",
        "shop.example",
        "443",
    )


@pytest.mark.parametrize("forged", ["evil.example", "evil.example, shop.example", 'evil"<x>'])
def test_the_host_is_that_of_the_routing(seen, forged):
    environ = seen(made_request("GET", "/", {"Host": "shop.example", "X-Forwarded-Host": forged}))
    assert (environ["HTTP_HOST"], environ["SERVER_NAME"]) == ("shop.example", "shop.example")


def test_a_host_that_a_handler_assigns_is_checked(seen):
    request = made_request()
    request.host = "moved.example"
    assert seen(request)["HTTP_HOST"] == "moved.example"
    request.host = "evil/../x y"
    with pytest.raises(ValueError, match="host"):
        seen(request)


def test_a_host_in_brackets(seen):
    environ = seen(made_request("GET", "/", {"Host": "[2001:db8::1]:81"}))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("[2001:db8::1]", "81")


def test_paths_are_decoded_to_latin_1(seen):
    environ = seen(made_request("GET", "/gr%C3%BC%C3%9Fe/a%2Fb?x=%20"))
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/grüße/a/b"
    assert (environ["RAW_URI"], environ["QUERY_STRING"]) == ("/gr%C3%BC%C3%9Fe/a%2Fb?x=%20", "x=%20")


def test_a_stripped_prefix_is_the_script_name(seen):
    environ = seen(made_request("GET", "/shop/cart"), path="/shop", strip_prefix="yes")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/cart")
    assert environ["HTTP_X_FORWARDED_PREFIX"] == "/shop"


def test_an_added_prefix_is_part_of_the_path(seen):
    assert seen(made_request("GET", "/cart"), add_prefix="/v2")["PATH_INFO"] == "/v2/cart"


def test_repeated_fields_are_joined(seen):
    headers = [("Host", "a"), ("A", "1"), ("A", "2"), ("Cookie", "x=1"), ("Cookie", "y=2")]
    environ = seen(made_request("GET", "/", headers))
    assert (environ["HTTP_A"], environ["HTTP_COOKIE"]) == ("1,2", "x=1; y=2")


def test_fields_that_would_take_the_place_of_others_are_dropped(seen):
    environ = seen(made_request("GET", "/", {"Host": "a", "X_User": "root", "Proxy": "evil", "X-User": "alice"}))
    assert environ["HTTP_X_USER"] == "alice"
    assert "HTTP_PROXY" not in environ


@pytest.mark.parametrize(("keep", "passes"), [("", False), ("Authorization", True)])
def test_authorization_passes_only_if_it_is_kept(seen, keep, passes):
    environ = seen(made_request("GET", "/", {"Authorization": "Bearer x"}), **({"keep": keep} if keep else {}))
    assert ("HTTP_AUTHORIZATION" in environ) is passes


def test_a_body_has_its_length_and_type(seen):
    environ = seen(made_request("POST", "/", {"Content-Type": "text/plain"}, b"four"))
    assert (environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == ("4", "text/plain")
    assert environ["wsgi.input"].read() == b"four"


def test_what_an_app_writes_to_its_errors_is_logged_under_the_request(seen, caplog):
    errors = seen(made_request("GET", "/cart"))["wsgi.errors"]
    errors.write("  \n")
    errors.writelines(["Traceback\n", "line\n"])
    errors.flush()
    assert [record.getMessage() for record in caplog.records] == ["test GET /cart: Traceback\nline"]
