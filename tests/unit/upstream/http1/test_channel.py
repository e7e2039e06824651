"""Waiting for a backend while a client may leave, over socket pairs."""

import socket

import gevent
import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone
from gproxy.runtime.channel import Channel
from gproxy.upstream.http1 import channel as module
from gproxy.upstream.http1.channel import BackendChannel


class Pair:
    """A channel and its peer."""

    def __init__(self, kind):
        sock, self.peer = socket.socketpair()
        sock.setblocking(False)
        self.channel = kind(sock)

    def close(self):
        self.channel.close()
        self.peer.close()


@pytest.fixture
def backend():
    pair = Pair(BackendChannel)
    yield pair
    pair.close()


@pytest.fixture
def client():
    pair = Pair(Channel)
    yield pair
    pair.close()


def after_a_turn(function, *arguments):
    gevent.get_hub().loop.run_callback(function, *arguments)


def test_bytes_of_the_backend_end_the_wait(backend, client):
    backend.channel.client = client.channel
    after_a_turn(backend.peer.sendall, b"answer")
    assert backend.channel.receive(100) == b"answer"


def test_a_client_that_leaves_ends_the_wait(backend, client):
    backend.channel.client = client.channel
    after_a_turn(client.peer.close)
    with pytest.raises(ClientGone):
        backend.channel.wait()
    assert client.channel.is_closed


class SmallClient(Channel):
    """Wants small pieces."""

    def piece(self, size):
        return min(size, 3)


@pytest.mark.parametrize("role", ["client", "tunnel_client"])
def test_pieces_are_as_large_as_the_client_wants_them(backend, role):
    pair = Pair(SmallClient)
    setattr(backend.channel, role, pair.channel)
    after_a_turn(backend.peer.sendall, b"answer")
    assert backend.channel.receive(100) == b"ans"
    assert backend.channel.receive(2) == b"we"
    backend.peer.close()
    assert [backend.channel.receive(100), backend.channel.receive(100)] == [b"r", b""]
    pair.close()


class AskingClient(Channel):
    """Makes the backend answer once somebody has asked whether this client is gone."""

    __slots__ = ("answer",)

    def is_gone(self):
        gone = super().is_gone()
        after_a_turn(self.answer)
        return gone


def test_a_client_that_sends_more_does_not(backend):
    pair = Pair(AskingClient)
    pair.channel.answer = lambda: backend.peer.sendall(b"answer")
    backend.channel.client = pair.channel
    pair.peer.sendall(b"next request")
    assert backend.channel.receive(100) == b"answer"
    assert pair.channel.buffer == b"next request"
    pair.close()


def test_behind_a_pipelined_request_the_client_is_not_watched(backend, client):
    backend.channel.client = client.channel
    client.channel.buffer = b"next request"
    client.peer.close()
    after_a_turn(backend.peer.sendall, b"answer")
    assert backend.channel.receive(100) == b"answer"


def test_without_a_client_only_the_backend_counts(backend):
    after_a_turn(backend.peer.close)
    assert backend.channel.receive(100) == b""


def test_what_a_plain_backend_sends_is_http(backend):
    assert not backend.channel.has_spoken()
    backend.channel.has_event = True
    assert backend.channel.has_spoken()
    assert not backend.channel.is_quiet()
    backend.channel.has_event, backend.channel.buffer = False, b"x"
    assert backend.channel.has_spoken()


def fill(channel):
    try:
        while True:
            channel._raw.send(bytes(65536))
    except BlockingIOError:
        pass


@pytest.mark.parametrize("has_left", [True, False])
def test_an_upload_that_the_backend_does_not_take_ends_with_its_client(backend, client, monkeypatch, has_left):
    monkeypatch.setattr(module, "_CHECK", 0.001)
    backend.channel.uploader, backend.channel.deadline = client.channel, Deadline()
    fill(backend.channel)
    if has_left:
        client.peer.close()
        with pytest.raises(ClientGone):
            backend.channel.wait_writable()
    else:
        backend.channel.wait_writable()  # returns, so that the sender tries again


def test_a_backend_that_takes_bytes_again_ends_the_wait(backend, client):
    backend.channel.uploader, backend.channel.deadline = client.channel, Deadline()
    client.peer.close()
    fill(backend.channel)
    backend.peer.setblocking(False)
    after_a_turn(lambda: [backend.peer.recv(1 << 20) for _ in range(2)])
    backend.channel.wait_writable()


@pytest.fixture
def renewals():
    """A deadline, and the times that it was started anew."""
    seen = []
    deadline = Deadline()
    deadline.progress = seen.append
    return deadline, seen


def test_a_wait_that_ends_starts_the_deadline_anew(backend, renewals):
    backend.channel.deadline, seen = renewals
    fill(backend.channel)
    backend.peer.setblocking(False)
    after_a_turn(lambda: [backend.peer.recv(1 << 20) for _ in range(2)])
    backend.channel.wait_writable()
    assert seen == [False]


@pytest.mark.parametrize(("takes", "expected"), [(True, [False]), (False, [])])
def test_the_kernel_shows_whether_the_backend_takes_bytes(backend, monkeypatch, renewals, takes, expected):
    """The channel stays full for the event loop, and yet the backend has read some bytes."""
    monkeypatch.setattr(module, "_CHECK", 0.01)
    backend.channel.deadline, seen = renewals
    fill(backend.channel)
    if takes:
        after_a_turn(backend.peer.recv, 65536)
    backend.channel.wait_writable()
    assert seen == expected


def test_the_end_of_an_upload_is_the_last_byte_that_the_backend_takes(backend, monkeypatch, renewals):
    """The backend reads a piece each time that the deadline is started anew."""
    monkeypatch.setattr(module, "_CHECK", 0.01)
    backend.channel.deadline, seen = renewals
    for _ in range(3):
        backend.channel.send(bytes(1000))
    backend.channel.deadline.progress = lambda taken: (seen.append(taken), backend.peer.recv(1000))
    backend.peer.setblocking(False)
    after_a_turn(backend.peer.recv, 1000)
    with pytest.raises(BlockingIOError):
        backend.channel.await_end_of_upload()
    assert seen == [False] * 3


def test_an_upload_that_was_taken_needs_no_wait(backend, renewals):
    backend.channel.deadline, seen = renewals
    backend.channel.await_end_of_upload()
    assert seen == []


def test_a_response_ends_the_wait_for_the_end_of_an_upload(backend, renewals):
    backend.channel.deadline, seen = renewals
    backend.channel.send(b"upload")
    after_a_turn(backend.peer.sendall, b"answer")
    backend.channel.await_end_of_upload()
    assert backend.channel.receive(100) == b"answer"
    assert seen == []
