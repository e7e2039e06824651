"""The scripts that Redis runs say what MemoryLimiter says, whatever comes when."""

from itertools import count

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.bucket import ROUNDING, TokenBucket
from gproxy.state.rate_limit.limiter import STEPS, MemoryLimiter, Verdict
from gproxy.state.redis.script import LIMIT, TOKENS
from gproxy.testing import Clock
from gproxy.testing.redis import RunningRedis

SECOND = 1_000_000
numbers = count()


def clockless(script):
    """The script as it is, but for its clock."""
    changed = script.text.replace(b"redis.call('TIME')", b"{ARGV[6], ARGV[7]}")
    assert changed != script.text
    return changed


# Gaps in 1/64 s: exact in binary and in microseconds, so that a boundary is a boundary.
gaps = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 70 * 64)).map(lambda ticks: ticks / 64), max_size=100)
rates = st.builds(Rate, st.integers(1, 12), st.sampled_from([Seconds(15.0), Seconds(60.0)]))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with RunningRedis(tmp_path_factory.mktemp("redis")) as server:
        client = redis.Redis(unix_socket_path=str(server.path))
        yield client
        client.close()


class Scripted:
    """A limiter on a Redis whose clock is ours."""

    def __init__(self, client, clock, script=LIMIT):
        self.client = client
        self.clock = clock
        self.script = client.register_script(clockless(script))
        self.name = f"b{next(numbers)}"

    def grant(self, rate, wanted=1, lease=0.0, within=1e6):
        now = round(self.clock() * SECOND)
        window, lease, within = (round(seconds * SECOND) for seconds in (rate.window, lease, within))
        arguments = [window, rate.limit, wanted, lease, within, now // SECOND, now % SECOND]
        granted, remaining, wait, reset = self.script([self.name], arguments)
        return granted, Verdict(granted > 0, remaining, wait / SECOND, reset / SECOND)

    def take(self, rate, within=1e6):
        return self.grant(rate, within=within)[1]

    def look(self, rate):
        """Return the wait of one more request, as RedisLimiter.look."""
        _, verdict = self.grant(rate, 0)
        return 0.0 if verdict.remaining else verdict.wait

    def life(self):
        """What it keeps expires by the real clock: in so many seconds."""
        return self.client.pttl(self.name) / 1000


@settings(max_examples=60, deadline=None)
@given(rate=rates, gaps=gaps)
def test_it_says_what_the_limiter_of_one_process_says(client, rate, gaps):
    clock = Clock()
    memory, scripted = MemoryLimiter(10, clock), Scripted(client, clock)
    for gap in gaps:
        clock.advance(gap)
        assert scripted.look(rate) == memory.look("a", rate)
        assert scripted.take(rate) == memory.take("a", rate)


def test_a_bucket_is_bounded_and_expires(client):
    clock, rate = Clock(), Rate(10**9, Seconds(60.0))
    scripted = Scripted(client, clock)
    for _ in range(1000):
        clock.advance(0.3)
        scripted.take(rate)
    assert client.strlen(scripted.name) <= 16 * (STEPS + 3)
    assert 59 < scripted.life() <= 60.001


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, spent=st.lists(st.integers(0, 60), min_size=100, max_size=100))
def test_leases_never_let_more_than_the_limit_pass_in_any_window(client, gaps, spent):
    """Permits are spent as late as may be, or sooner."""
    clock, rate = Clock(), Rate(12, Seconds(60.0))
    scripted = Scripted(client, clock)
    passed = []
    for gap, late in zip(gaps, spent, strict=False):
        clock.advance(gap)
        granted, verdict = scripted.grant(rate, 5, 1.0)
        assert verdict.remaining >= 0
        passed += [clock() + late / 60] * granted
    for start in passed:
        assert sum(start <= moment < start + rate.window for moment in passed) <= rate.limit


def test_fewer_are_granted_than_wanted_when_fewer_are_left(client):
    scripted = Scripted(client, Clock())
    rate = Rate(12, Seconds(60.0))
    assert [scripted.grant(rate, 5, 1.0)[0] for _ in range(4)] == [5, 5, 2, 0]
    assert scripted.take(rate) == Verdict(False, 0, 61.0, 61.0)


def test_a_clock_that_is_set_back_locks_no_client_out(client):
    clock, rate = Clock(1_000_000.0), Rate(2, Seconds(60.0))
    scripted = Scripted(client, clock)
    assert [scripted.take(rate).admitted for _ in range(3)] == [True, True, False]
    clock.now -= 30  # a little: what was admitted goes on counting
    assert scripted.take(rate) == Verdict(False, 0, 90.0, 90.0)
    clock.now -= 3600
    assert [scripted.take(rate).admitted for _ in range(3)] == [True, True, False]


RATE = Rate(20, Seconds(2.0))
bounds = st.lists(st.sampled_from([1e6, 0.5]), min_size=100, max_size=100)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.builds(Rate, st.integers(1, 30), st.sampled_from([Seconds(3.0), Seconds(60.0)])), gaps=gaps, bounds=bounds
)
def test_a_token_bucket_is_that_of_one_process_but_for_microseconds(client, rate, gaps, bounds):
    clock = Clock()
    memory, scripted = MemoryLimiter(10, clock, kind=TokenBucket), Scripted(client, clock, TOKENS)
    for gap, within in zip(gaps, bounds, strict=False):
        clock.advance(gap)
        assert scripted.look(rate) == pytest.approx(memory.look("a", rate), abs=1e-4)
        found, expected = scripted.take(rate, within), memory.take("a", rate, within)
        assert (found.admitted, found.remaining) == (expected.admitted, expected.remaining)
        assert (found.wait, found.reset) == pytest.approx((expected.wait, expected.reset), abs=1e-4)


def test_a_token_bucket_admits_twenty_at_once_and_then_ten_a_second(client):
    clock = Clock()
    scripted = Scripted(client, clock, TOKENS)
    assert [scripted.take(RATE).admitted for _ in range(21)] == [True] * 20 + [False]
    assert 1.9 < scripted.life() <= 2.001
    for _ in range(100):
        clock.advance(0.1)
        assert [scripted.take(RATE).admitted for _ in range(2)] == [True, False]
    assert client.strlen(scripted.name) <= 24


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, spent=st.lists(st.integers(0, 60), min_size=100, max_size=100))
def test_leased_tokens_never_let_more_pass_than_the_burst_and_the_rate(client, gaps, spent):
    """Tokens are spent as late as may be, or sooner."""
    clock, rate = Clock(), Rate(12, Seconds(60.0))
    scripted = Scripted(client, clock, TOKENS)
    passed = []
    for gap, late in zip(gaps, spent, strict=False):
        clock.advance(gap)
        granted, verdict = scripted.grant(rate, 5, 1.0)
        assert verdict.remaining >= 0
        passed += [clock() + (late / 60 if granted > 1 else 0.0)] * granted
    passed.sort()
    for number, start in enumerate(passed):
        for further, end in enumerate(passed[number:], 1):
            assert further <= rate.limit + (end - start) / 5 + ROUNDING


def test_a_single_token_is_granted_although_a_lease_would_not_fit(client):
    scripted = Scripted(client, Clock(), TOKENS)
    assert scripted.grant(Rate(1, Seconds(60.0)), 5, 1.0) == (1, Verdict(True, 0, 60.0, 60.0))


def test_a_clock_that_is_set_back_empties_a_token_bucket_at_most(client):
    clock = Clock(1_000_000.0)
    scripted = Scripted(client, clock, TOKENS)
    assert [scripted.take(RATE).admitted for _ in range(21)] == [True] * 20 + [False]
    clock.now -= 1  # a little: the tokens return later
    assert scripted.take(RATE) == Verdict(False, 0, 0.1, 2.0)
    clock.now -= 3600
    assert [scripted.take(RATE).admitted for _ in range(21)] == [True] * 20 + [False]
