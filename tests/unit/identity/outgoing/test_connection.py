"""The stream of an answer, as the client for outgoing requests reads it."""

import io

import gevent
import pytest

from gproxy.identity.outgoing.connection import _LONGEST, _Metered


def metered():
    class Endless(io.RawIOBase):
        def readinto(self, buffer):
            return len(buffer)

    return _Metered(Endless())


def test_timers_and_sockets_have_their_turn_while_a_fast_peer_sends():
    fired = []
    timer = gevent.get_hub().loop.timer(0.0)
    timer.start(fired.append, True)
    stream, buffer = metered(), bytearray(100)
    for _ in range(10):  # gevent itself would look at timers after 50 greenlets that yield
        stream.readinto(buffer)
    timer.close()
    assert fired == [True]


def test_an_answer_is_bounded():
    stream = metered()
    stream.readinto(bytearray(_LONGEST))
    with pytest.raises(OSError, match="the answer exceeds 2097152 bytes"):
        stream.readinto(bytearray(1))
