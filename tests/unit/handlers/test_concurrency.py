import pytest

from gproxy.handlers.concurrency import Concurrency
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.testing import answer, request


def opened(**options):
    handler = Concurrency(**{"limit": 2} | options)
    handler.open(Runtime())
    return handler


def refused(handler, asked):
    with pytest.raises(HTTPError) as caught:
        handler(asked, answer())
    return caught.value


def test_a_third_request_of_an_address_waits_for_none_and_is_429():
    handler, behind = opened(), answer()
    first, second = request(), request()
    for asked in (first, second):
        assert handler(asked, behind).status == 200
    error = refused(handler, request())
    assert (error.status, error.reason, error.headers["Retry-After"]) == (429, "concurrency_limited", "1")
    assert error.detail == "limit of 2 concurrent requests exceeded"
    assert handler(request(client="192.0.2.9"), behind).status == 200
    first.end()
    assert handler(request(), behind).status == 200
    refused(handler, request())
    assert len(behind.requests) == 4


def test_a_limit_of_one_says_so():
    handler = opened(limit=1)
    handler(request(), answer())
    assert refused(handler, request()).detail == "limit of 1 concurrent request exceeded"


def test_an_error_behind_it_gives_the_place_back_with_the_end_of_the_request():
    handler = opened(limit=1)

    def fails(_):
        raise HTTPError(503, "no")

    asked = request()
    with pytest.raises(HTTPError):
        handler(asked, fails)
    assert refused(handler, request()).status == 429
    asked.end()
    handler(request(), answer())


def test_a_request_that_passes_again_counts_once():
    handler = opened(limit=1)
    asked = request()
    for _ in range(3):
        assert handler(asked, answer()).status == 200
    asked.end()
    handler(request(), answer())


def test_two_limits_in_one_chain_count_the_same_request():
    handlers = [opened(limit=1, key=key) for key in ("ip", "user")]
    handlers[1].name = handlers[1]._mark = "users"
    asked = request()
    assert handlers[0](asked, lambda again: handlers[1](again, answer())).status == 200
    for handler in handlers:
        refused(handler, request())
    asked.end()
    for handler in handlers:
        handler(request(), answer())


@pytest.mark.parametrize(
    ("key", "one", "other", "same"),
    [
        ("ip", {"client": "2001:db8::1"}, {"client": "2001:db8::2"}, True),
        ("ip", {"client": "192.0.2.1"}, {"client": "192.0.2.2"}, False),
        ("header:X-Key", {"headers": {"X-Key": "a"}}, {"headers": {"X-Key": "a"}, "client": "192.0.2.9"}, True),
        ("header:X-Key", {"headers": {"X-Key": "a"}}, {"headers": {"X-Key": "b"}}, False),
        ("header:X-Key", {"headers": {"X-Key": "192.0.2.1"}}, {"client": "192.0.2.1"}, False),
    ],
)
def test_which_requests_are_those_of_one_client(key, one, other, same):
    handler = opened(limit=1, key=key)
    handler(request(**one), answer())
    if same:
        refused(handler, request(**other))
    else:
        handler(request(**other), answer())


def test_by_user():
    handler = opened(limit=1, key="user")
    alice, bob = request(), request()
    alice.user, bob.user = "alice", "bob"
    handler(alice, answer())
    handler(bob, answer())
    again = request(client="192.0.2.9")
    again.user = "alice"
    refused(handler, again)


@pytest.mark.parametrize(("option", "value"), [("limit", 0), ("key", "cookie"), ("key", "header:"), ("max_clients", 0)])
def test_wrong_options(option, value):
    with pytest.raises(ValueError, match=f"^{option}: "):
        Concurrency(**{"limit": 1} | {option: value})
