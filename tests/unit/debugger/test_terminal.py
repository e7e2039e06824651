"""Lines of a terminal, which never block other greenlets."""

import os
import socket

import gevent
import pytest

from gproxy.debugger.terminal import Terminal


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    terminal = Terminal(theirs.detach())
    yield ours, terminal
    terminal.close()
    ours.close()


def test_lines_come_one_by_one_and_then_the_end(ends):
    ours, terminal = ends
    ours.sendall("first\nsecönd\nrest".encode())
    assert terminal.line(5.0) == "first\n"
    assert terminal.line(5.0) == "secönd\n"
    ours.close()
    while (line := terminal.line(5.0)) is None:
        pass
    assert (line, terminal.line(5.0), terminal.is_lost) == ("rest", "", True)


def test_a_wait_ends_with_the_time_or_when_it_is_woken_and_others_run_meanwhile(ends):
    _, terminal = ends
    assert terminal.line(0.01) is None
    gevent.spawn(terminal.wake)
    assert terminal.line(30.0) is None


def test_a_slow_reader_blocks_only_the_greenlet_that_writes(ends):
    ours, terminal = ends
    text = "x" * 2_000_000
    writing = gevent.spawn(terminal.write, text)
    received = 0
    ours.setblocking(False)
    while received < len(text):
        gevent.sleep(0)
        try:
            received += len(ours.recv(65536))
        except BlockingIOError:
            assert not writing.ready()
    writing.join()


def test_a_reader_that_does_not_read_is_lost_after_its_time(ends):
    _, terminal = ends
    terminal.write("x" * 2_000_000, 0.05)
    assert terminal.is_lost
    assert terminal.line(5.0) == ""


def test_what_is_written_to_a_lost_or_closed_terminal_has_no_effect(ends):
    ours, terminal = ends
    ours.close()
    terminal.write("x" * 1000)
    terminal.write("y")
    assert terminal.is_lost
    terminal.close()
    other = os.dup(1)
    terminal.close()
    os.close(other)
    assert terminal.line(1.0) == ""


def test_a_line_without_an_end_is_bounded(ends):
    ours, terminal = ends
    gevent.spawn(lambda: [(ours.send(b"x" * 8192), gevent.sleep(0)) for _ in range(10)])
    while (line := terminal.line(5.0)) is None:
        pass
    assert len(line) == 65536
