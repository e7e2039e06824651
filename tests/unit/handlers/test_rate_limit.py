import time

import gevent
import pytest

from gproxy.config.types import Rate, Seconds
from gproxy.handlers.rate_limit import RateLimit
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

TWICE = Rate(2, Seconds(60.0))


def opened(clock=None, **options):
    handler = RateLimit(**{"limit": TWICE} | options)
    handler.open(Runtime(monotonic=clock or Clock()))
    return handler


def refused(handler, asked):
    with pytest.raises(HTTPError) as caught:
        handler(asked, answer())
    return caught.value


def test_by_default_the_hundred_and_first_of_an_address_is_429():
    handler, behind = RateLimit(), answer()
    handler.open(Runtime(monotonic=Clock()))
    for _ in range(100):
        assert handler(request(), behind).status == 200
    error = refused(handler, request())
    assert (error.status, error.reason) == (429, "rate_limited")
    assert dict(error.headers.items()) == {
        "Retry-After": "60",
        "RateLimit-Policy": '"default";q=100;w=60',
        "RateLimit": '"default";r=0;t=60',
    }
    assert len(behind.requests) == 100


def test_the_response_reports_the_remaining_quota():
    clock = Clock()
    handler = opened(clock)
    assert dict(handler(request(), answer()).headers.items()) == {
        "RateLimit-Policy": '"default";q=2;w=60',
        "RateLimit": '"default";r=1;t=60',
    }
    clock.advance(20)
    assert handler(request(), answer()).headers["RateLimit"] == '"default";r=0;t=40'


def test_retry_after_is_whole_seconds_rounded_up_and_waiting_so_long_is_enough():
    clock = Clock()
    handler = opened(clock)
    handler(request(), answer())
    handler(request(), answer())
    clock.advance(30.5)
    assert refused(handler, request()).headers["Retry-After"] == "30"
    clock.advance(29.25)
    error = refused(handler, request())
    assert error.headers["Retry-After"] == "1"
    assert error.headers["RateLimit"] == '"default";r=0;t=1'
    clock.advance(1)
    assert handler(request(), answer()).status == 200


def test_a_window_below_a_second_still_has_a_retry_after_of_one():
    handler = opened(limit=Rate(1, Seconds(0.25)))
    assert handler(request(), answer()).headers["RateLimit-Policy"] == '"default";q=1;w=1'
    assert refused(handler, request()).headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unix:/a", "unix:/b", False),
    ],
)
def test_which_addresses_are_one_client(one, other, same):
    handler = opened(limit=Rate(1, Seconds(60.0)))
    handler(request(client=one), answer())
    if same:
        refused(handler, request(client=other))
    else:
        handler(request(client=other), answer())


def by_user(user, client="192.0.2.1"):
    asked = request(client=client)
    asked.user = user
    return asked


def test_by_user_whatever_the_address():
    handler = opened(key="user", limit=Rate(1, Seconds(60.0)))
    handler(by_user("alice", "192.0.2.1"), answer())
    handler(by_user("bob", "192.0.2.1"), answer())
    refused(handler, by_user("alice", "192.0.2.9"))


def test_without_a_user_by_address_which_no_users_name_can_imitate():
    handler = opened(key="user", limit=Rate(1, Seconds(60.0)))
    handler(by_user("192.0.2.1"), answer())
    handler(by_user("", "192.0.2.1"), answer())
    refused(handler, by_user("", "192.0.2.1"))


def test_by_header_and_long_values_by_their_digest():
    handler = opened(key="header:X-Api-Key", limit=Rate(1, Seconds(60.0)))
    long = "k" * 30_000
    for key in ("one", "two", long, long + "x"):
        handler(request(headers={"X-API-Key": key}), answer())
    refused(handler, request(headers={"X-API-Key": long}))
    assert max(map(len, handler.limiter._limiter._windows[handler.limit.window])) <= 65


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("off", set()),
        ("ietf", {"ratelimit", "ratelimit-policy"}),
        ("legacy", {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
        (
            "both",
            {"ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"},
        ),
    ],
)
def test_which_headers_are_sent(mode, names):
    handler = opened(headers=mode, limit=Rate(1, Seconds(60.0)))
    assert set(handler(request(), answer()).headers.names()) == names
    assert set(refused(handler, request()).headers.names()) == names | {"retry-after"}


def test_the_older_headers_count_seconds():
    headers = opened(headers="legacy")(request(), answer()).headers
    assert [value for _, value in headers.items()] == ["2", "1", "60"]


def test_rate_limit_fields_of_the_backend_are_replaced():
    response = opened()(request(), answer(headers=[("RateLimit", "x"), ("RateLimit", "y")]))
    assert response.headers.all("ratelimit") == ['"default";r=1;t=60']


def test_a_429_of_an_inner_limit_keeps_its_fields():
    inner = answer(429, headers={"Retry-After": "9", "RateLimit": '"user";r=0;t=9'})
    assert opened()(request(), inner).headers["RateLimit"] == '"user";r=0;t=9'


def test_the_number_of_clients_is_bounded():
    handler = opened(max_clients=10)
    for number in range(100):
        handler(request(client=f"192.0.2.{number}"), answer())
    assert handler.limiter.evicted == 90


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("key", "cookie"),
        ("key", "header:"),
        ("key", "header:a b"),
        ("max_clients", 0),
        ("policy", 'a"b'),
        ("policy", ""),
        ("burst", 0),
        ("burst", -1),
        ("delay", 1),
    ],
)
def test_wrong_options(option, value):
    with pytest.raises(ValueError, match=f"^{option}: "):
        RateLimit(**{option: value})


@pytest.mark.parametrize(("burst", "delay"), [(20, 0), (20, 21), (1, 2)])
def test_a_delay_that_is_no_part_of_the_burst(burst, delay):
    with pytest.raises(ValueError, match=f"^delay: expected 1 to {burst}, the burst; found {delay}$"):
        RateLimit(burst=burst, delay=delay)


TEN = Rate(10, Seconds(1.0))


def statuses(handler, count):
    found = []
    for _ in range(count):
        try:
            found.append(handler(request(), answer()).status)
        except HTTPError as error:
            found.append(error.status)
    return found


def test_a_burst_is_admitted_at_once_and_then_the_rate():
    clock = Clock()
    handler = opened(clock, limit=TEN, burst=20)
    assert statuses(handler, 22) == [200] * 20 + [429] * 2
    for _ in range(50):
        clock.advance(0.1)
        assert statuses(handler, 2) == [200, 429]


def test_the_response_reports_the_remaining_burst():
    clock = Clock()
    handler = opened(clock, limit=TEN, burst=20)
    assert dict(handler(request(), answer()).headers.items()) == {
        "RateLimit-Policy": '"default";q=20;w=2',
        "RateLimit": '"default";r=19;t=1',
    }
    statuses(handler, 19)
    error = refused(handler, request())
    assert dict(error.headers.items()) == {
        "Retry-After": "1",
        "RateLimit-Policy": '"default";q=20;w=2',
        "RateLimit": '"default";r=0;t=1',
    }
    assert error.detail == "rate limit of 10/second exceeded; retry in 1 s"
    clock.advance(1.05)
    assert handler(request(), answer()).headers["RateLimit"] == '"default";r=9;t=2'


def test_a_burst_smaller_than_the_limit_smooths_it():
    clock = Clock()
    handler = opened(clock, limit=Rate(100, Seconds(60.0)), burst=5)
    assert statuses(handler, 6) == [200] * 5 + [429]
    assert refused(handler, request()).headers["RateLimit-Policy"] == '"default";q=5;w=3'
    clock.advance(0.6)
    assert statuses(handler, 2) == [200, 429]


def within(seconds, **headers):
    asked = request(headers=headers)
    asked.deadline.clock = Clock()
    asked.deadline.set(asked.deadline.clock() + seconds)
    return asked


FAST = Rate(100, Seconds(1.0))


def started(handler, *requests):
    """When each began, in seconds after the first, and what it got, in the order of the ends."""
    began, found = time.monotonic(), []

    def ask(asked):
        try:
            handler(asked, lambda _: found.append((time.monotonic() - began, 200)) or answer()(asked))
        except HTTPError as error:
            found.append((time.monotonic() - began, error.status))

    gevent.joinall([gevent.spawn(ask, asked) for asked in requests])
    return found


def test_further_requests_of_a_burst_wait_in_turn_and_start_apart():
    handler = opened(limit=FAST, burst=8, delay=3)
    found = started(handler, *[request() for _ in range(10)])
    assert [status for _, status in found] == [200] * 3 + [429] * 2 + [200] * 5
    turns = [at for at, status in found if status == 200]
    for number, at in enumerate(turns[3:], 1):
        assert at >= number * 0.01 - 0.001
    assert handler._step.delayed == 5


def test_a_turn_after_half_of_the_deadline_is_rejected_at_once_and_is_no_turn():
    handler = opened(limit=TEN, burst=20, delay=1)
    found = started(handler, *[within(0.2) for _ in range(5)])
    assert sorted(status for _, status in found) == [200, 200, 429, 429, 429]
    error = refused(handler, within(0.2))
    assert (error.headers["Retry-After"], error.headers["RateLimit"]) == ("1", '"default";r=0;t=1')
    assert (
        handler.limiter.take("192.0.2.1", handler.tier_of(request()).limit.rate).remaining == 17
    )  # two have started, this is a third


class LeavingClient:
    """A client stream that leaves while a request waits."""

    def in_own_greenlet(self):
        return True

    def can_detect_close(self):
        return True

    def is_gone(self):
        return True

    def watch(self, observer):
        if observer is not None:
            gevent.get_hub().loop.run_callback(observer.switch, self)


def test_a_client_that_leaves_ends_the_wait_and_has_used_its_turn():
    handler = opened(limit=TEN, burst=20, delay=1)
    handler(request(), answer())
    leaving, behind = request(), answer()
    leaving.client_stream = LeavingClient()
    with pytest.raises(ClientGone):
        handler(leaving, behind)
    assert behind.requests == []
    assert handler.limiter.take("192.0.2.1", handler.tier_of(request()).limit.rate).remaining == 17


def test_the_longest_pause():
    assert RateLimit(limit=TEN, burst=20).longest_pause == 0
    assert RateLimit(limit=TEN, burst=20, delay=20).longest_pause == 0
    assert RateLimit(limit=TEN, burst=20, delay=5).longest_pause == 1.5
