"""What a greenlet waits for beside something else: streams that a reader notifies, and channels."""

import socket
from contextlib import suppress

import gevent
import pytest
from gevent.pool import Group

from gproxy.runtime.channel import Channel
from gproxy.runtime.waitable import Waitable


class Calls:
    """An observer that counts its calls, and says who woke it."""

    def __init__(self):
        self.woken_by = []

    def switch(self, waitable):
        self.woken_by.append(waitable)


@pytest.fixture
def stream():
    return Waitable(gevent.get_hub())


@pytest.fixture
def group():
    group = Group()
    yield group
    group.kill()


def turn():
    """Let the loop run all callbacks that are due."""
    gevent.sleep(0)
    gevent.sleep(0)


def test_a_waiting_greenlet_wakes_in_a_turn_of_its_own(stream, group):
    order = []
    group.spawn(lambda: (stream.wait(), order.append("woken")))
    turn()
    stream.notify()
    order.append("notified")
    turn()
    assert order == ["notified", "woken"]


def test_an_event_that_came_before_ends_the_wait_at_once(stream):
    stream.notify()
    stream.wait()
    assert stream.has_event


def test_several_events_of_one_turn_wake_once(stream, group):
    waits = []

    def read():
        while True:
            stream.wait()
            stream.has_event = False
            waits.append("woken")

    group.spawn(read)
    turn()
    for _ in range(3):
        stream.notify()
    turn()
    assert waits == ["woken"]
    stream.notify()
    turn()
    assert waits == ["woken", "woken"]


def test_a_reader_that_has_left_meanwhile_is_not_switched_to(stream, group):
    def read():
        with suppress(InterruptedError):
            stream.wait()
        gevent.sleep(30)
        pytest.fail("switched to out of another wait")

    reader = group.spawn(read)
    turn()
    gevent.get_hub().loop.run_callback(reader.throw, InterruptedError)
    stream.notify()
    turn()
    assert not reader.dead


def test_an_observer_is_called_while_no_greenlet_waits(stream):
    calls = Calls()
    assert stream.watch(calls) is None
    stream.notify()
    assert not calls.woken_by, "called by the reader itself"
    turn()
    assert calls.woken_by == [stream]
    assert stream.watch(None) is calls


def test_an_observer_sees_an_event_that_came_before_it(stream):
    stream.notify()
    turn()
    calls = Calls()
    stream.watch(calls)
    turn()
    assert calls.woken_by == [stream]


def test_an_event_that_was_seen_before_the_turn_wakes_no_one(stream):
    calls = Calls()
    stream.watch(calls)
    stream.notify()
    assert not stream.is_gone()
    turn()
    assert not calls.woken_by


def test_the_end_stays_an_event(stream):
    stream.is_closed = True
    stream.notify()
    assert stream.is_gone()
    assert stream.has_event
    assert stream.has_left()
    assert stream.can_detect_close()


def test_a_second_reader_is_rejected(stream, group):
    group.spawn(stream.wait)
    turn()
    with pytest.raises(RuntimeError, match="already reads"):
        stream.wait()


@pytest.mark.parametrize("first", ["own", "other"])
def test_a_greenlet_waits_for_two_streams(stream, group, first):
    other = Waitable(gevent.get_hub())
    waiter = group.spawn(stream.wait_or, other)
    turn()
    (stream if first == "own" else other).notify()
    turn()
    assert waiter.value is (first == "own")
    assert other.watch(None) is None, "the observer was not put back"


@pytest.mark.parametrize("first", ["own", "other"])
def test_two_waits_end_at_once_if_there_was_an_event(stream, first):
    other = Waitable(gevent.get_hub())
    (stream if first == "own" else other).notify()
    assert stream.wait_or(other) is (first == "own")


@pytest.mark.parametrize("first", ["channel", "stream"])
@pytest.mark.parametrize("waits_at", ["channel", "stream"])
def test_a_greenlet_waits_for_a_channel_and_a_stream(stream, group, waits_at, first):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    channel = Channel(ours)
    pair = (channel, stream) if waits_at == "channel" else (stream, channel)
    waiter = group.spawn(pair[0].wait_or, pair[1])
    turn()
    if first == "channel":
        peer.sendall(b"x")
    else:
        stream.notify()
    with gevent.Timeout(5):
        waiter.join()
    assert waiter.value is (first == waits_at)
    channel.close()
    peer.close()


def test_unread_bytes_of_a_channel_are_seen():
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    channel = Channel(ours)
    assert not channel.has_unread()
    channel.give_back(b"x")
    assert channel.has_unread()
    assert not channel.can_detect_close()
    channel.close()
    peer.close()
