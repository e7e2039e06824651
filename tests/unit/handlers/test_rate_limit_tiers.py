import logging
import os

import pytest

from gproxy.config.types import Rate, Seconds
from gproxy.handlers.concurrency import Concurrency
from gproxy.handlers.rate_limit import RateLimit
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.runtime import Runtime
from gproxy.state.shared.memory import SharedState
from gproxy.testing import Clock, answer, request

TWO = Rate(2, Seconds(60.0))
TIERS = {"free": Rate.parse("3/minute"), "pro": Rate.parse("5/minute"), "daily": Rate.parse("6/day")}


def opened(clock=None, **options):
    handler = RateLimit(**{"limit": TWO, "key": "user", "tier": "plan", "tiers": TIERS} | options)
    handler.open(Runtime(monotonic=clock or Clock()))
    return handler


def of(plan=None, user="alice", **claims):
    asked = request()
    asked.identity = Identity(user=user, handler="jwt", claims=claims | ({"plan": plan} if plan else {}))
    return asked


def admitted(handler, count, *args, **claims):
    """Return how many of so many requests are admitted."""
    found = 0
    for _ in range(count):
        try:
            found += handler(of(*args, **claims), answer()).status == 200
        except HTTPError:
            continue
    return found


@pytest.mark.parametrize(("plan", "limit"), [("free", 3), ("pro", 5), ("daily", 6), ("unknown", 2), (None, 2)])
def test_each_tier_has_its_limit(plan, limit):
    assert admitted(opened(), 9, plan) == limit


def test_without_an_identity_the_limit_holds():
    handler = opened()
    statuses = []
    for _ in range(3):
        try:
            statuses.append(handler(request(), answer()).status)
        except HTTPError as error:
            statuses.append(error.status)
    assert statuses == [200, 200, 429]


def test_the_fields_show_the_tier():
    handler = opened()
    headers = handler(of("pro"), answer()).headers
    assert (headers["RateLimit-Policy"], headers["RateLimit"]) == ('"default";q=5;w=60', '"default";r=4;t=60')
    headers = handler(of("daily", "bob"), answer()).headers
    assert headers["RateLimit-Policy"] == '"default";q=6;w=86400'
    admitted(handler, 4, "pro")
    with pytest.raises(HTTPError) as caught:
        handler(of("pro"), answer())
    assert caught.value.detail == "rate limit of 5/minute exceeded; retry in 60 s"
    assert caught.value.headers["RateLimit-Policy"] == '"default";q=5;w=60'


def test_a_client_keeps_its_counts_when_its_tier_changes():
    handler = opened()
    assert admitted(handler, 9, "free") == 3
    assert admitted(handler, 9, "pro") == 2
    assert admitted(handler, 9, "free") == 0
    assert admitted(handler, 9, "daily") == 1
    assert admitted(handler, 9, "pro") == 0


def test_a_longer_window_counts_what_a_shorter_one_has_forgotten():
    clock = Clock()
    handler = opened(clock)
    assert admitted(handler, 9, "pro") == 5
    clock.advance(61)
    assert admitted(handler, 9, "daily") == 1
    assert admitted(handler, 9, "pro") == 4
    clock.advance(61)
    assert admitted(handler, 9, "daily") == 0
    assert admitted(handler, 9, "pro") == 5
    clock.advance(86_400)
    assert admitted(handler, 9, "daily") == 6


def test_the_counts_move_to_shared_memory_and_back_with_all_tiers():
    runtime = Runtime(monotonic=Clock())
    handler = RateLimit(limit=TWO, key="user", tier="plan", tiers=TIERS)
    handler.open(runtime)
    assert admitted(handler, 2, "free") == 2
    state = SharedState.create()
    runtime.share(state)
    assert admitted(handler, 9, "pro") == 3
    assert admitted(handler, 9, "daily") == 1
    runtime.unshare()
    assert admitted(handler, 9, "daily") == 0
    assert admitted(handler, 9, "pro", "bob") == 5
    os.close(state.fd)


def test_a_limit_of_all_users_of_a_tenant_by_the_tier_of_the_tenant():
    handler = opened(key="claim:tenant")
    assert admitted(handler, 3, "pro", "alice", tenant="acme") == 3
    assert admitted(handler, 9, "pro", "bob", tenant="acme") == 2
    assert admitted(handler, 9, "pro", "bob", tenant="other") == 5


def test_without_tiers_the_claim_is_the_rate():
    handler = opened(tiers={})
    assert admitted(handler, 9, "7/minute") == 7
    assert admitted(handler, 9, "8/10s", "bob") == 8
    assert handler(of("500/h", "carol"), answer()).headers["RateLimit-Policy"] == '"default";q=500;w=3600'


@pytest.mark.parametrize("claim", ["many", "5", "5/0s", "5/500ms", "5/2d", "0/minute", "5/minute ", "5/" + "9" * 400])
def test_a_claim_that_is_no_rate_of_a_second_to_a_day_gets_the_limit(claim):
    assert admitted(opened(tiers={}), 9, claim) == 2


def test_the_65th_rate_gets_the_limit_and_a_warning(caplog):
    handler = opened(tiers={})
    handler.name = "limits"
    with caplog.at_level(logging.WARNING, "gproxy"):
        for number in range(10, 74):
            assert handler(of(f"{number}/minute"), answer()).headers["RateLimit-Policy"] == f'"default";q={number};w=60'
        assert not caplog.records
        assert handler(of("99/minute", "bob"), answer()).headers["RateLimit-Policy"] == '"default";q=2;w=60'
    assert "[handler:limits] tier: claims have more than 64 different rates" in caplog.text


def test_a_burst_holds_for_all_tiers_and_returns_at_the_rate_of_each():
    clock = Clock()
    handler = opened(clock, burst=2)
    assert admitted(handler, 9, "pro") == 2
    clock.advance(12)
    assert admitted(handler, 9, "pro") == 1
    assert admitted(handler, 9, "free", "bob") == 2
    clock.advance(20)
    assert admitted(handler, 9, "free", "bob") == 1


def test_the_longest_pause_is_that_of_the_slowest_tier():
    assert opened(burst=4, delay=1).longest_pause == pytest.approx(3 * 14_400)


@pytest.mark.parametrize("made", [RateLimit, lambda **x: Concurrency(limit=1, **x)])
def test_tiers_need_the_claim_that_names_them(made):
    with pytest.raises(ValueError, match=r"^tiers: needs tier"):
        made(tiers={"free": 1})


def test_a_tier_of_concurrent_requests_is_at_least_one():
    with pytest.raises(ValueError, match=r"^tiers: none: expected at least 1; found 0"):
        Concurrency(limit=1, tier="plan", tiers={"none": 0})


@pytest.mark.parametrize(
    ("tiers", "plan", "limit"),
    [
        ({"pro": 3}, "pro", 3),
        ({"pro": 3}, "free", 1),
        ({}, "4", 4),
        ({}, 2, 2),
        ({}, "0", 1),
        ({}, "-1", 1),
        ({}, "9" * 30, 1),
        ({}, "²", 1),
    ],
)
def test_concurrent_requests_by_tier(tiers, plan, limit):
    handler = Concurrency(limit=1, key="user", tier="plan", tiers=tiers)
    handler.open(Runtime())
    assert admitted(handler, 6, plan) == limit
