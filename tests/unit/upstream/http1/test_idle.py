"""Which idle connections are kept, and for how long."""

import math

import gevent
import pytest

from gproxy.http.request import request
from gproxy.testing.scripted_channel import END
from gproxy.upstream.http1.connection import ConnectionState, HTTP1Connection
from gproxy.upstream.http1.idle import Idle


class Socket:
    def close(self): ...


@pytest.fixture
def used(scripted):
    """A connection after one exchange, opened at `born`; the backend keeps it for `announced` seconds."""

    def make(born=100.0, announced=None):
        field = "" if announced is None else f"Keep-Alive: timeout={announced}\r\n"
        peer = scripted(f"HTTP/1.1 204 No Content\r\n{field}\r\n".encode())
        connection = HTTP1Connection(Socket(), peer.backend, "10.0.0.1:80")
        connection.send_request(b"GET / HTTP/1.1\r\n\r\n", request())
        connection.born = born
        return connection, peer

    return make


def is_open(connection):
    return connection.state is not ConnectionState.CLOSED


@pytest.fixture
def now():
    return [100.0]


def idle_at(now, size=10):
    idle = Idle(size)
    idle.clock = lambda: now[0]
    return idle


@pytest.fixture
def kept(now, used):
    """A queue that has taken back one connection."""

    def make(*, max_age=math.inf, **options):
        idle = idle_at(now)
        idle.max_age = max_age
        connection, _ = used(**options)
        idle.keep(connection)
        return idle, connection

    return make


def test_what_came_last_goes_out_first(now, used):
    idle = idle_at(now)
    (first, _), (second, _) = used(), used()
    idle.keep(first)
    idle.keep(second)
    assert repr(second) == "<HTTP1Connection 10.0.0.1:80 IDLE, 1 request>"
    assert (idle.take(), idle.take(), idle.take()) == (second, first, None)


def test_what_has_ended_is_closed_instead_of_taken(now, used):
    idle = idle_at(now)
    (first, _), (second, peer) = used(), used()
    idle.keep(first)
    idle.keep(second)
    peer.add(END)
    gevent.sleep(0.001)  # the event loop notes the end
    assert idle.take() is first
    assert (is_open(first), is_open(second)) == (True, False)


@pytest.mark.parametrize(("born", "stays"), [(95.0, True), (90.0, True), (89.9, False)])
def test_age_when_it_comes_back(kept, born, stays):
    idle, connection = kept(born=born, max_age=10.0)
    assert is_open(connection) is stays
    assert (idle.take() is connection) is stays


@pytest.mark.parametrize(("at", "stays"), [(110.0, True), (110.1, False)])
def test_age_while_it_idles(kept, at, stays):
    idle, connection = kept(max_age=10.0)
    idle.trim(at, 55.0)
    assert is_open(connection) is stays


@pytest.mark.parametrize(
    ("announced", "at", "stays"),
    [(5, 103.0, True), (5, 103.1, False), (None, 155.0, True), (101, 155.1, False)],
)
def test_idle_limit_is_ours_or_the_backends(kept, announced, at, stays):
    idle, connection = kept(announced=announced)
    idle.trim(at, 55.0)
    assert is_open(connection) is stays


def test_what_is_too_many_may_idle_for_a_second(now, used):
    idle = idle_at(now, size=1)
    (first, _), (second, _) = used(), used()
    idle.keep(first)
    idle.keep(second)
    idle.trim(101.0, 55.0)
    assert is_open(first)
    idle.trim(101.1, 55.0)
    assert (is_open(first), idle.take()) == (False, second)


def test_retired_keeps_nothing(kept, used):
    idle, before = kept()
    idle.retire()
    after, _ = used()
    idle.keep(after)
    assert (is_open(before), is_open(after), idle.take()) == (False, False, None)
