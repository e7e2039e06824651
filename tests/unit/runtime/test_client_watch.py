"""Waiting while a client may leave, and a copy of a request for another greenlet."""

import gevent
import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.runtime.client_watch import ClientWatch, detached
from gproxy.runtime.expired import Expired


class Client:
    """A client stream that has one observer, and leaves on request."""

    def __init__(self, *, can_detect_close=True, is_served_here=True):
        self.is_served_here = is_served_here
        self._can_detect_close = can_detect_close
        self.observer = "before"
        self.has_gone = False

    def in_own_greenlet(self):
        return self.is_served_here

    def can_detect_close(self):
        return self._can_detect_close

    def is_gone(self):
        return self.has_gone

    def watch(self, observer):
        before, self.observer = self.observer, observer
        return before

    def leave(self):
        self.has_gone = True
        self.observer.switch(self)


def after_a_turn(function, *arguments):
    gevent.get_hub().loop.run_callback(function, *arguments)


def test_a_wake_ends_the_wait():
    watch = ClientWatch(None)
    after_a_turn(watch.wake)
    watch.wait()


def test_a_wake_before_the_wait_counts_once():
    watch = ClientWatch(None)
    watch.wake()
    watch.wait()
    with gevent.Timeout(0.001), pytest.raises(gevent.Timeout):
        watch.wait()


def test_the_time_ends_the_wait():
    ClientWatch(Client()).wait(0.001)


def test_a_client_that_leaves_ends_the_wait():
    client = Client()
    after_a_turn(client.leave)
    with pytest.raises(ClientGone):
        ClientWatch(client).wait()
    assert client.observer == "before"


@pytest.mark.parametrize("is_served_here", [True, False])
def test_the_client_of_a_request_is_observed_by_its_own_greenlet_only(is_served_here):
    asked = request()
    asked.client_stream = client = Client(is_served_here=is_served_here)
    watch, seen = ClientWatch.of(asked), []
    after_a_turn(lambda: (seen.append(client.observer), watch.wake()))
    watch.wait()
    assert seen == [watch if is_served_here else "before"]


def test_a_client_that_sends_more_does_not_end_the_wait():
    client = Client()
    watch = ClientWatch(client)
    after_a_turn(watch.switch, client)
    after_a_turn(lambda: after_a_turn(watch.wake))
    watch.wait()
    assert client.observer == "before"


def test_behind_unread_bytes_the_client_is_not_watched():
    client = Client(can_detect_close=False)
    watch = ClientWatch(client)
    seen = []
    after_a_turn(lambda: (seen.append(client.observer), watch.wake()))
    watch.wait()
    assert seen == ["before"]


def test_what_an_alarm_throws_restores_the_observer():
    client = Client()
    after_a_turn(gevent.getcurrent().throw, Expired(TimeLimit.DEADLINE))
    with pytest.raises(Expired):
        ClientWatch(client).wait()
    assert client.observer == "before"


def test_a_detached_copy_knows_no_client_and_keeps_the_deadline():
    asked, ended = request(headers={"A": "1"}), []
    asked.client_stream, asked.upgrade, asked.offered = Client(), "websocket", ("websocket",)
    asked.deadline.expires = 1234.5
    with detached(asked) as twin:
        assert (twin.client_stream, twin.upgrade, twin.offered) == (None, None, ())
        assert twin.deadline is not asked.deadline
        assert twin.deadline.expires == 1234.5
        assert (twin.id, twin.target, twin.headers.get("a")) == ("test", "/", "1")
        twin.at_end(lambda: ended.append("twin"))
        assert ended == []
    assert ended == ["twin"]
    assert asked.client_stream is not None


def test_a_detached_copy_ends_after_an_error_too():
    ended = []

    def fail():
        with detached(request()) as twin:
            twin.at_end(lambda: ended.append("twin"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert ended == ["twin"]


class OtherTimer:
    """A timer of another kind."""

    def __init__(self):
        self.is_closed = False
        self.bounds = []
        self.now = 1000.0

    def set(self, expires, limit):
        pass

    def close(self):
        self.is_closed = True

    def twin(self):
        return OtherTimer()

    def bound(self, seconds):
        self.bounds.append(seconds)
        self.now += seconds / 2  # it is early
        return gevent.Timeout(0.001, False)

    def clock(self):
        return self.now


def test_copies_and_waits_have_timers_of_the_kind_of_their_request():
    asked, timer = request(), OtherTimer()
    asked.deadline = Deadline(timer, timer.clock)
    with detached(asked) as copy:
        copied = copy.deadline.timer
        assert isinstance(copied, OtherTimer)
        assert copied is not timer
    assert copied.is_closed
    timer.now = 0.0
    ClientWatch(None, asked.deadline).wait(64.0)
    assert timer.bounds[:3] == [64.0, 32.0, 16.0]
    assert timer.now == 64.0


def test_the_twin_of_an_alarm_is_of_the_greenlet_that_makes_it():
    alarm = Alarm(TimerWheel())
    twin = gevent.spawn(alarm.twin).get()
    assert twin.greenlet is not alarm.greenlet
    with alarm.bound(0.001):
        gevent.sleep(5)
