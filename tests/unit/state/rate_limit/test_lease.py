"""Leases: how many permits are fetched when, spent when, and lost at most."""

import gevent
import pytest

from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.lease import LeasingLimiter
from gproxy.state.rate_limit.limiter import MemoryLimiter, Verdict
from gproxy.state.store import StoreUnavailableError
from gproxy.testing import Clock

RATE = Rate(100, Seconds(60.0))


class Store:
    """Grants as a store does that counts with a MemoryLimiter; `asked` is what was wanted."""

    def __init__(self, clock):
        self.memory = MemoryLimiter(10, clock)
        self.asked = []

    def grant(self, key, rate, wanted):
        self.asked.append(wanted)
        first, *others = [self.memory.take(key, rate) for _ in range(wanted)]
        granted = [first, *(verdict for verdict in others if verdict.admitted)]
        first.remaining = granted[-1].remaining + len(granted) - 1
        return len(granted) * first.admitted, first

    def look(self, key, rate):
        self.asked.append(0)
        return self.memory.look(key, rate)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Store(clock)


@pytest.fixture
def limiter(store, clock):
    return LeasingLimiter(store, 10, 100, clock)


def test_a_busy_client_costs_a_tenth_of_the_round_trips(limiter, store):
    verdicts = [limiter.take("a", RATE) for _ in range(100)]
    assert all(verdict.admitted for verdict in verdicts)
    assert [verdict.remaining for verdict in verdicts] == [*range(99, -1, -1)]
    assert verdicts[-1].wait > 0
    assert store.asked == [1] + [10] * 10
    assert [limiter.take("a", RATE) for _ in range(50)] == [Verdict(False, 0, 60.0, 60.0)] * 50
    assert store.asked == [1] + [10] * 11


def test_a_rejected_client_reaches_the_store_again_when_one_more_can_be_admitted(limiter, store, clock):
    for _ in range(101):
        limiter.take("a", RATE)
    trips = len(store.asked)
    clock.advance(59)
    assert limiter.take("a", RATE) == Verdict(False, 0, 1.0, 1.0)
    assert len(store.asked) == trips
    clock.advance(1)
    assert limiter.take("a", RATE).admitted
    assert len(store.asked) == trips + 1


def test_a_slow_client_loses_nothing(limiter, store, clock):
    for _ in range(100):
        clock.advance(1.0)
        assert limiter.take("a", RATE).admitted
    assert set(store.asked) == {1}


def test_a_client_gets_what_it_spends_at_its_pace(limiter, store, clock):
    for _ in range(60):
        clock.advance(0.25)
        assert limiter.take("a", RATE).admitted
    assert store.asked[:3] == [1, 4, 4]
    assert sum(store.asked) <= 60 + 3


def test_permits_are_not_spent_later_than_a_sixtieth_of_the_window(limiter, store, clock):
    limiter.take("a", RATE)
    limiter.take("a", RATE)
    clock.advance(0.99)
    limiter.take("a", RATE)
    assert store.asked == [1, 10]
    clock.advance(0.01)
    limiter.take("a", RATE)
    assert store.asked == [1, 10, 2]  # it spent two in a second


def test_each_client_and_rate_has_a_lease_of_its_own(limiter, store):
    for key, rate in (("a", RATE), ("b", RATE), ("a", Rate(5, Seconds(1.0)))):
        limiter.take(key, rate)
    assert store.asked == [1, 1, 1]


def test_a_look_reaches_the_store_only_without_a_lease_that_answers(limiter, store, clock):
    assert limiter.look("a", RATE) == 0.0
    assert store.asked == [0]
    while limiter.take("a", RATE).admitted:
        clock.advance(0.001)
    trips = len(store.asked)
    assert limiter.look("a", RATE) == limiter.take("a", RATE).wait > 0
    assert len(store.asked) == trips
    clock.advance(60)
    assert limiter.look("a", RATE) == 0.0
    assert len(store.asked) == trips + 1


def test_one_lease_at_a_time_is_fetched(clock):
    store = Store(clock)
    grant = store.grant

    def slowly(*args):
        gevent.sleep(0)
        return grant(*args)

    store.grant = slowly
    limiter = LeasingLimiter(store, 10, 100, clock)
    limiter.take("a", RATE)
    gevent.joinall([gevent.spawn(limiter.take, "a", RATE) for _ in range(20)])
    assert sorted(store.asked) == [1] * 20 + [10]


def test_a_store_that_fails_leaves_nothing_behind(clock, store):
    def fail(*_):
        raise StoreUnavailableError

    grant, store.grant = store.grant, fail
    limiter = LeasingLimiter(store, 10, 100, clock)
    with pytest.raises(StoreUnavailableError):
        limiter.take("a", RATE)
    store.grant = grant
    assert limiter.take("a", RATE).remaining == 99
