"""The alarm in each phase of an exchange, with the clock given."""

import math

import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.testing import Clock

HEAD = TimeLimit.DEADLINE.of(3.0, "timeout of [gateway]")
TOTAL = TimeLimit.TOTAL.of(10.0, "total_timeout of [route:r]")
READ = TimeLimit.READ.of(5.0, "read_timeout of [upstream:u]")
STREAM = TimeLimit.TUNNEL.of(60.0, "tunnel_timeout of [route:r]")


class Noted:
    def __init__(self):
        self.calls = []

    def set(self, expires, what):
        self.calls.append((expires, what))


def test_a_deadline():
    clock, timer = Clock(100.0), Noted()
    deadline = Deadline(timer, clock)
    assert deadline.remaining() == math.inf
    deadline.set(103.0)
    assert deadline.remaining() == 3.0
    deadline.set_for(101.0, TimeLimit.READ)
    assert deadline.remaining() == 3.0
    clock.advance(5)
    assert deadline.remaining() == 0.0
    deadline.set(math.inf)
    assert deadline.remaining() == math.inf
    assert timer.calls == [(103.0, TimeLimit.DEADLINE), (101.0, TimeLimit.READ), (math.inf, TimeLimit.DEADLINE)]
    Deadline().set_for(1.0, TimeLimit.READ)


class Scene:
    """A deadline on a clock that stands at 100; `alarm` is the present setting, relative to that."""

    def __init__(self, total=None):
        self.clock, self.timer = Clock(100.0), Noted()
        self.deadline = Deadline(self.timer, self.clock)
        self.deadline.begin(ExchangeLimits(HEAD, total, HEAD, STREAM))

    @property
    def alarm(self):
        expires, limit = self.timer.calls[-1]
        return expires - 100.0, limit

    def after(self, seconds, call, *arguments, **keywords):
        self.clock.advance(seconds)
        call(*arguments, **keywords)
        return self.alarm


def test_until_the_head_the_timeout_counts():
    some = Scene()
    assert some.alarm == (3.0, HEAD)
    assert some.deadline.remaining() == 3.0


def test_each_piece_of_an_upload_starts_the_time_anew():
    some = Scene()
    assert some.after(2.0, some.deadline.renew) == (5.0, HEAD)
    assert some.after(2.0, some.deadline.renew) == (7.0, HEAD)


def test_a_wait_before_the_head_does_not_move_it():
    """A handler reads the body of a backend before it returns its response."""
    some = Scene()
    assert some.after(2.0, some.deadline.wait, READ) == (3.0, HEAD)
    short = READ.of(0.5, "")
    assert some.after(0.0, some.deadline.wait, short) == (2.5, READ)
    assert some.after(0.2, some.deadline.resume) == (3.0, HEAD)


@pytest.mark.parametrize(("is_event_stream", "limit"), [(False, HEAD), (True, STREAM)])
def test_after_the_head_each_piece_has_a_time_of_its_own(is_event_stream, limit):
    some = Scene()
    assert some.after(1.0, some.deadline.begin_body, is_event_stream=is_event_stream) == (1.0 + limit.seconds, limit)
    assert some.after(2.5, some.deadline.resume) == (3.5 + limit.seconds, limit)
    assert some.after(2.5, some.deadline.wait, READ) == (11.0, READ)
    assert some.after(2.5, some.deadline.renew) == (13.5, READ)  # an upload beside the response
    assert some.after(0.0, some.deadline.resume) == (8.5 + limit.seconds, limit)
    assert some.deadline.remaining() == math.inf


def test_the_total_timeout_ends_what_would_last_longer():
    some = Scene(TOTAL)
    assert some.alarm == (3.0, HEAD)
    assert some.after(2.0, some.deadline.renew) == (5.0, HEAD)
    some.deadline.begin_body(is_event_stream=False)
    assert some.after(1.0, some.deadline.wait, READ) == (8.0, READ)
    assert some.after(3.0, some.deadline.wait, READ) == (10.0, TOTAL)
    assert some.deadline.remaining() == 4.0


@pytest.mark.parametrize(
    ("limits", "is_event_stream", "is_endless"),
    [
        (ExchangeLimits(HEAD, None, HEAD, STREAM), False, False),
        (ExchangeLimits(HEAD, None, HEAD, STREAM), True, True),
        (ExchangeLimits(HEAD, None, STREAM, STREAM), False, True),
    ],
)
def test_what_ends_with_an_identity_hears_of_an_endless_response(limits, is_event_stream, is_endless):
    heard = []
    deadline = Deadline()
    deadline.begin(limits)
    deadline.on_endless = lambda: heard.append(True)
    assert heard == []
    deadline.begin_body(is_event_stream=is_event_stream)
    assert bool(heard) == is_endless


def test_a_total_timeout_shorter_than_the_timeout():
    assert Scene(TOTAL.of(1.0, "")).alarm == (1.0, TOTAL)


def test_a_wait_for_the_client_moves_all_ends():
    some = Scene(TOTAL)
    some.deadline.pause(2.0)
    assert some.after(0.0, some.deadline.resume) == (5.0, HEAD)
    some.deadline.begin_body(is_event_stream=True)
    assert some.alarm == (12.0, TOTAL)
    assert some.deadline.paused == 2.0


def test_another_route_begins_anew():
    some = Scene(TOTAL)
    assert some.after(2.0, some.deadline.begin, ExchangeLimits(HEAD, None, HEAD, STREAM)) == (5.0, HEAD)
    assert some.after(0.0, some.deadline.begin_body, is_event_stream=True) == (62.0, STREAM)


@pytest.mark.parametrize(
    ("piece", "is_event_stream", "paced"),
    [(HEAD, False, (True, True)), (HEAD, True, (True, False)), (STREAM, False, (False, False))],
    ids=["ordinary", "event stream", "stream = yes"],
)
def test_whether_min_rate_bounds_the_client_before_and_after_the_head(piece, is_event_stream, paced):
    deadline = Deadline(Noted(), Clock(100.0))
    assert deadline.is_paced
    deadline.begin(ExchangeLimits(HEAD, None, piece, STREAM))
    before = deadline.is_paced
    deadline.begin_body(is_event_stream=is_event_stream)
    assert (before, deadline.is_paced) == paced


def test_another_greenlet_has_the_same_ends():
    some, timer = Scene(TOTAL), Noted()
    some.clock.advance(2.0)
    twin = some.deadline.detached(timer)
    assert timer.calls == []
    twin.resume()
    assert timer.calls == [(103.0, HEAD)]
    twin.renew()
    assert timer.calls[-1] == (105.0, HEAD)
    assert some.alarm == (3.0, HEAD)


def test_a_deadline_without_limits_has_no_end():
    deadline = Deadline()
    deadline.begin_body(is_event_stream=True)
    deadline.renew()
    deadline.wait(READ)
    deadline.resume()
    assert deadline.expires == math.inf


def test_a_call_within_a_deadline_ends_with_the_nearer_of_both():
    scene, inner_timer = Scene(total=TOTAL), Noted()
    short, long = TimeLimit.DEADLINE.of(1.0, "timeout of [handler:h]"), TimeLimit.DEADLINE.of(9.0, "o")
    inner = scene.deadline.within(inner_timer, short)
    assert inner_timer.calls == [(101.0, short)]
    inner.renew()  # progress moves neither
    inner.wait(READ)
    assert {expires for expires, _ in inner_timer.calls} == {101.0}
    assert scene.deadline.within(inner_timer, long).remaining() == 3.0
    assert inner_timer.calls[-1] == (103.0, HEAD)
    assert scene.alarm == (3.0, HEAD)


@pytest.mark.parametrize(("seconds", "alarm"), [(1.0, (101.0, "own")), (9.0, (105.0, "read"))])
def test_a_wait_of_a_handler_ends_with_the_handlers_own_time_if_that_is_earlier(seconds, alarm):
    timer = Noted()
    deadline = Deadline(timer, Clock(100.0))
    own = TimeLimit.HANDLER.of(seconds, "own")
    deadline.begin_own(own, seconds)
    deadline.wait(READ)
    assert timer.calls[-1] == (alarm[0], own if alarm[1] == "own" else READ)
    deadline.end_own()
    assert timer.calls[-1] == (105.0, READ)
