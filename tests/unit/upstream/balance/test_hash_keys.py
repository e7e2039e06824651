"""What of a request each key function reads."""

import pytest

from gproxy.http.request import request
from gproxy.upstream.balance import hash_keys as keys


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ("sid=1", "1"), ("a=b; sid=1", "1"), ("a=b;sid=1;c=d", "1"), ("sid=1; sid=2", "1"), ('sid="1"', "1"), ("sid=", ""),
        ("mysid=2", None), ("mysid=2; sid=3", "3"), ("a=sid=4", None), ("a=b, sid=5", "5"), ("sid", None), ("", None), ("SID=1", None),
        ("sid=1 2", "1 2"), ('a="b"; sid= "1" ;c', "1"), ("sid=; sid=2", ""), ("$Version=1; sid=2; $Path=/", "2"), ("sid; sid=2", "2"),
        ("a=b, sid", None), ("sid=5, a=b", "5, a=b"), ("; ;sid=1;", "1"), ("a=b,sid=5", None), ("sid==1=", "=1="),
    ],
)  # fmt: skip
def test_a_cookie_among_others(cookies, value):
    assert keys.cookie("sid")(request(headers={"Cookie": cookies})) == by_searching(cookies, "sid") == value


@pytest.mark.parametrize(
    ("cookies", "before", "value"),
    [
        ("a=b sid=5", "5", None), ("a=b sid=5; sid=6", "5", "6"), ("sid =5", None, "5"), ("a=b, sid=5, c=d", "5, c=d", "5"),
    ],
)  # fmt: skip
def test_the_differences_to_a_search_for_the_name(cookies, before, value):
    """Text within the value of another cookie is no cookie; blanks may stand around a name."""
    assert by_searching(cookies, "sid") == before
    assert keys.cookie("sid")(request(headers={"Cookie": cookies})) == value


def by_searching(cookies, name):
    """The value behind `name=` after a blank or a semicolon."""
    start = f"{name}="
    at = cookies.find(start)
    while at > 0 and cookies[at - 1] not in " ;\t":
        at = cookies.find(start, at + 1)
    return cookies[at + len(start) :].partition(";")[0].strip(' \t"') if at >= 0 else None


def test_a_cookie_in_the_first_of_two_lines():
    asked = request(headers=[("Cookie", "sid=5"), ("Cookie", "a=1")])
    assert keys.cookie("sid")(asked) == "5"


@pytest.mark.parametrize(
    ("address", "key"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:0:1:2::3", "2001:db8:0:1::"), ("2001:db8:0:1:ffff::", "2001:db8:0:1::")],
)
def test_a_client_is_its_address_and_its_network_in_ipv6(address, key):
    found = keys.client(request(client=address))
    assert found.partition("/")[0] == key


def test_the_path_key_ignores_the_query():
    assert keys.path(request(target="/a/b?c=d")) == "/a/b"


def test_a_header_key_ignores_case():
    key = keys.header("X-Tenant")
    assert key(request(headers={"x-tENANT": "t"})) == "t"
    assert key(request()) is None


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("user=1", "1"), ("a=b&user=1&c=d", "1"), ("user=1&user=2", "1"), ("user=", ""), ("user=%20", "%20"),
        ("xuser=2", None), ("xuser=2&user=3", "3"), ("user", None), ("", None), ("User=1", None),
    ],
)  # fmt: skip
def test_a_query_key_is_the_first_parameter_of_the_name(query, value):
    assert keys.query("user")(request(target=f"/?{query}")) == value
