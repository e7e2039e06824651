"""Token buckets: what is admitted at once and what in the long run, in one process and in shared memory alike."""

import os
from itertools import count
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.bucket import ROUNDING, TokenBucket, Verdict
from gproxy.state.rate_limit.handover import HandoverLimiter
from gproxy.state.rate_limit.limiter import MemoryLimiter
from gproxy.state.rate_limit.shared_limiter import TOKEN_BUCKET, SharedLimiter
from gproxy.state.shared.memory import SharedState
from gproxy.testing import Clock
from unit.state.processes import together

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

STATE = SharedState.create()
names = map(str, count())


def memory(max_keys, clock):
    return MemoryLimiter(max_keys, clock, kind=TokenBucket)


def shared(max_keys, clock):
    return SharedLimiter(STATE, next(names), max_keys, clock, TOKEN_BUCKET)


def moving(max_keys, clock):
    return HandoverLimiter(next(names), max_keys, clock, TOKEN_BUCKET)


both = pytest.mark.parametrize("make", [memory, shared, moving])
#: Twenty at once, ten a second.
RATE = Rate(20, Seconds(2.0))
INTERVAL = 0.1

rates = st.builds(Rate, st.integers(1, 30), st.sampled_from([Seconds(0.7), Seconds(3.0), Seconds(60.0)]))
gaps = st.lists(st.one_of(st.just(0), st.integers(0, 400), st.integers(0, 70_000)), max_size=150)


def closely(some, others):
    """The same up to rounding."""
    assert (some.admitted, some.remaining) == (others.admitted, others.remaining)
    assert (some.wait, some.reset) == pytest.approx((others.wait, others.reset), abs=1e-6)


@both
def test_twenty_at_once_and_then_one_each_tenth_of_a_second(make):
    clock = Clock()
    limiter = make(10, clock)
    verdicts = [limiter.take("a", RATE) for _ in range(21)]
    assert [verdict.admitted for verdict in verdicts] == [True] * 20 + [False]
    assert [verdict.remaining for verdict in verdicts] == [*range(19, -1, -1), 0]
    closely(verdicts[-1], Verdict(False, 0, INTERVAL, 2.0))
    for _ in range(100):
        clock.advance(INTERVAL)
        assert [limiter.take("a", RATE).admitted for _ in range(2)] == [True, False]


@both
def test_twice_the_rate_gets_the_rate(make):
    clock = Clock()
    limiter = make(10, clock)
    admitted = 0
    for _ in range(2000):  # 100 s
        clock.advance(INTERVAL / 2)
        admitted += limiter.take("a", RATE).admitted
    assert admitted == 20 + 1000 - 1


@both
def test_after_a_pause_as_many_tokens_as_the_pause_was_long(make):
    clock = Clock()
    limiter = make(10, clock)
    for _ in range(20):
        limiter.take("a", RATE)
    for pause, tokens in ((0.35, 3), (1.15, 12), (60.0, 20)):
        clock.advance(pause)
        assert [limiter.take("a", RATE).admitted for _ in range(21)].count(True) == tokens


@both
def test_rejected_requests_take_no_token(make):
    clock = Clock()
    limiter = make(10, clock)
    for _ in range(20):
        limiter.take("a", RATE)
    for _ in range(9):
        clock.advance(0.01)
        assert not limiter.take("a", RATE).admitted
    clock.advance(0.01)
    assert limiter.take("a", RATE).admitted


@both
def test_each_client_has_a_bucket(make):
    limiter = make(10, Clock())
    one = Rate(1, Seconds(1.0))
    assert [limiter.take(key, one).admitted for key in "abab"] == [True, True, False, False]


@both
def test_a_bound_lowers_the_burst_for_one_request(make):
    limiter = make(10, Clock())
    admitted = [limiter.take("a", RATE, 5 * INTERVAL).admitted for _ in range(6)]
    assert admitted == [True] * 5 + [False]
    closely(limiter.take("a", RATE, 5.5 * INTERVAL), Verdict(False, 0, INTERVAL / 2, 5 * INTERVAL))
    closely(limiter.take("a", RATE), Verdict(True, 14, 0.0, 6 * INTERVAL))


@both
@settings(deadline=None)
@given(rate=rates, gaps=gaps)
def test_never_more_than_the_burst_and_the_rate_in_any_time(make, rate, gaps):
    clock = Clock(0.0)
    limiter = make(10, clock)
    log = []
    interval = rate.window / rate.limit
    for gap in gaps:
        clock.advance(gap / 1000)
        if limiter.take("a", rate).admitted:
            log.append(clock.now)
        # The stated error: a thousandth of the time between two requests.
        for number, start in enumerate(log):
            assert len(log) - number <= rate.limit + (clock.now - start) / interval + ROUNDING


@both
@settings(deadline=None)
@given(rate=rates, gaps=gaps)
def test_a_client_that_waits_as_long_as_it_should_is_admitted(make, rate, gaps):
    clock = Clock(0.0)
    limiter = make(10, clock)
    for gap in gaps:
        clock.advance(gap / 1000)
        verdict = limiter.take("a", rate)
        if not verdict.admitted or not verdict.remaining:
            clock.advance(verdict.wait)
            assert limiter.take("a", rate).admitted


@settings(deadline=None)
@given(
    rate=rates,
    takes=st.lists(st.tuples(st.integers(0, 900), st.sampled_from("abc"), st.sampled_from([inf, 0.5])), max_size=200),
    moves=st.lists(st.integers(0, 60), max_size=8),
)
def test_one_process_and_several_and_moving_between_them_give_the_same_verdicts(rate, takes, moves):
    clock = Clock(0.0)
    one, several, mover = memory(10, clock), shared(10, clock), moving(10, clock)
    is_shared = False
    for number, (gap, key, within) in enumerate(takes):
        if number in moves:
            (mover.unshare if is_shared else mover.share)(STATE)
            is_shared = not is_shared
        clock.advance(gap / 1000)
        verdict = one.take(key, rate, within)
        closely(several.take(key, rate, within), verdict)
        closely(mover.take(key, rate, within), verdict)


def test_four_processes_admit_the_burst_and_not_one_more(state):
    admitted = state.area("admitted", 64)

    def take(number):
        limiter = SharedLimiter(SharedState(state.fd), "exact", 10_000, Clock(), TOKEN_BUCKET)
        for key in range(500):
            admitted.words[number] += sum(limiter.take(str(key), RATE).admitted for _ in range(20))

    together(4, take)
    assert sum(admitted.words) == 500 * 20


def test_memory_is_bounded_and_the_fullest_bucket_goes(state):
    clock = Clock()
    limiter = SharedLimiter(state, "small", 1000, clock, TOKEN_BUCKET)
    slow = Rate(20, Seconds(2000.0))
    for number in range(50_000):
        clock.advance(0.001)
        limiter.take(str(number), slow)
    assert 48_900 <= limiter.evicted < 50_000
    assert os.fstat(state.fd).st_blocks * 512 < 200_000
    recent = [limiter.take(str(number), slow).remaining for number in range(49_700, 50_000)]
    assert recent.count(18) > 290


@pytest.mark.parametrize("make", [memory, shared])
def test_a_client_with_a_full_bucket_is_replaced_first_and_is_no_eviction(make):
    clock = Clock()
    limiter = make(2, clock)
    for key in "abcdefgh":
        limiter.take(key, RATE)
        clock.advance(5)
    assert limiter.evicted == 0


def test_a_bucket_in_use_never_expires():
    clock = Clock()
    limiter = memory(10, clock)
    hour = Rate(3600, Seconds(3600.0))
    for _ in range(3600):
        limiter.take("a", hour)
    for _ in range(4 * 3600):
        clock.advance(1.0)
        assert [limiter.take("a", hour).admitted for _ in range(2)] == [True, False]
