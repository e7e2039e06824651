"""Bytes both ways after 101, between a client and a backend that follow scripts, and without a timer."""

import gevent
import pytest

from gproxy.config.types import BackendURL
from gproxy.http.deadline import Deadline
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.forwarder.tunnel import Tunnel
from gproxy.upstream.http1.connection import HTTP1Connection
from unit.upstream.backends import backend_of

pytestmark = pytest.mark.timeout(10)  # a script that says too little is a wait without an end


class RecordingTimer:
    """Keeps the limits that were set, in seconds from the test's start."""

    def __init__(self):
        self.set_limits = []

    def set(self, expires, limit):
        self.set_limits.append((expires, limit))


class Scene:
    """A tunnel whose two peers are `client` and `backend`."""

    def __init__(self, client, backend, idle_timeout=30.0):
        self.client, self.backend = client, backend
        self.timer = RecordingTimer()
        self.request = request()
        self.request.deadline = client.client.deadline = Deadline(self.timer)
        self.request.client_stream = client.client
        backend.backend.client = client.client
        self.leased = backend_of(BackendURL.parse("http://127.0.0.1:1"), keepalive=4, connect_timeout=1.0)
        self.leased.active += 1
        self.connection = HTTP1Connection(backend.socket, backend.backend, self.leased.name)
        self.tunnel = Tunnel(
            self.request, self.leased, self.connection, TimeLimit.TUNNEL.of(idle_timeout, "tunnel_timeout of [route:r]")
        )


@pytest.fixture
def scene(scripted):
    """A tunnel between a client and a backend with these scripts."""
    return lambda client, backend: Scene(scripted(*client), scripted(*backend))


def throw_soon(error):
    gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, error)


def test_bytes_go_both_ways_until_both_sides_have_ended(scene):
    some = scene([b"up", END], [b"down", END])
    assert b"".join(some.tunnel) == b"down"
    assert (some.backend.sent, some.backend.actions) == (b"up", ["shut_writing"])
    assert some.client.actions == ["shut_writing"]
    assert some.request.body.received == 2


def test_each_side_may_answer_the_other(scene):
    some = scene([b"ping", After(b"pong"), b"bye", END], [After(b"ping"), b"pong", After(b"bye"), b"bye", END])
    for piece in some.tunnel:
        some.client.client.send(piece)
    assert some.client.sends == [b"pong", b"bye"]
    assert some.backend.sends == [b"ping", b"bye"]


def test_bytes_that_came_with_the_request_go_first(scene):
    some = scene([b"then", END], [END])
    some.client.client.buffer = b"first "
    assert list(some.tunnel) == []
    assert some.backend.sends == [b"first ", b"then"]


def test_the_deadline_is_lifted_and_the_idle_limit_takes_its_place(scene):
    some = scene([END], [END])
    list(some.tunnel)
    assert some.request.exchange.is_tunnel
    assert some.client.client.deadline is None
    assert some.backend.backend.client is None
    assert {limit for _, limit in some.timer.set_limits} == {TimeLimit.TUNNEL}


def test_after_one_side_has_ended_the_idle_limit_is_shorter(scene):
    some = scene([END], [END])
    list(some.tunnel)
    times = [expires for expires, limit in some.timer.set_limits if limit == TimeLimit.TUNNEL]
    assert 15 < times[0] - times[-1] <= 20


def test_silence_after_one_end_is_the_end_of_the_tunnel(scene):
    some, reader = scene([END], []), gevent.getcurrent()

    def expire_after_the_end():
        while "shut_writing" not in some.backend.actions:
            gevent.sleep(0.00001)
        gevent.get_hub().loop.run_callback(reader.throw, Expired(TimeLimit.TUNNEL))

    gevent.spawn(expire_after_the_end)
    assert list(some.tunnel) == []


@pytest.mark.parametrize("limit", [TimeLimit.TUNNEL, TimeLimit.DRAINING])
def test_silence_of_an_open_tunnel_is_an_error(scene, limit):
    some = scene([], [])
    throw_soon(Expired(limit))
    with pytest.raises(Expired):
        list(some.tunnel)


def test_a_drain_ends_a_half_tunnel_with_an_error(scene):
    some = scene([], [])
    some.tunnel._is_half = True
    throw_soon(Expired(TimeLimit.DRAINING))
    with pytest.raises(Expired):
        list(some.tunnel)


def test_a_reset_of_the_backend_ends_the_tunnel_at_once_and_is_no_end_of_the_client(scene):
    some = scene([], [b"last", RESET])
    assert list(some.tunnel) == [b"last"]
    assert some.request.reason == "backend_reset"


def test_a_client_that_resets_ends_the_backends_side(scene):
    some = scene([RESET], [])
    assert list(some.tunnel) == []
    assert some.backend.actions == ["shut"]


def test_a_backend_that_takes_no_more_bytes_ends_the_tunnel(scene):
    some = scene([b"up"], [b"down", RESET])
    assert list(some.tunnel) == [b"down"]
    assert (some.backend.sent, some.backend.actions[0]) == (b"", "shut")


def test_the_connection_is_dropped_once(scene):
    some = scene([], [])
    some.tunnel.close()
    some.tunnel.close()
    assert (some.leased.active, repr(some.connection)) == (0, "<HTTP1Connection 127.0.0.1:1 CLOSED, 0 requests>")
