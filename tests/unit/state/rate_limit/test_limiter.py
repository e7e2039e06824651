import math
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.limiter import MemoryLimiter, Verdict
from gproxy.state.rate_limit.shared_limiter import SharedLimiter
from gproxy.state.shared.memory import SharedState
from gproxy.testing import Clock

STATE = SharedState.create()
numbers = count()


def shared(max_keys, clock):
    return SharedLimiter(STATE, f"{next(numbers)}", max_keys, clock)


both = pytest.mark.parametrize("make", [MemoryLimiter, shared])
MINUTE = Rate(3, Seconds(60.0))

# Gaps in 1/1024 s: exact in binary, so that a boundary is a boundary.
gaps = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 70 * 1024)).map(lambda ticks: ticks / 1024), max_size=120)
rates = st.builds(Rate, st.integers(1, 12), st.sampled_from([Seconds(1.0), Seconds(15.0), Seconds(60.0)]))


@both
def test_counts_down_and_then_rejects(make):
    limiter = make(10, Clock())
    assert [limiter.take("a", MINUTE) for _ in range(4)] == [
        Verdict(True, 2, 0.0, 60.0),
        Verdict(True, 1, 0.0, 60.0),
        Verdict(True, 0, 60.0, 60.0),
        Verdict(False, 0, 60.0, 60.0),
    ]


@both
def test_the_hundred_and_first_is_rejected_and_admitted_a_minute_later(make):
    clock = Clock()
    limiter = make(10, clock)
    rate = Rate.parse("100/minute")
    assert [limiter.take("a", rate).admitted for _ in range(101)] == [True] * 100 + [False]
    clock.advance(59.9)
    assert not limiter.take("a", rate).admitted
    clock.advance(0.1)
    assert limiter.take("a", rate) == Verdict(True, 99, 0.0, 60.0)


@both
def test_it_slides_no_double_burst_at_a_minutes_turn(make):
    clock = Clock(59.0)
    limiter = make(10, clock)
    for _ in range(3):
        limiter.take("a", MINUTE)
    clock.advance(2)
    assert not limiter.take("a", MINUTE).admitted


@both
def test_rejected_requests_are_not_counted(make):
    clock = Clock()
    limiter = make(10, clock)
    for _ in range(3):
        limiter.take("a", MINUTE)
    for _ in range(50):
        clock.advance(1)
        assert not limiter.take("a", MINUTE).admitted
    clock.advance(10)
    assert limiter.take("a", MINUTE) == Verdict(True, 2, 0.0, 60.0)


@both
def test_places_come_back_one_by_one(make):
    clock = Clock()
    limiter = make(10, clock)
    for _ in range(3):
        limiter.take("a", MINUTE)
        clock.advance(10)
    assert limiter.take("a", MINUTE) == Verdict(False, 0, 30.0, 50.0)
    clock.advance(30)
    assert limiter.take("a", MINUTE) == Verdict(True, 0, 10.0, 60.0)


@both
def test_a_group_counts_until_its_last_request_is_a_window_old(make):
    clock = Clock(0.0)
    limiter = make(10, clock)
    for gap in (0.0, 1.0, 0.75):
        clock.advance(gap)
        limiter.take("a", MINUTE)
    clock.advance(59.5)  # the first is forgotten; of the two that came together one is older than a window
    assert limiter.take("a", MINUTE) == Verdict(True, 0, 0.5, 60.0)


@both
def test_clients_and_windows_are_counted_apart(make):
    limiter = make(10, Clock())
    once, hourly = Rate(1, Seconds(60.0)), Rate(1, Seconds(3600.0))
    assert limiter.take("a", once).admitted
    assert limiter.take("b", once).admitted
    assert limiter.take("a", hourly).admitted


@both
def test_rates_of_one_window_see_the_same_counts(make):
    """So a limit that a reload changes goes on with what was admitted."""
    limiter = make(10, Clock())
    for _ in range(3):
        limiter.take("a", MINUTE)
    assert not limiter.take("a", MINUTE).admitted
    assert limiter.take("a", Rate(5, Seconds(60.0))).remaining == 1


@both
def test_a_busy_clients_bucket_never_expires_under_it(make):
    clock = Clock()
    limiter = make(10, clock)
    rate = Rate(1000, Seconds(60.0))
    for _ in range(600):
        clock.advance(1)
        verdict = limiter.take("a", rate)
    assert verdict.remaining == 1000 - 60


@both
def test_too_many_clients_push_out_the_one_longest_away(make):
    clock = Clock()
    limiter = make(2, clock)
    for key in ("a", "b", "a", "c"):
        limiter.take(key, MINUTE)
        clock.advance(0.5)
    assert limiter.evicted == 1
    assert limiter.take("a", MINUTE).remaining == 0
    assert limiter.take("b", MINUTE).remaining == 2


@both
def test_clients_that_went_away_are_no_eviction(make):
    clock = Clock()
    limiter = make(2, clock)
    for key in "abcdef":
        limiter.take(key, MINUTE)
        clock.advance(121)
    assert limiter.evicted == 0


def test_a_bucket_has_61_entries_at_most():
    clock = Clock()
    limiter = MemoryLimiter(2, clock)
    rate = Rate(1_000_000, Seconds(60.0))
    for _ in range(10_000):
        limiter.take("a", rate)
        clock.advance(0.0625)
    assert len(limiter._windows[rate.window]["a"].counting(clock(), rate.window)) <= 61


@both
@settings(deadline=None)
@given(rate=rates, gaps=gaps)
def test_never_more_than_the_limit_within_any_window(make, rate, gaps):
    clock = Clock(0.0)
    limiter = make(10, clock)
    log = []
    for gap in gaps:
        clock.advance(gap)
        within = [at for at in log if at > clock.now - rate.window]
        verdict = limiter.take("a", rate)
        assert not verdict.admitted or len(within) < rate.limit
        if verdict.admitted:
            log.append(clock.now)
        # Nor is anybody refused who was quiet for a window and one step.
        late = [at for at in log if at > clock.now - rate.window - rate.window / 60]
        assert verdict.admitted or len(late) >= rate.limit


@both
@settings(deadline=None)
@given(rate=rates, gaps=gaps)
def test_after_a_quiet_window_the_full_limit_is_admitted(make, rate, gaps):
    clock = Clock(0.0)
    limiter = make(10, clock)
    for gap in gaps:
        clock.advance(gap)
        limiter.take("a", rate)
    clock.advance(rate.window)
    assert all(limiter.take("a", rate).admitted for _ in range(rate.limit))


@both
@settings(deadline=None)
@given(rate=rates, gaps=gaps)
def test_a_client_that_waits_for_retry_after_is_admitted(make, rate, gaps):
    clock = Clock(0.0)
    limiter = make(10, clock)
    for gap in gaps:
        clock.advance(gap)
        verdict = limiter.take("a", rate)
        assert 0 <= verdict.wait <= rate.window
        assert (verdict.wait == 0) == (verdict.remaining > 0)
        if not verdict.admitted:
            clock.advance(math.ceil(verdict.wait))
            assert limiter.take("a", rate).admitted


@both
@pytest.mark.parametrize("start", [0.0, 1e6, 1.7e9])
def test_the_clocks_zero_does_not_matter(make, start):
    clock = Clock(start)
    limiter = make(10, clock)
    admitted = []
    for half_second in range(245):
        if limiter.take("a", MINUTE).admitted:
            admitted.append(half_second / 2)
        clock.advance(0.5)
    assert admitted == [0.0, 0.5, 1.0, 60.5, 61.0, 61.5, 121.0, 121.5, 122.0]
