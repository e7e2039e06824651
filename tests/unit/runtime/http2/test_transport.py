"""One socket for many streams: one send a turn, the order of sending, the bound of what is unsent."""

import sys

import gevent
import pytest

from gproxy.http.buffers import Buffers
from gproxy.http.h2.frames import DATA, DATA_PIECE, frame_head
from gproxy.http.headers import Headers
from gproxy.runtime.http2.transport import MAX_UNSENT

SMALL = 65535


def respond(stream, body, *, end=True):
    stream.session.respond(stream.stream, 200, Headers(), end=False)
    stream.send(body, end=end)


def respond_soon(stream, body):
    return gevent.spawn(respond, stream, body)


def test_what_streams_append_in_one_turn_leaves_in_one_send(scene):
    some = scene()
    streams = [some.open()[0] for _ in range(3)]
    before = len(some.scripted.sends)
    for one in streams:
        respond(one, b"small")
    assert len(some.scripted.sends) == before
    some.turn()
    assert len(some.scripted.sends) == before + 1


def test_a_lot_is_sent_at_once(scene):
    some = scene()
    stream, _ = some.open()
    before = len(some.scripted.sends)
    respond(stream, bytes(100_000))
    assert len(some.scripted.sends) == before + 1
    assert len(some.scripted.sends[-1]) > 100_000


def test_a_frame_of_a_long_piece_fills_a_tls_record(scene):
    some = scene()
    stream, _ = some.open()
    respond(stream, bytes(100_000))
    some.pump()
    sizes = [len(one.data) for one in some.events if getattr(one, "data", None)]
    assert sizes == [DATA_PIECE] * 6 + [100_000 - 6 * DATA_PIECE]


def test_a_piece_beyond_the_window_waits_and_no_other_stream_does(scene):
    some = scene(window=SMALL)
    (slow, slow_theirs), (fast, fast_theirs) = some.open(), some.open()
    waiting = respond_soon(slow, bytes(100_000))
    some.pump()
    assert len(some.content(slow_theirs)[0]) == SMALL
    assert not waiting.ready()
    respond(fast, b"fast")
    some.pump()
    assert some.content(fast_theirs) == (b"fast", True)
    some.client.consumed(slow_theirs, SMALL)
    some.pump()
    assert waiting.ready()
    assert some.content(slow_theirs) == (bytes(100_000), True)


def test_the_window_of_the_connection_stops_all_and_the_most_urgent_goes_on_first(scene):
    some = scene()
    some.session._windows.send_window = 0
    streams = [some.open(priority=priority)[0] for priority in ("u=5", "u=1", None)]
    for one in streams:
        respond_soon(one, b"x")
    some.pump()
    assert some.order() == []
    some.session._windows.send_window = 100
    some.transport.flush()
    some.pump()
    assert some.order() == [streams[1].stream.id, streams[2].stream.id, streams[0].stream.id]


def queued(some, *priorities, size=40_000, order=iter):
    """Return streams whose responses wait, in this order, behind one that fills the connection."""
    first, _ = some.open(priority="u=0")
    made = [some.open(priority=one)[0] for one in priorities]
    respond(first, bytes(MAX_UNSENT))
    for one in order(made):
        respond_soon(one, bytes(size))
    some.turn()
    return [one.stream.id for one in made]


def order_behind_the_first(some):
    """Return the ids in the order of their frames, without repetitions."""
    some.pump()
    ids = [one for one in some.order() if one != 1]
    return [one for position, one in enumerate(ids) if position == 0 or ids[position - 1] != one]


@pytest.mark.parametrize("order", [iter, reversed])
def test_more_urgent_streams_are_sent_first_and_others_in_the_order_of_their_ids(scene, order):
    some = scene(takes=20_000)
    late, urgent, first, second = queued(some, "u=6", "u=1", None, None, order=order)
    assert order_behind_the_first(some) == [urgent, first, second, late]


def test_incremental_streams_take_turns_behind_those_that_are_not(scene):
    some = scene(takes=20_000)
    one, two, whole = queued(some, "i", "i", None)
    assert order_behind_the_first(some) == [whole, one, two, one, two, one, two]


def test_a_stream_that_waits_for_long_gets_a_frame(scene):
    some = scene(takes=64 * 1024)
    long, late = queued(some, "u=1", "u=6", size=900_000)
    order = order_behind_the_first(some)
    assert order[:2] == [long, late]
    assert order[2:4] == [long, late]  # one frame, then the urgent one again


def test_a_priority_that_changes_counts_from_then_on(scene):
    some = scene(takes=20_000)
    one, two = queued(some, None, None)
    some.session.streams[two].prioritize("u=0")
    assert order_behind_the_first(some) == [two, one]


def test_streams_append_at_most_so_much_before_the_kernel_takes_it(scene):
    some = scene(takes=1000)
    sizes = []
    for _ in range(6):
        stream, _ = some.open()
        respond_soon(stream, bytes(100_000))
        gevent.sleep(0)
        sizes.append(some.transport.backlog)
    assert max(sizes) < MAX_UNSENT + 100_000 + 1000


def test_a_long_piece_waits_until_the_kernel_takes_it(scene):
    some = scene(takes=1000)
    stream, _ = some.open()
    responding = respond_soon(stream, bytes(900_000))
    some.turn()
    assert some.transport.backlog < MAX_UNSENT
    assert not responding.ready()
    some.pump()
    responding.get(timeout=5)


def test_a_head_waits_for_room_too(scene):
    some = scene(takes=1000)
    full, _ = some.open()
    respond(full, bytes(MAX_UNSENT), end=False)
    full.send(bytes(DATA_PIECE), end=True)
    stream, _ = some.open()
    stream.buffers = Buffers(1 << 20)
    waiting = gevent.spawn(stream.await_head, 1000)
    some.turn()
    assert not waiting.ready()
    assert stream.buffers.used == 1000  # what is at hand of the body
    waiting.join(5)
    assert some.transport.backlog < MAX_UNSENT
    assert stream.buffers.used == 0


def test_a_reset_wakes_what_waits_to_send(scene):
    some = scene(window=SMALL)
    stream, theirs = some.open()
    waiting = respond_soon(stream, bytes(100_000))
    some.pump()
    some.client.reset(theirs, 8)
    some.pump()
    with pytest.raises(ConnectionError):
        waiting.get()
    assert stream.reset_code == 8
    assert stream.drop() == 100_000 - SMALL


def test_a_failed_send_ends_the_connection(scene):
    some = scene()
    stream, _ = some.open()
    some.scripted.socket.is_reset = True
    respond(stream, b"lost")
    some.turn()
    assert some.transport.is_lost
    assert some.transport.read() is None
    assert not some.transport.may_append(stream.stream)


def test_a_read_has_at_most_64_kib_and_the_loop_runs_between_two(scene):
    some = scene()
    _, theirs = some.open(end=False)
    frame = frame_head(7, DATA, 0, theirs.id) + bytes(7)
    some.scripted.add(frame * (3 * 65_536 // len(frame)))
    turns = []
    counting = gevent.spawn(lambda: [turns.append(some.wait_writable()) for _ in range(1000)])
    found = [len(some.transport.read()) for _ in range(2)]
    counting.kill()
    assert found == [65_536 // len(frame)] * 2
    assert turns


def test_all_output_can_be_waited_for(scene):
    some = scene(takes=1000)
    stream, _ = some.open()
    respond(stream, bytes(100_000))
    some.transport.flush_all()
    assert some.transport.backlog == 0
    assert len(some.scripted.sent) > 100_000


def test_small_pieces_that_nobody_reads_take_little_more_memory_than_their_bytes(scene):
    some = scene()
    stream, theirs = some.open(end=False)
    for _ in range(4000):
        some.client.send_data(theirs, b"ab", end=False)
    some.say()
    assert sum(map(sys.getsizeof, stream._pieces)) < 10_000
    assert stream.read(8000) == b"ab" * 4000


def test_trailers_that_cannot_be_sent_are_an_error_of_who_sends_them(scene):
    some = scene(window=SMALL)
    ours, theirs = some.open()
    ours.session.respond(ours.stream, 200, Headers(), end=False)
    ours.send_ahead_limit, ours.buffers = 1 << 20, Buffers(1 << 20)
    ours.send(bytes(100_000))  # waits for window
    finishing = gevent.spawn(ours.finish, [("x-sum", "\u20ac")])
    some.pump()
    some.client.consumed(theirs, SMALL)
    some.pump()
    with pytest.raises(UnicodeEncodeError):
        finishing.get(timeout=5)
