"""The order of an alarm and of what comes: a late loop must not end what has come in time."""

import socket
import time

import gevent
import pytest

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.runtime.channel import Channel
from gproxy.runtime.expired import Expired

LIMIT = 0.05


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        channel = Channel(ours)
        yield channel, theirs
        channel.close()


def received(channel):
    """Return what the channel receives within the limit, or the exception."""
    alarm = Alarm(TimerWheel())
    alarm.set(time.monotonic() + LIMIT, TimeLimit.IDLE)
    try:
        return channel.receive(100)
    except Expired as error:
        return error
    finally:
        alarm.close()


def test_what_has_come_while_the_loop_was_blocked_counts(pair):
    channel, theirs = pair
    reader = gevent.spawn(received, channel)
    gevent.sleep(0)
    theirs.sendall(b"in time")
    time.sleep(4 * LIMIT)
    assert reader.get(timeout=5) == b"in time"


def test_without_it_the_alarm_of_a_blocked_loop_expires(pair):
    reader = gevent.spawn(received, pair[0])
    gevent.sleep(0)
    time.sleep(4 * LIMIT)
    error = reader.get(timeout=5)
    assert isinstance(error, Expired)
    assert error.limit == TimeLimit.IDLE
