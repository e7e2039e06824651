"""Hedged attempts without sockets: which one wins, is dropped, or fails."""

from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from gproxy.http.errors import Incomplete
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.upstream.forwarder.hedge import Hedge
from gproxy.upstream.retry import Budget


class Backend:
    def __init__(self, name):
        self.name = name
        self.active = self.attempts = 0
        self.is_healthy = True

    def drop(self, connection):
        assert connection.of is self
        self.active -= 1


class Race:
    """`first` and `second` say what an attempt there does; `handed_out` who won."""

    def __init__(self, first, second):
        self.backends = {"first": Backend("first"), "second": Backend("second")}
        self.does = {"first": first, "second": second}
        self.handed_out = []
        self.rotation = self
        self.budget = Budget(0.0, list(self.backends.values()))

    def send(self, twin, backend):
        assert twin.client_stream is None
        backend.active += 1
        twin.exchange.apptime = {"first": 0.5, "second": 0.25}[backend.name]
        try:
            self.does[backend.name]()
        except BaseException:
            backend.active -= 1
            raise
        return SimpleNamespace(watch_client=lambda _: None, of=backend), SimpleNamespace(status=200)

    def pick(self, request, tried):
        return self.backends["second"]

    def receive(self, request, backend, connection, answer):
        self.handed_out.append(backend.name)
        backend.active -= 1
        return Response(200)

    def run(self):
        hedge = Hedge(
            0.01, self, covers=lambda _: True, retry_statuses=(), send=self.send, receive=self.receive, unhedged=None
        )
        self.request = request()
        return hedge(self.request, self.backends["first"])

    def active(self):
        gevent.sleep(0.02)  # for those that were killed
        return [backend.active for backend in self.backends.values()], self.budget.taken


NOTHING = ([0, 0], 0)
together = Event()


def at_once():
    pass


def never():
    gevent.sleep(10)


def later():
    together.wait(1)


def sets_off():
    gevent.sleep(0.005)
    together.set()


def fails():
    raise Incomplete("in the head")


def is_broken():
    raise RuntimeError("a mistake")


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [(at_once, never, "first"), (never, at_once, "second"), (never, sets_off, "second")],
)
def test_the_first_answer_wins(first, second, winner):
    race = Race(first, second)
    assert race.run().status == 200
    assert race.handed_out == [winner]
    assert race.request.exchange.apptime == {"first": 0.5, "second": 0.25}[winner]
    assert race.active() == NOTHING


def test_both_answer_at_once(caplog):
    """Return one response, and drop the other."""
    together.clear()
    race = Race(later, sets_off)
    assert race.run().status == 200
    assert len(race.handed_out) == 1
    assert race.active() == NOTHING


def test_both_fail():
    race = Race(lambda: gevent.sleep(0.2) or fails(), fails)
    assert [(one.backend.name, one.failure.reason) for one in race.run()] == [
        ("first", "backend_reset"),
        ("second", "backend_reset"),
    ]
    assert race.active() == NOTHING


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (never, [("first", "backend_timeout")]),
        (fails, [("second", "backend_reset"), ("first", "backend_timeout")]),
    ],
)
def test_at_the_deadline_the_first_running_attempt_fails(second, expected):
    race = Race(never, second)
    with gevent.Timeout(0.2, Expired(TimeLimit.DEADLINE)):
        failed = race.run()
    assert [(one.backend.name, one.failure.reason) for one in failed] == expected
    assert race.active() == NOTHING


def test_one_that_fails_before_is_alone():
    race = Race(fails, at_once)
    (failed,) = race.run()
    assert failed.backend.name == "first"
    assert race.active() == NOTHING


def test_a_mistake_of_ours_is_no_failure_of_a_backend():
    race = Race(lambda: gevent.sleep(0.2) or is_broken(), fails)
    with pytest.raises(RuntimeError):
        race.run()
    assert race.active() == NOTHING


def test_no_second_one_that_is_not_well():
    race = Race(lambda: gevent.sleep(0.05), at_once)
    race.backends["second"].is_healthy = False
    race.run()
    assert race.handed_out == ["first"]


def test_a_killed_hedge_leaves_no_attempt():
    race = Race(never, never)
    greenlet = gevent.spawn(race.run)
    gevent.sleep(0.03)
    assert race.active() == ([1, 1], 1)
    greenlet.kill()
    assert race.active() == NOTHING
