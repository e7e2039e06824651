"""The own time of a handler: what the alarm is set to, and when it is paused."""

import math

import gevent
import pytest
from gevent.event import Event

from gproxy.gateway.policy.time_limit import HandlerTimeLimit
from gproxy.http.deadline import Deadline
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.testing import Clock, answer, request

HEAD = TimeLimit.DEADLINE.of(3.0, "timeout of [gateway]")


class Alarm:
    expires, limit, is_closed = math.inf, None, False

    def __init__(self):
        self.twins = []

    def twin(self):
        self.twins.append(Alarm())
        return self.twins[-1]

    def close(self):
        self.is_closed = True

    def set(self, expires, limit):
        self.expires, self.limit = expires, limit


class Scene:
    """A request at 100 s whose head is due at 103 s."""

    def __init__(self):
        self.clock, self.alarm = Clock(100.0), Alarm()
        self.request = request()
        self.request.deadline = Deadline(self.alarm, self.clock)
        self.request.deadline.begin(ExchangeLimits(HEAD, None, HEAD, HEAD))

    @property
    def due(self):
        return round(self.alarm.expires, 6), self.alarm.limit.label


@pytest.fixture
def scene():
    return Scene()


def test_the_alarm_is_that_of_the_handler_before_and_after_next(scene):
    due = []

    def handler(request, following):
        due.append(scene.due)
        scene.clock.advance(0.05)
        response = following(request)
        due.append(scene.due)
        return response

    def last(request):
        due.append(scene.due)
        scene.clock.advance(2.0)
        return answer()(request)

    limited = HandlerTimeLimit("geo", 0.2, handler)
    limited(scene.request, last)
    due.append(scene.due)
    assert due == [(100.2, "handler"), (103.0, "deadline"), (102.2, "handler"), (103.0, "deadline")]
    assert str(limited.limit) == "0.2 s, time_limit of [handler:geo]"


def test_the_end_of_the_request_is_earlier_than_a_long_limit(scene):
    due = []
    HandlerTimeLimit("geo", 5.0, lambda request, following: due.append(scene.due))(scene.request, answer())
    assert due == [(103.0, "deadline")]


def test_handlers_within_each_other_have_their_own_time(scene):
    due = []

    def inner(request, following):
        due.append(scene.due)
        scene.clock.advance(0.1)
        return following(request)

    def outer(request, following):
        scene.clock.advance(0.1)
        response = following(request)
        due.append(scene.due)
        return response

    within = HandlerTimeLimit("inner", 0.5, inner)
    HandlerTimeLimit("outer", 0.3, outer)(scene.request, lambda asked: within(asked, answer()))
    assert due == [(100.6, "handler"), (100.4, "handler")]


def test_a_wait_for_the_client_extends_the_time(scene):
    due = []

    def handler(request, following):
        scene.clock.advance(1.0)
        request.deadline.pause(1.0)
        request.deadline.resume()
        due.append(scene.due)
        return following(request)

    HandlerTimeLimit("geo", 0.2, handler)(scene.request, answer())
    assert due == [(101.2, "handler")]


def test_a_wait_for_a_backend_within_the_handler_is_bounded_by_the_earlier_limit(scene):
    due = []

    def handler(request, following):
        for seconds in (0.1, 1.0):
            request.deadline.wait(TimeLimit.READ.of(seconds, "read_timeout"))
            due.append(scene.due)
            request.deadline.resume()
            request.deadline.set_for(scene.clock() + seconds, TimeLimit.ATTEMPT)
            due.append(scene.due)
        return following(request)

    HandlerTimeLimit("geo", 0.2, handler)(scene.request, answer())
    assert due == [(100.1, "read"), (100.1, "attempt"), (100.2, "handler"), (100.2, "handler")]


def test_calls_of_next_side_by_side_pause_the_time_once(scene):
    """The second call begins within the first, as in another greenlet."""
    due, inner = [], []

    def last(request):
        if not inner:
            inner.append(True)
            following_of[0](request)
            due.append(scene.due)
        return answer()(request)

    following_of = []

    def handler(request, following):
        following_of.append(following)
        response = following(request)
        due.append(scene.due)
        return response

    HandlerTimeLimit("geo", 0.2, handler)(scene.request, last)
    assert due == [(103.0, "deadline"), (100.2, "handler")]


def test_a_call_that_goes_on_after_the_handler_begins_no_time(scene):
    kept = []

    def handler(request, following):
        kept.append(following)
        return answer()(request)

    HandlerTimeLimit("geo", 0.2, handler)(scene.request, answer())
    kept[0](scene.request)
    assert scene.due == (103.0, "deadline")


def test_a_call_that_the_handler_does_not_wait_for_begins_no_time_at_its_end(scene):
    answered, running = Event(), []

    def last(request):
        answered.wait()
        return answer()(request)

    def handler(request, following):
        running.append(gevent.spawn(following, request))
        gevent.sleep(0)
        return answer()(request)

    HandlerTimeLimit("geo", 0.2, handler)(scene.request, last)
    answered.set()
    running[0].join()
    assert scene.due == (103.0, "deadline")


def test_an_exception_ends_the_time(scene):
    def handler(request, following):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        HandlerTimeLimit("geo", 0.2, handler)(scene.request, answer())
    assert scene.due == (103.0, "deadline")


class Client:
    def in_own_greenlet(self):
        return False


def test_in_another_greenlet_the_alarm_of_the_connection_is_left_alone(scene):
    due = []

    def handler(request, following):
        due.append(scene.due)
        due.append(scene.alarm.twins[0].expires)
        return following(request)

    scene.request.client_stream = Client()
    HandlerTimeLimit("geo", 0.2, handler)(scene.request, answer())
    assert due == [(103.0, "deadline"), 100.2]
    assert scene.alarm.twins[0].is_closed
