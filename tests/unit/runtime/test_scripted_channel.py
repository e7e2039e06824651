"""The scripted peer itself: steps in order, endings, and what it records."""

import gevent
import pytest

from gproxy.http.errors import ClientGone
from gproxy.testing.scripted_channel import END, RESET, After, ScriptedChannel

pytestmark = pytest.mark.timeout(10)


def test_steps_come_in_order_and_one_at_a_time(scripted):
    peer = scripted(b"one", b"two", END)
    channel = peer.backend
    assert [channel.receive(100) for _ in range(4)] == [b"one", b"two", b"", b""]


def test_a_step_longer_than_asked_for_comes_in_parts(scripted):
    peer = scripted(b"hello", b"!")
    assert [peer.backend.receive(2) for _ in range(4)] == [b"he", b"ll", b"o", b"!"]


def test_a_reset_is_raised_once_and_ends_sending(scripted):
    peer = scripted(b"one", RESET)
    channel = peer.client
    channel.send(b"a")
    assert channel.receive(100) == b"one"
    with pytest.raises(ClientGone):
        channel.receive(100)
    assert channel.is_closed
    with pytest.raises(ClientGone):
        channel.send(b"b")
    assert peer.sent == b"a"


def test_a_step_may_wait_for_what_is_sent(scripted):
    peer = scripted(After(b"go"), b"one", After(b"on"), b"two")
    channel = peer.backend
    with gevent.Timeout(0.001, False):
        channel.wait()
        raise AssertionError("the peer has spoken too early")
    channel.send(b"g")
    channel.send(b"o")
    assert channel.receive(100) == b"one"
    assert peer.remaining == [After(b"on"), b"two"]
    channel.send(b"n")
    assert channel.receive(100) == b"two"


def test_a_peer_that_takes_little_at_a_time(scripted):
    peer = scripted(takes=2)
    peer.backend.send(b"hello")
    assert peer.sends == [b"he", b"ll", b"o"]


def test_a_peer_that_ends_has_left(scripted):
    peer = scripted(b"one")
    assert not peer.client.has_left()
    peer.add(END)
    assert not peer.client.has_left()
    peer.client.receive(100)
    assert peer.client.has_left()


def test_what_is_done_to_the_connection_is_recorded():
    with ScriptedChannel([b"one"]) as peer:
        channel = peer.backend
        channel.shut_writing()
        channel.shut()
        assert channel.receive(100) == b""
        channel.abort()
        channel.close()
    assert peer.actions == ["shut_writing", "shut", "abort", "close"]


def test_leaving_the_block_closes_the_channel():
    with ScriptedChannel() as peer:
        peer.backend.send_last(b"bye")
    assert (peer.sent, peer.actions) == (b"bye", ["send_last", "close"])
