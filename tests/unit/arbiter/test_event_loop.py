"""The arbiter's event loop: the order of timers, sockets that come and go, signals as events."""

import os
import signal
import socket
from functools import partial

import pytest

from gproxy.arbiter import event_loop
from gproxy.arbiter.event_loop import EventLoop


class Clock:
    """A clock that jumps to the time of the next timer instead of waiting for it."""

    now = 100.0

    def select(self, wait):
        self.now += wait
        return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def real_loop():
    found = EventLoop()
    yield found
    found._selector.close()


@pytest.fixture
def loop(real_loop, clock, monkeypatch):
    monkeypatch.setattr(event_loop, "monotonic", lambda: clock.now)
    monkeypatch.setattr(real_loop._selector, "select", clock.select)
    return real_loop


def test_timers_are_called_in_the_order_of_their_times(loop, clock):
    called = []
    loop.after(2, lambda: called.append(("second", clock.now)))
    loop.after(1, lambda: called.append(("first", clock.now)))
    loop.after(2, lambda: called.append(("third", clock.now)))
    loop.after(3, loop.stop)
    loop.run()
    assert called == [("first", 101.0), ("second", 102.0), ("third", 102.0)]


def test_a_pause_of_the_process_is_reported_before_the_timers_that_it_has_delayed(loop, clock, monkeypatch):
    called = []

    def select(wait):
        clock.now += wait + (7 if clock.now == 102 else 0.5)
        return []

    monkeypatch.setattr(loop._selector, "select", select)
    loop._last_round = clock.now
    loop.after_pause(lambda seconds: called.append(f"{seconds} s after the last round"))
    loop.after(1.5, lambda: called.append("as good as in time"))
    loop.after(4, lambda: called.append("late"))
    loop.after(5, loop.stop)
    loop.run()
    assert called == ["as good as in time", "9.0 s after the last round", "late"]


def test_a_timer_may_set_the_next_one_and_every_repeats(loop, clock):
    called = []
    loop.every(0.5, lambda: called.append(clock.now))
    loop.after(1.75, loop.stop)
    loop.run()
    assert called == [100.5, 101.0, 101.5]


def test_a_timer_that_fails_is_set_again_by_every(loop, clock):
    loop.every(1, lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            loop.run()
    assert clock.now == 102


def test_sockets_are_read_until_they_are_unregistered(real_loop):
    loop = real_loop
    near, far = socket.socketpair()
    read = []

    def receive():
        read.append(near.recv(100))
        loop.unregister(near)
        loop.unregister(near)
        far.send(b"more")
        loop.after(0, loop.stop)

    with near, far:
        loop.register(near, receive)
        far.send(b"first")
        loop.run()
    assert read == [b"first"]


def test_a_socket_that_an_earlier_event_has_closed_is_not_read(real_loop):
    pairs = [socket.socketpair() for _ in range(2)]
    read = []

    def close_the_other(at):
        read.append(at)
        for sock, _ in pairs[:at] + pairs[at + 1 :]:
            real_loop.unregister(sock)
            sock.close()
        real_loop.stop()

    for at, (ours, theirs) in enumerate(pairs):
        real_loop.register(ours, partial(close_the_other, at))
        theirs.send(b"x")
    real_loop.run()
    assert len(read) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_signals_are_events_of_the_loop(real_loop):
    loop = real_loop
    received = []
    before = signal.getsignal(signal.SIGUSR1)
    try:
        loop.handle_signals({signal.SIGUSR1: lambda: (received.append("USR1"), loop.stop())})
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received == []
        loop.run()
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        for sock in loop._signal_sockets:
            sock.close()
    assert received == ["USR1"]
