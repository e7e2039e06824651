"""What a stream has received and not read: pieces, windows, ends."""

import gevent
import pytest

from gproxy.http.h2.frames import CANCEL, NO_ERROR

pytestmark = pytest.mark.timeout(20)


def arrived(some, *pieces, end=False):
    """Return the server's end of a stream with these pieces, and the client's."""
    ours, theirs = some.open(end=False)
    for position, piece in enumerate(pieces):
        some.client.send_data(theirs, piece, end=end and position == len(pieces) - 1)
    some.say()
    return ours, theirs


def test_pieces_are_read_together_as_far_as_the_limit_admits(scene):
    ours, _ = arrived(scene(), bytes(2000), bytes(3000), bytes(4000))
    assert [len(ours.read(5500)), len(ours.read(5500)), len(ours.take(5500))] == [5000, 4000, 0]


def test_a_piece_beyond_the_limit_is_split(scene):
    ours, _ = arrived(scene(), b"abcdef", end=True)
    assert [ours.read(4), ours.read(4), ours.read(4)] == [b"abcd", b"ef", b""]
    assert ours.is_complete


def test_a_reader_waits_for_bytes_and_for_the_end(scene):
    some = scene()
    ours, theirs = arrived(some)
    reading = gevent.spawn(lambda: [ours.read(100), ours.read(100)])
    some.turn()
    some.client.send_data(theirs, b"some", end=False)
    some.say()
    some.turn()
    assert not reading.ready()
    some.client.send_data(theirs, b"", end=True)
    some.say()
    assert reading.get(timeout=5) == [b"some", b""]


def test_an_event_is_seen_once(scene):
    ours, _ = arrived(scene(), b"some")
    assert ours.has_event
    assert ours.has_unread()
    assert not ours.is_gone()
    assert not ours.has_event


def test_what_is_read_returns_to_the_windows(scene):
    some = scene()
    ours, theirs = arrived(some, bytes(50_000))
    some.pump()
    before = some.client.sendable(theirs)
    ours.read(1 << 20)
    some.pump()
    assert some.client.sendable(theirs) >= before + 50_000


def test_a_reset_drops_what_is_incomplete_and_wakes_the_reader(scene):
    some = scene()
    ours, theirs = arrived(some, b"some")
    some.client.reset(theirs, CANCEL)
    some.say()
    assert ours.is_gone()
    assert ours.has_left()
    with pytest.raises(ConnectionError):
        ours.read(100)


def test_a_message_that_is_complete_outlives_a_reset(scene):
    some = scene()
    ours, theirs = arrived(some, b"some", end=True)
    some.client.reset(theirs, NO_ERROR)
    some.say()
    assert [ours.read(100), ours.read(100)] == [b"some", b""]


def test_a_reset_of_this_side_wakes_another_greenlet_that_reads(scene):
    some = scene()
    ours, _ = arrived(some)
    reading = gevent.spawn(ours.read, 100)
    some.turn()
    ours.reset()
    with pytest.raises(ConnectionError):
        reading.get(timeout=5)


@pytest.mark.parametrize("end", [False, True])
def test_what_nobody_reads_returns_to_the_connection(scene, end):
    some = scene()
    for _ in range(20):  # more than the window of the connection, which is 1 MiB
        ours, _ = arrived(some, bytes(60_000), end=end)
        ours.reset()
        ours.release()
        some.pump()
