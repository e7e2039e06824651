"""Cookies in a request: the first of a name, with whatever stands around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.cookies import cookie, cookie_in
from gproxy.http.headers import Headers


def by_splitting(header, name):
    """The plain way to read a Cookie field, slower with many cookies."""
    for pair in header.split(";"):
        key, equals, value = pair.partition("=")
        if equals and key.strip(" \t") == name:
            return value.strip(" \t")
    return None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("sid=1", "1"), ("a=b; sid=1", "1"), ("a=b;sid=1;c=d", "1"), ("sid=1; sid=2", "1"), ("; ;sid=1;", "1"),
        ('sid="1"', '"1"'), ('sid="a;b"', '"a'), ("sid= 1 2 ; a=b", "1 2"), ("sid = 1", "1"), ("\tsid\t=\t1", "1"),
        ("sid=", ""), ("sid==1=", "=1="), ("sid=; sid=2", ""), ("$Version=1; sid=2; $Path=/", "2"), ("sid; sid=2", "2"),
        ("mysid=2; sid=3", "3"), ("sidx=2; sid=3", "3"), ("a=sid; sid=3", "3"), ("sid=a sid=b", "a sid=b"),
        ("sid", None), ("", None), ("=1", None), ("SID=1", None), ("s id=1", None), ("a=b, sid=5", None),
        ("a=sid=4", None), ("a=b sid=5", None), ("mysid=2", None), ("sid.=2", None),
    ],
)  # fmt: skip
def test_a_cookie_among_others(header, value):
    assert cookie_in(header, "sid") == by_splitting(header, "sid") == value
    assert cookie(Headers({"Cookie": header}), "sid") == value


def test_several_lines_are_one_list():
    assert cookie(Headers([("Cookie", "a=1"), ("cookie", "sid=2; a=3")]), "sid") == "2"
    assert cookie(Headers([("Cookie", "a=1"), ("cookie", "sid=2; a=3")]), "a") == "1"
    assert cookie(Headers(), "sid") is None


@given(st.text('ab=; \t",$'), st.text("ab$", max_size=3))  # a name is a token: RFC 6265, section 4.1.1
def test_all_fields_are_read_as_if_split(header, name):
    assert cookie_in(header, name) == by_splitting(header, name)


def test_many_pairs_that_contain_the_name_are_passed_once():
    assert cookie_in("xsid=sid sid;" * 100_000, "sid") is None
