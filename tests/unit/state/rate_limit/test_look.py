"""A look at a limit: it says what one more request would get, and counts nothing."""

from itertools import count

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.handover import HandoverLimiter
from gproxy.state.rate_limit.limiter import MemoryLimiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, TOKEN_BUCKET, SharedLimiter
from gproxy.state.shared.memory import SharedState
from gproxy.testing import Clock
from unit.state.processes import together

STATE = SharedState.create()
names = map(str, count())

rates = st.builds(Rate, st.integers(1, 6), st.sampled_from([Seconds(1.0), Seconds(15.0)]))
gaps = st.one_of(st.integers(0, 40), st.integers(0, 20 * 1024)).map(lambda ticks: ticks / 1024)
takes = st.lists(st.tuples(gaps, st.sampled_from("abc")), max_size=100)
algorithms = pytest.mark.parametrize("algorithm", [SLIDING_WINDOW, TOKEN_BUCKET], ids=["window", "tokens"])


@algorithms
@settings(deadline=None)
@given(rate=rates, takes=takes, moves=st.lists(st.integers(0, 20), max_size=4))
def test_it_says_in_one_process_and_several_what_one_more_request_gets_and_changes_no_verdict(
    algorithm, rate, takes, moves
):
    clock = Clock(0.0)
    unseen = MemoryLimiter(10, clock, kind=algorithm.bucket)
    shared = SharedLimiter(STATE, next(names), 10, clock, algorithm)
    moving, is_shared = HandoverLimiter(next(names), 10, clock, algorithm), False
    for number, (gap, key) in enumerate(takes):
        if number in moves:
            (moving.unshare if is_shared else moving.share)(STATE)
            is_shared = not is_shared
        clock.advance(gap)
        looks = [limiter.look(key, rate) for limiter in (shared, moving) for _ in range(2)]
        verdict = unseen.take(key, rate)
        assert looks == [0.0 if verdict.admitted else verdict.wait] * 4
        assert shared.take(key, rate) == moving.take(key, rate) == verdict


@algorithms
def test_clients_that_are_only_looked_at_take_no_room(algorithm):
    clock, rate = Clock(0.0), Rate.parse("1/minute")
    for limiter in (
        MemoryLimiter(8, clock, kind=algorithm.bucket),
        SharedLimiter(STATE, next(names), 8, clock, algorithm),
    ):
        limiter.take("counted", rate)
        assert [limiter.look(str(number), rate) for number in range(1000)] == [0.0] * 1000
        assert limiter.look("counted", rate) == 60.0
        assert limiter.evicted == 0


def test_what_one_process_counts_others_see_at_once(state):
    rate = Rate.parse("200/hour")
    seen = state.area("seen", 64)

    def take(number):
        limiter = SharedLimiter(SharedState(state.fd), "exact", 1000)
        while limiter.look("a", rate) == 0.0:
            limiter.take("a", rate)
        seen.words[number] = round(limiter.look("a", rate))

    together(4, take)
    assert all(3590 < wait <= 3600 for wait in seen.words[:4])


def test_a_look_while_the_counts_move_to_other_processes_sees_them():
    clock, rate = Clock(0.0), Rate.parse("1/minute")
    moving = HandoverLimiter(next(names), 10_000, clock)
    for number in range(600):
        moving.take(str(number), rate)
    share = gevent.spawn(moving.share, STATE)
    gevent.sleep(0)  # the first 200 have moved
    assert not share.ready()
    assert {moving.look(str(number), rate) for number in (0, 250, 599)} == {60.0}
    share.join()
    assert {moving.look(str(number), rate) for number in range(600)} == {60.0}
