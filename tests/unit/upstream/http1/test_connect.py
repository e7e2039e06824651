"""The race between the addresses of one backend, on the loopback interface."""

import errno
import gc
import os
import socket

import gevent
import pytest

from gproxy.upstream.http1 import connect
from gproxy.upstream.http1.connect import Endpoint


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def address_of(sock):
    try:
        return sock.getpeername()[0]
    finally:
        sock.close()


def test_an_address_has_its_family():
    assert Endpoint(["192.0.2.1", "2001:db8::1"], 80).targets == [
        (socket.AF_INET, ("192.0.2.1", 80)),
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
    ]


def test_a_path_is_a_unix_socket():
    assert Endpoint(path="/run/a.sock").targets == [(socket.AF_UNIX, "/run/a.sock")]


def test_the_first_address_that_answers_is_the_connection(server):
    assert address_of(Endpoint(["127.0.0.1", "127.0.0.2"], server).connect(5.0)) == "127.0.0.1"


def test_a_local_handshake_needs_no_turn_of_the_loop(server):
    other = gevent.spawn(lambda: None)
    assert address_of(Endpoint(["127.0.0.1"], server).connect(5.0)) == "127.0.0.1"
    assert not other.ready()  # the loop has not turned
    other.join()


def test_after_a_refusal_the_next_address_is_tried_and_goes_first_from_then_on(server):
    endpoint = Endpoint(["127.0.0.2", "127.0.0.3", "127.0.0.1"], server)  # the server has the last one only
    assert address_of(endpoint.connect(5.0)) == "127.0.0.1"
    assert [address for _, (address, _) in endpoint.targets] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


def test_the_first_refusal_is_the_reason():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused") as raised:
            Endpoint(["127.0.0.1", "127.0.0.2"], unused.getsockname()[1]).connect(5.0)
    assert raised.value.errno == errno.ECONNREFUSED


def test_without_an_address_connecting_fails_like_a_name_that_does_not_resolve():
    with pytest.raises(socket.gaierror):
        Endpoint().connect(5.0)


@pytest.fixture
def silent():
    """The port of 127.0.0.1 whose queue is full: connections there get no answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            waiting.append(sock)
        yield port
        for sock in waiting:
            sock.close()


def test_the_time_bounds_the_race(silent):
    with pytest.raises(TimeoutError):
        Endpoint(["127.0.0.1"], silent).connect(0.005)


def test_beside_a_silent_address_the_next_is_tried(silent, monkeypatch):
    monkeypatch.setattr(connect, "_STAGGER", 0.001)
    with socket.socket() as other:
        other.bind(("127.0.0.2", silent))
        other.listen()
        assert address_of(Endpoint(["127.0.0.1", "127.0.0.2"], silent).connect(5.0)) == "127.0.0.2"


def test_tcp_sockets_send_at_once_and_notice_a_dead_peer(server):
    sock = Endpoint(["127.0.0.1"], server).connect(5.0)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    sock.close()


def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        sock = Endpoint(path=path).connect(5.0)
        assert sock.getpeername() == path
        sock.close()


def test_a_unix_socket_that_is_full_is_a_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(connect, "_QUEUE_FULL", 0.001)
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(path)
        listening.listen(0)
        waiting.connect(path)
        with pytest.raises(TimeoutError):
            Endpoint(path=path).connect(0.005)


def test_a_race_leaves_no_descriptor_open(silent):
    gc.collect()  # closes what earlier tests have left
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TimeoutError):
        Endpoint(["127.0.0.1"], silent).connect(0.001)
    assert len(os.listdir("/proc/self/fd")) == before
