"""The values that placeholders have: text that can end neither a line nor a part of a URL."""

import pytest

from gproxy.config.types.template import PLACEHOLDERS, Template
from gproxy.http.header_names import is_field_value
from gproxy.http.placeholders import VALUES, header_value, url_value
from gproxy.testing import request


class Route:
    name = "users"


def asked(target="/a?b=c", host="Shop.Test:8080", **assigned):
    made = request("GET", target, {"Host": host})
    made.route, made.user = Route(), "alice"
    for name, value in assigned.items():
        setattr(made, name, value)
    return made


def value(text, one):
    return header_value(Template.parse(text).parts, one)


def test_every_placeholder_has_a_value():
    assert tuple(VALUES) == PLACEHOLDERS
    text = value(" ".join(f"{{{name}}}" for name in PLACEHOLDERS), asked())
    assert text == "192.0.2.1 shop.test http GET /a b=c test alice users 8080"


@pytest.mark.parametrize(
    ("text", "assigned", "found"),
    [
        ("{path}", {"path": "/a\r\nX: 1"}, "/a%0D%0AX:%201"),
        ("{path}", {"path": "/a%20b"}, "/a%20b"),
        ("{query}", {"query": "\u00e9=\u20ac"}, "%C3%A9=%E2%82%AC"),
        ("{method}", {"method": "A\tB"}, "A%09B"),
        ("{user}", {"user": " admin "}, "%20admin%20"),
        ("{user}", {"user": "\u00e9"}, "%C3%A9"),
        ("{user}", {"user": "\u00c3\u00a9"}, "%C3%83%C2%A9"),
        ("{user}", {"user": "%C3%A9"}, "%25C3%25A9"),
        ("{user}", {"user": "a\udc80"}, "a?"),
        ("{user}", {"user": ""}, ""),
        ("{route}", {"route": None}, ""),
        ("{client}", {"client": "unix"}, "unknown"),
        ("{port}", {"host": "a"}, "80"),
        ("{port}", {"host": "[::1]"}, "80"),
        ("{port}", {"host": "[::1]:81"}, "81"),
        ("{port}", {"host": ""}, "80"),
        ('{"group":"{route}"}', {}, '{"group":"users"}'),
    ],
)
def test_a_header_value(text, assigned, found):
    made = value(text, asked(**assigned))
    assert made == found
    assert is_field_value(made)


def test_the_scheme_of_a_trusted_proxy():
    one = asked(host="a")
    one.headers["X-Forwarded-Proto"] = "HTTPS"
    assert value("{scheme}:{port}", one) == "https:443"
    one.headers["X-Forwarded-Proto"] = "javascript"
    assert value("{scheme}", one) == "http"


def test_a_value_in_a_url_has_no_delimiters():
    assert url_value("user", asked(user="a/b?c&d=e#f\\ \u00e9")) == "a%2Fb%3Fc%26d%3De%23f%5C%20%C3%A9"


@pytest.mark.parametrize("text", ["{clint}", "x{user}{usr}"])
def test_an_unknown_name(text):
    with pytest.raises(ValueError, match=r"^unknown placeholder .*did you mean"):
        Template.parse(text)


@pytest.mark.parametrize("text", ["", "a", "{", "{}", "{A}", '{"a":{"b":1}}', "{a b}"])
def test_texts_without_placeholders(text):
    made = Template.parse(text)
    assert (made.names, str(made)) == ((), text)
