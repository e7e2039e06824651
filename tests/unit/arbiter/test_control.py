"""The control socket: whole lines, stray lines, descriptors, and the end."""

import os
import socket
from itertools import chain

import gevent
import pytest
from gevent import socket as gevent_socket

from gproxy.arbiter.control import Control
from gproxy.arbiter.messages import COMMANDS, NOTICES, Beat, Imported, Malformed, Open, Ready, Stopped, Unready


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield Control(ours, NOTICES), Control(theirs, COMMANDS)


def test_several_messages_arrive_in_one_read_and_a_half_waits_for_the_rest(pair):
    arbiter, worker = pair
    worker.send(Ready())
    worker.socket.send(b'["beat", 0, 0, ""]\n["stop')
    assert arbiter.receive() == [Ready(), Beat()]
    assert arbiter.receive() == []
    worker.socket.send(b'ped", 1]\n')
    assert arbiter.receive() == [Stopped(1)]
    assert not arbiter.ended


def test_stacks_between_messages_are_kept_apart_and_a_wrong_line_costs_no_other(pair):
    arbiter, worker = pair
    worker.socket.send(b'Thread 0x1\n["beat", 0, 0, ""]\n  File "mine.py"\n["accept"]\n["ready"]\n')
    assert arbiter.receive() == [Beat(), Malformed('["accept"]', "unknown name"), Ready()]
    assert arbiter.stray == ["Thread 0x1", '  File "mine.py"']


def test_a_worker_takes_one_command_at_a_time_though_two_have_come(pair):
    arbiter, worker = pair
    with open(os.devnull) as file:
        arbiter.send(Open(False), [file.fileno()])
        arbiter.send(Unready())
        assert worker.wait() == Open(False)
        (fd,) = worker.take_fds()
        os.close(fd)
        assert fd != file.fileno()
    assert worker.take_fds() == []
    arbiter.close()
    assert (worker.wait(), worker.wait(), worker.wait()) == (Unready(), None, None)
    worker.send(Ready())


def test_a_read_without_a_whole_message_does_not_end_the_wait(pair, monkeypatch):
    _, worker = pair
    monkeypatch.setattr(worker, "receive", iter([[], [Unready()]]).__next__)
    assert worker.wait() == Unready()


def test_a_worker_that_has_ended(pair):
    arbiter, worker = pair
    worker.send(Stopped(0))
    worker.close()
    assert arbiter.receive() == [Stopped(0)]
    assert not arbiter.ended
    assert arbiter.receive() == []
    assert arbiter.ended


def test_a_worker_sends_a_line_that_is_longer_than_the_buffer_of_the_socket_as_a_whole():
    ours, theirs = gevent_socket.socketpair()
    arbiter, worker = Control(ours, NOTICES), Control(theirs, COMMANDS)
    long = Imported([f"/code/{number}.py" for number in range(100_000)])
    with open(os.devnull) as file, ours, theirs:
        sending = gevent.spawn(lambda: [worker.send(long, [file.fileno()]), worker.send(Ready())])
        received = chain.from_iterable(iter(arbiter.receive, None))
        assert [next(received), next(received)] == [long, Ready()]
        assert sending.get() == [True, True]
        assert len(arbiter.fds) == 1
        arbiter.close()
