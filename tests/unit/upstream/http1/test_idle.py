"""Which idle connections are kept, and for how long."""

import math

import gevent
import pytest

from gproxy.http.request import request
from gproxy.testing.scripted_channel import END
from gproxy.upstream.http1.connection import ConnectionState, HTTP1Connection
from gproxy.upstream.http1.idle import Idle
from unit.upstream.backends import send


class Socket:
    def close(self): ...


@pytest.fixture
def used(scripted):
    """A connection after one exchange, opened at `born`; the backend keeps it for `announced` seconds."""

    def make(born=100.0, announced=None):
        field = "" if announced is None else f"Keep-Alive: timeout={announced}\r\n"
        peer = scripted(f"HTTP/1.1 204 No Content\r\n{field}\r\n".encode())
        connection = HTTP1Connection(Socket(), peer.backend, "10.0.0.1:80")
        send(connection, b"GET / HTTP/1.1\r\n\r\n", request())
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


def test_an_end_that_the_loop_has_not_seen_yet_counts(now, used):
    idle = idle_at(now)
    (first, _), (second, peer) = used(), used()
    idle.keep(first)
    idle.keep(second)
    now[0] += 1.0
    peer.add(END)  # and no turn of the loop, as in a worker that was held up
    assert idle.take() is first
    assert not is_open(second)


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
    [(5, 103.0, True), (5, 103.1, False), (None, 155.0, True), (None, 155.1, False), (101, 155.1, False)],
)
def test_idle_limit_is_ours_or_the_backends(kept, announced, at, stays):
    idle, connection = kept(announced=announced)
    idle.trim(at, 55.0)
    assert is_open(connection) is stays


def test_what_one_connection_announces_holds_for_all(now, used):
    """Keep-Alive: timeout=3 allows 1.5 s."""
    idle = idle_at(now)
    (silent, _), (talking, _) = used(), used(announced=3)
    idle.keep(talking)
    idle.keep(silent)
    now[0] = 101.6
    assert idle.take() is None
    idle.trim(now[0], 55.0)
    assert (is_open(silent), is_open(talking)) == (False, False)


@pytest.fixture
def ended(now, used):
    """A function that ends an idle connection of the queue at some age, before the queue notices."""

    def end(idle, age):
        connection, peer = used()
        now[0] = 100.0
        idle.keep(connection)
        peer.add(END)
        gevent.sleep(0.001)
        connection.channel.event_at = now[0] = 100.0 + age

    return end


@pytest.mark.parametrize(("age", "usable_for"), [(60.0, 58.0), (5.0, 3.0), (2.0, 1.0), (0.6, 0.3)])
@pytest.mark.parametrize("notices", ["take", "trim"])
def test_the_age_at_which_the_backend_closes_is_learnt(now, used, ended, notices, age, usable_for):
    idle = idle_at(now)
    ended(idle, age)
    if notices == "take":
        assert idle.take() is None
    else:
        idle.trim(now[0] + 0.9, 55.0)  # the age is that of the end
    assert idle.usable_for == pytest.approx(usable_for)
    connection, _ = used()
    now[0] = 200.0
    idle.keep(connection)
    now[0] = 200.0 + usable_for + 0.1
    assert idle.take() is None


def test_the_age_of_a_stale_connection_is_learnt(kept, now):
    idle, connection = kept()
    now[0] = 110.0
    assert idle.take() is connection
    idle.note_stale(connection)
    assert idle.usable_for == 8.0


@pytest.mark.parametrize(("at", "usable_for"), [(12.0, 10.0), (9.0, 7.0)])
def test_only_a_later_end_outweighs_a_stale_connection(kept, now, used, ended, at, usable_for):
    """A witness that merely stays open does not: a firewall may have dropped it."""
    idle, _ = kept()
    now[0] = 110.0
    idle.note_stale(idle.take())
    now[0] = 200.0
    idle.keep(used()[0])
    idle.trim(250.0, 55.0)
    idle.trim(255.1, 55.0)
    assert idle.usable_for == 8.0
    ended(idle, at)
    idle.trim(now[0], 55.0)
    assert idle.usable_for == usable_for


def test_of_connections_that_end_together_the_oldest_counts(now, ended):
    idle = idle_at(now)
    ended(idle, 4.0)
    ended(idle, 0.1)
    idle.trim(now[0], 55.0)
    assert idle.usable_for == 2.0


@pytest.mark.parametrize("notices", ["take", "trim", "note_stale"])
def test_the_end_of_a_connection_that_was_just_used_says_nothing(now, used, ended, notices):
    idle = idle_at(now)
    ended(idle, 0.4)
    if notices == "take":
        assert idle.take() is None
    elif notices == "trim":
        idle.trim(now[0], 55.0)
    else:
        idle.note_stale(idle._connections[0])
    assert idle.usable_for == math.inf


def test_a_witness_stays_open_and_shows_that_the_backend_waits_longer(now, used, ended):
    idle = idle_at(now)
    ended(idle, 2.0)
    idle.trim(102.0, 55.0)
    connections = [used()[0] for _ in range(3)]
    now[0] = 200.0
    for connection in connections:
        idle.keep(connection)
    for at, usable_for in [(201.5, 1.0), (205.0, 3.0), (230.0, 28.0), (255.0, 53.0)]:
        idle.trim(at, 55.0)
        assert [is_open(one) for one in connections] == [True, False, False]
        assert idle.usable_for == usable_for
    idle.trim(255.1, 55.0)
    assert (is_open(connections[0]), idle.usable_for) == (False, math.inf)


def test_a_witness_is_no_surplus(now, used, ended):
    idle = idle_at(now, size=1)
    ended(idle, 4.0)
    idle.trim(104.0, 55.0)
    (witness, _), (younger, _) = used(), used()
    now[0] = 200.0
    idle.keep(witness)
    now[0] = 202.5
    idle.keep(younger)
    idle.trim(204.0, 55.0)
    assert (is_open(witness), is_open(younger)) == (True, True)


def test_a_witness_that_ends_confirms_the_age(now, ended, used):
    idle = idle_at(now)
    ended(idle, 2.0)
    idle.trim(102.0, 55.0)
    ended(idle, 2.1)
    idle.trim(102.1, 55.0)
    assert idle.usable_for == 1.0


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
