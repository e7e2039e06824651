"""Which idle connections are kept, and for how long."""

import math
import socket

import pytest

from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.response_head import parse_response_head

to_close = []


def connected(born, idle_timeout=math.inf):
    here, there = socket.socketpair()
    connection = HTTP1Connection(here, BackendChannel(here))
    to_close.extend((connection, there))
    connection.born = born
    connection.last = parse_response_head(b"HTTP/1.1 204 No\r\n\r\n", "GET")
    connection.last.idle_timeout = idle_timeout
    return connection


def is_open(connection):
    return connection.channel is not None


@pytest.fixture(autouse=True)
def closed():
    yield
    while to_close:
        to_close.pop().close()


@pytest.fixture
def now():
    return [100.0]


def idle_at(now, size=10):
    idle = Idle(size)
    idle.clock = lambda: now[0]
    return idle


def kept(now, *, born=100.0, idle_timeout=math.inf, max_age=math.inf):
    idle = idle_at(now)
    idle.max_age = max_age
    connection = connected(born, idle_timeout)
    idle.keep(connection)
    return idle, connection


def test_what_came_last_goes_out_first(now):
    idle = idle_at(now)
    first, second = connected(1), connected(2)
    idle.keep(first)
    idle.keep(second)
    assert (idle.take(), idle.take(), idle.take()) == (second, first, None)


@pytest.mark.parametrize(("born", "stays"), [(95.0, True), (90.0, True), (89.9, False)])
def test_age_when_it_comes_back(now, born, stays):
    idle, connection = kept(now, born=born, max_age=10.0)
    assert is_open(connection) is stays
    assert (idle.take() is connection) is stays


@pytest.mark.parametrize(("at", "stays"), [(110.0, True), (110.1, False)])
def test_age_while_it_idles(now, at, stays):
    idle, connection = kept(now, max_age=10.0)
    idle.trim(at, 55.0)
    assert is_open(connection) is stays


@pytest.mark.parametrize(
    ("announced", "at", "stays"),
    [(3.0, 103.0, True), (3.0, 103.1, False), (math.inf, 155.0, True), (99.0, 155.1, False)],
)
def test_idle_limit_is_ours_or_the_backends(now, announced, at, stays):
    idle, connection = kept(now, idle_timeout=announced)
    idle.trim(at, 55.0)
    assert is_open(connection) is stays


def test_what_is_too_many_may_idle_for_a_second(now):
    idle = idle_at(now, size=1)
    first, second = connected(100), connected(100)
    idle.keep(first)
    idle.keep(second)
    idle.trim(101.0, 55.0)
    assert is_open(first)
    idle.trim(101.1, 55.0)
    assert (is_open(first), idle.take()) == (False, second)


def test_retired_keeps_nothing(now):
    idle, before = kept(now)
    idle.retire()
    after = connected(100.0)
    idle.keep(after)
    assert (is_open(before), is_open(after), idle.take()) == (False, False, None)
