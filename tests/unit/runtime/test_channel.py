"""The end of a peer, seen without reading."""

import socket
import struct

import pytest

from gproxy.runtime.channel import Channel


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    channel = Channel(ours)
    yield channel, peer
    channel.close()
    peer.close()


def test_an_open_peer_has_not_left(pair):
    channel, peer = pair
    assert not channel.has_left()
    peer.sendall(b"something")
    assert not channel.has_left()


def test_an_end_is_seen_behind_unread_bytes(pair):
    channel, peer = pair
    peer.sendall(b"something")
    peer.close()
    assert channel.has_left()
    assert channel.receive(100) == b"something"


def test_a_reset_is_seen_too(pair):
    channel, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert channel.has_left()
