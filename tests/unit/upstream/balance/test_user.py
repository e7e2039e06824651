"""A policy that the user has written, and its mistakes."""

import logging

import pytest

from gproxy.http.errors import HTTPError
from gproxy.upstream.balance import UserPolicy


def own(group, function, **options):
    return group("a,b,c", policy=UserPolicy("policies:chosen", function), balance="first", **options)


def test_a_policy_of_the_users_own(group):
    seen = []

    def chosen(backends, request):
        seen.append([backend.name for backend in backends])
        return backends[-1]

    some = own(group, chosen)
    assert some.pick() == "c"
    assert some.pick(tried="c") == "b"
    assert seen == [["a:80", "b:80", "c:80"], ["a:80", "b:80"]]


def test_it_may_say_that_none_will_do(group):
    assert own(group, lambda backends, request: None).pick() is None


def test_what_it_raises_costs_a_500_and_a_line_that_says_where(group, caplog):
    def chosen(backends, request):
        return {}["tenant"]

    with pytest.raises(HTTPError) as raised:
        own(group, chosen).pick()
    assert (raised.value.status, raised.value.reason) == (500, "balance_error")
    assert raised.value.headers["Proxy-Status"] == "gproxy; error=proxy_internal_error"
    (line,) = caplog.messages
    assert "balance = policies:chosen raised KeyError: 'tenant'" in line
    assert "test_user.py:" in line
    assert caplog.records[0].exc_info is None


@pytest.mark.parametrize("wrong", ["a:80", 1, object(), b"", ["a"]])
def test_what_is_no_backend_is_a_500_too(group, caplog, wrong):
    with pytest.raises(HTTPError) as raised:
        own(group, lambda backends, request: wrong).pick()
    assert raised.value.reason == "balance_error"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_backend_that_it_was_not_offered_is_refused(group):
    kept = []
    some = own(group, lambda backends, request: kept[0])
    kept.append(some["a"])
    assert some.pick() == "a"
    with pytest.raises(HTTPError):
        some.pick(tried="a")


def test_its_http_errors_are_its_answer(group):
    def chosen(backends, request):
        raise HTTPError(403, "no tenant")

    with pytest.raises(HTTPError) as raised:
        own(group, chosen).pick()
    assert (raised.value.status, raised.value.reason) == (403, "forbidden")
