"""Bytes both ways after 101, over socket pairs and without a timer."""

import math
import socket
from functools import partial
from types import SimpleNamespace

import gevent
import pytest

from gproxy.http.errors import ClientGone
from gproxy.http.request import Deadline, request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.channel import Channel
from gproxy.runtime.expired import Expired
from gproxy.upstream.forwarder.tunnel import Tunnel
from gproxy.upstream.http1.channel import BackendChannel


class ClientChannel(Channel):
    """The client's side of the tunnel, without an alarm."""

    reset_error = ClientGone
    in_tunnel = False

    def start_tunnel(self):
        self.in_tunnel = True


class EndingChannel(BackendChannel):
    """Calls `on_end` once the client's end is passed on."""

    on_end = None

    def shut_writing(self):
        super().shut_writing()
        if self.on_end is not None:
            self.on_end()


class RecordingTimer:
    """Keeps the limits that were set, in seconds from the test's start."""

    def __init__(self):
        self.set_limits = []

    def set(self, expires, limit):
        self.set_limits.append((expires, limit))


class Scene:
    """A tunnel whose two peers are `client` and `backend`."""

    def __init__(self, idle_timeout=30.0):
        near, self.client = socket.socketpair()
        far, self.backend = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        for sock in (self.client, self.backend):
            sock.settimeout(5)
        self.timer = RecordingTimer()
        self.request = request()
        self.request.deadline = Deadline(self.timer)
        self.request.client_stream = self.stream = ClientChannel(near)
        self.channel = EndingChannel(far)
        self.channel.client = self.stream
        self.dropped = []
        backend = SimpleNamespace(drop=self.dropped.append)
        self.connection = SimpleNamespace(channel=self.channel)
        self.tunnel = Tunnel(self.request, backend, self.connection, idle_timeout)

    def close(self):
        for end in (self.stream, self.channel, self.client, self.backend):
            end.close()


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.close()


def test_bytes_go_both_ways_until_both_sides_have_ended(scene):
    scene.client.sendall(b"up")
    scene.client.shutdown(socket.SHUT_WR)
    scene.backend.sendall(b"down")
    scene.backend.shutdown(socket.SHUT_WR)
    assert b"".join(scene.tunnel) == b"down"
    assert (scene.backend.recv(10), scene.backend.recv(10)) == (b"up", b"")
    assert scene.client.recv(10) == b""
    assert scene.request.body.received == 2


def test_bytes_that_came_with_the_request_go_first(scene):
    scene.stream.buffer = b"first "
    scene.client.sendall(b"then")
    scene.client.shutdown(socket.SHUT_WR)
    scene.backend.shutdown(socket.SHUT_WR)
    assert list(scene.tunnel) == []
    assert scene.backend.recv(100) + scene.backend.recv(100) == b"first then"


def test_the_deadline_is_lifted_and_the_idle_limit_takes_its_place(scene):
    scene.client.shutdown(socket.SHUT_WR)
    scene.backend.shutdown(socket.SHUT_WR)
    list(scene.tunnel)
    assert scene.stream.in_tunnel
    assert scene.channel.client is None
    assert scene.timer.set_limits[0] == (math.inf, TimeLimit.DEADLINE)
    assert {limit for _, limit in scene.timer.set_limits[1:]} == {TimeLimit.TUNNEL}


def test_after_one_side_has_ended_the_idle_limit_is_shorter(scene):
    scene.client.shutdown(socket.SHUT_WR)
    scene.backend.shutdown(socket.SHUT_WR)
    list(scene.tunnel)
    times = [expires for expires, limit in scene.timer.set_limits if limit is TimeLimit.TUNNEL]
    assert 15 < times[0] - times[-1] <= 20


def test_silence_after_one_end_is_the_end_of_the_tunnel(scene):
    scene.client.shutdown(socket.SHUT_WR)
    after_a_turn = gevent.get_hub().loop.run_callback
    scene.channel.on_end = partial(after_a_turn, gevent.getcurrent().throw, Expired(TimeLimit.TUNNEL))
    assert list(scene.tunnel) == []


@pytest.mark.parametrize("limit", [TimeLimit.TUNNEL, TimeLimit.DRAINING])
def test_silence_of_an_open_tunnel_is_an_error(scene, limit):
    gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, Expired(limit))
    with pytest.raises(Expired):
        list(scene.tunnel)


def test_a_drain_ends_a_half_tunnel_with_an_error(scene):
    scene.tunnel._is_half = True
    gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, Expired(TimeLimit.DRAINING))
    with pytest.raises(Expired):
        list(scene.tunnel)


def test_a_reset_of_the_backend_ends_the_tunnel_at_once(scene):
    def reset(_limit):
        raise ConnectionResetError

    scene.channel._receive = reset
    scene.backend.sendall(b"x")
    with pytest.raises(ClientGone):
        list(scene.tunnel)


def test_a_client_that_resets_ends_the_backends_side(scene):
    def reset(_limit):
        raise ConnectionResetError

    scene.stream._receive = reset
    scene.client.sendall(b"x")
    list(scene.tunnel)
    assert scene.backend.recv(10) == b""


def test_the_connection_is_dropped_once(scene):
    scene.tunnel.close()
    scene.tunnel.close()
    assert scene.dropped == [scene.connection]
