"""Sends that do not wait: what is kept, when it goes out, and what becomes of it in the end."""

import gevent
import pytest

from gproxy.http.buffers import Buffers
from gproxy.http.errors import ClientGone
from gproxy.testing.scripted_channel import END, RESET, ScriptedChannel


@pytest.fixture
def scene():
    made = []

    def make(*script, takes=None, limit=100, buffers=1000):
        scripted = ScriptedChannel(script, takes=takes)
        scripted.client.buffers = Buffers(buffers)
        scripted.client.read_ahead(limit)
        made.append(scripted)
        return scripted

    yield make
    for one in made:
        one.close()
        assert one.client.buffers.used == 0


def turns(condition):
    """Let the event loop run until the condition holds."""
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0)


def test_what_the_kernel_takes_at_once_is_one_send(scene):
    some = scene()
    some.client.send_ahead(b"one")
    some.client.send_ahead(b"two")
    assert some.sends == [b"one", b"two"]
    assert some.client.buffers.used == 0


def test_the_rest_is_kept_and_the_loop_sends_it_in_order(scene):
    some = scene(takes=4)
    some.client.send_ahead(b"abcdef")
    some.client.send_ahead(b"ghi")
    assert some.sent == b"abcd"
    assert some.client.buffers.used == 5
    turns(lambda: some.sent == b"abcdefghi")
    assert some.sends == [b"abcd", b"efgh", b"i"]  # small pieces leave together
    assert some.client.buffers.used == 0
    some.client.send_ahead(b"xyz")
    assert some.sends[-1] == b"xyz"


@pytest.mark.parametrize(("takes", "kept"), [(None, 0), (2, 8), (4, 6), (7, 3)])
def test_a_head_and_a_body_leave_in_one_call_and_the_rest_of_both_is_kept(scene, takes, kept):
    some = scene(takes=takes)
    some.client.send_both_ahead(b"head", b"123456")
    assert some.actions == ["sendmsg"]
    assert some.client.buffers.used == kept
    turns(lambda: some.client.buffers.used == 0)
    assert some.sent == b"head123456"


def test_a_head_and_a_body_wait_behind_what_is_kept(scene):
    some = scene(takes=4)
    some.client.send_ahead(b"abcdef")
    some.client.send_both_ahead(b"head", b"body")
    assert some.client.buffers.used == 10
    turns(lambda: some.client.buffers.used == 0)
    assert some.sent == b"abcdefheadbody"


@pytest.mark.parametrize("takes", [None, 2, 4, 7])
def test_without_room_a_head_and_a_body_are_waited_for(scene, takes):
    for send in ("send_both", "send_both_ahead"):
        some = scene(takes=takes, limit=0)
        getattr(some.client, send)(b"head", b"123456")
        assert some.sent == b"head123456"


def test_a_reset_ends_a_send_of_a_head_and_a_body(scene):
    some = scene(RESET)
    with pytest.raises(ClientGone):
        some.client.send_both_ahead(b"head", b"body")


def test_large_pieces_are_not_joined(scene):
    some = scene(takes=30_000, limit=200_000, buffers=200_000)
    pieces = [bytes([n]) * 50_000 for n in range(3)]
    for piece in pieces:
        some.client.send_ahead(piece)
    turns(lambda: some.client.buffers.used == 0)
    assert some.sent == b"".join(pieces)
    assert [len(one) for one in some.sends] == [30_000, 20_000] * 3


@pytest.mark.parametrize(
    ("limit", "buffers", "kept"), [(0, 1000, 0), (6, 1000, 0), (7, 1000, 6), (100, 0, 0), (100, 6, 0)]
)
def test_it_waits_beyond_the_limits(scene, limit, buffers, kept):
    some = scene(takes=4, limit=limit, buffers=buffers)
    some.client.send_ahead(b"abcdefghij")
    assert some.client.buffers.used == kept
    assert some.sent == (b"abcd" if kept else b"abcdefghij")


def test_it_waits_only_until_there_is_room_again(scene):
    some = scene(takes=4, limit=10)
    for piece in (b"abcdef", b"ghijkl", b"mnopqr"):
        some.client.send_ahead(piece)
    assert some.sent == b"abcdefghijkl"
    assert some.client.buffers.used == 6
    turns(lambda: some.client.buffers.used == 0)
    assert some.sent == b"abcdefghijklmnopqr"


def test_flush_waits_for_all_of_it(scene):
    some = scene(takes=2)
    some.client.flush()
    some.client.send_ahead(b"abcd")
    some.client.send_ahead(b"efgh")
    some.client.flush()
    assert some.sent == b"abcdefgh"
    assert some.client.buffers.used == 0


def test_a_reset_is_reported_by_the_next_send_or_flush(scene):
    for finish in (lambda client: client.send_ahead(b"more"), lambda client: client.flush()):
        some = scene(END, takes=4)
        some.client.send_ahead(b"abcdef")
        some.add(RESET)
        some._socket.is_reset = True
        turns(lambda client=some.client: client._write_watcher is None)
        with pytest.raises(ClientGone):
            finish(some.client)


def test_a_close_forgets_what_is_kept(scene):
    some = scene(takes=4)
    some.client.send_ahead(b"abcdef")
    assert some.client.buffers.used == 2
    some.client.close()
    gevent.sleep(0)
    assert some.sent == b"abcd"
    assert some.client.buffers.used == 0


def test_a_limit_that_ends_a_flush_forgets_it_too(scene):
    some = scene(takes=4)
    some.client.send_ahead(b"abcdefghi")

    def full(data):
        raise BlockingIOError

    some.client._send = full
    with pytest.raises(gevent.Timeout), gevent.Timeout(0):
        some.client.flush()
    assert some.client.buffers.used == 0
    some.client.flush()
    assert some.sent == b"abcd"


def test_what_was_not_sent_is_counted_even_after_a_flush_that_failed(scene):
    some = scene(takes=4)
    some.client.send_ahead(b"abcdefghi")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0):
        some.client._send_kept(0)
    assert some.client.drop() == 5
    some = scene(takes=4)
    some.client.send_ahead(b"abcdef")
    assert some.client.drop() == 2
    assert some.client._write_watcher is None
