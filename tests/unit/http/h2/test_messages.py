"""Heads, content and trailers: which streams open, what is malformed, and that content is as long as it says."""

import pytest

from gproxy.http.h2 import frames
from gproxy.http.h2.stream import CLOSED, HALF_CLOSED_REMOTE, OPEN
from unit.http.h2.conversation import GET, OK, POST, Peer, client, data, failure, resets, updates


def with_length(size, fields=POST):
    return [*fields, ("content-length", str(size))]


def malformed(peer, *data, code=frames.PROTOCOL_ERROR, stream_id=1):
    """Check that these frames reset a stream, and that the session goes on; return the event's detail."""
    *_, event = peer.send(*data)
    assert (type(event).__name__, event.code, event.stream.id) == ("StreamMalformed", code, stream_id)
    assert resets(peer) == [(stream_id, code)]
    assert event.stream.is_closed
    assert stream_id not in peer.session.streams
    assert peer.session.failure is None
    return event.detail


# Requests


def test_a_head_opens_a_stream():
    peer = Peer()
    one, other = peer.send(peer.headers(1), peer.headers(3, POST, end=False))
    assert (one.ended, one.stream.id, one.stream.state, one.head.method) == (True, 1, HALF_CLOSED_REMOTE, "GET")
    assert (other.ended, other.stream.id, other.stream.state, other.head.method) == (False, 3, OPEN, "POST")
    assert list(peer.session.streams) == [1, 3]
    assert (peer.session.last_id, peer.session.accepted_id, peer.session.under_way) == (3, 3, 2)


def test_equal_blocks_have_one_head():
    peer = Peer()
    peer.send(peer.headers(1))
    one, other = peer.send(peer.headers(3), peer.headers(5))
    assert one.head is other.head


@pytest.mark.parametrize("stream_id", [2, 4, 2**31 - 2])
def test_a_client_opens_odd_streams(stream_id):
    peer = Peer()
    assert failure(peer, peer.headers(stream_id)) == frames.PROTOCOL_ERROR


def test_the_ids_of_streams_grow():
    peer = Peer()
    peer.open(5)
    assert failure(peer, peer.headers(3)) == frames.STREAM_CLOSED


def test_the_last_id_can_be_used():
    peer = Peer()
    assert peer.open(2**31 - 1).id == 2**31 - 1


def test_a_malformed_head_resets_its_stream_and_is_readable_in_the_log():
    peer = Peer()
    (event,) = peer.send(peer.headers(1, [*GET, ("Bad", "x")]))
    assert (event.line, event.stream.is_counted, event.code) == (("GET", "/", "HTTP/2.0"), False, frames.PROTOCOL_ERROR)
    assert resets(peer) == [(1, frames.PROTOCOL_ERROR)]
    assert (peer.session.under_way, peer.session.streams) == (0, {})
    assert peer.names(peer.headers(3)) == ["HeadReceived"]


def test_a_rejected_head_can_be_answered():
    peer = Peer()
    (event,) = peer.send(peer.headers(1, [*GET[:2], GET[3]]))
    assert (type(event).__name__, event.error.status, event.ended) == ("StreamRejected", 400, True)
    assert peer.session.under_way == 1
    peer.answer(event.stream)
    peer.session.ended(event.stream)
    assert [type(one).__name__ for one in peer.taken()] == ["HeadersFrame", "DataFrame"]
    assert (peer.session.under_way, peer.session.streams) == (0, {})


def test_a_head_that_is_too_large_is_rejected_and_the_table_stays_right():
    peer = Peer(max_head=1000)
    big = [*GET, ("x-big", "b" * 900), ("x-more", "m" * 100)]
    assert [event.error.status for event in peer.send(peer.headers(1, big), peer.headers(3, big))] == [431, 431]
    (event,) = peer.send(peer.headers(5, [*GET, ("x-more", "m" * 100)]))
    assert event.head.headers["x-more"] == "m" * 100


def test_extended_connect_needs_the_option():
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]
    peer = Peer()
    (event,) = peer.send(peer.headers(1, fields, end=False))
    assert (event.head.protocol, event.head.method) == ("websocket", "GET")
    peer = Peer(enable_connect=False)
    malformed(peer, peer.headers(1, fields, end=False))


@pytest.mark.parametrize(
    ("value", "frame", "expected"),
    [("", "", (3, False)), ("u=1, i", "", (1, True)), ("u=1, i", "u=5", (5, False)), ("", "i", (3, True))],
)
def test_a_priority_comes_by_field_or_by_a_frame_ahead(value, frame, expected):
    peer = Peer()
    update = frames.frame(frames.PRIORITY_UPDATE, 0, 0, (1).to_bytes(4, "big") + frame.encode()) if frame else b""
    (event,) = peer.send(update, peer.headers(1, [*GET, *([("priority", value)] if value else [])]))
    assert (event.stream.urgency, event.stream.incremental) == expected
    assert peer.session._early_priorities == {}


# Content


def test_content_is_passed_on_as_it_comes():
    peer = Peer()
    stream = peer.open(1)
    one, two, end = peer.send(data(1, b"ab"), data(1, b"c"), data(1, b"", end=True))
    assert [(event.data, event.ended) for event in (one, two, end)] == [(b"ab", False), (b"c", False), (b"", True)]
    assert (stream.state, stream.unread) == (HALF_CLOSED_REMOTE, 3)


@pytest.mark.parametrize(
    "pieces",
    [
        [data(1, b"hello", end=True)],
        [data(1, b"hel"), data(1, b"lo", end=True)],
        [data(1, b"hello", padding=7), data(1, b"", end=True)],
        [data(1, b"hello"), data(1), data(1, padding=3), data(1, b"", end=True)],
    ],
)
def test_the_piece_that_completes_the_content_waits_for_the_end(pieces):
    peer = Peer()
    stream = peer.open(1, with_length(5))
    before = peer.send(*pieces[:-1])
    assert all(not event.ended for event in before)
    (last,) = peer.send(pieces[-1])
    assert last.ended
    assert b"".join(event.data for event in (*before, last)) == b"hello"
    assert (stream.unread, stream.held, stream.owed) == (5, b"", 0)
    assert sum(len(event.data) for event in before) < 5


def test_trailers_end_the_content_too():
    peer = Peer()
    peer.open(1, with_length(5))
    assert peer.send(data(1, b"hello")) == []
    piece, end = peer.send(peer.headers(1, [("x-sum", "1")]))
    assert (piece.data, piece.ended, end.pairs) == (b"hello", False, [("x-sum", "1")])


@pytest.mark.parametrize(
    "pieces",
    [
        [data(1, b"hell", end=True)],
        [data(1, b"hello!")],
        [data(1, b"hello"), data(1, b"!")],
        [data(1, b"hello"), data(1, b"!", end=True)],
        [data(1, b"", end=True)],
        [data(1, b"hello!", end=True)],
    ],
)
def test_content_of_another_length_is_malformed_before_it_is_complete(pieces):
    peer = Peer()
    peer.open(1, with_length(5))
    passed = b"".join(event.data for event in peer.send(*pieces[:-1]))
    malformed(peer, pieces[-1])
    assert len(passed) < 5


def test_trailers_before_the_content_is_complete_are_malformed():
    peer = Peer()
    peer.open(1, with_length(5))
    peer.send(data(1, b"hell"))
    malformed(peer, peer.headers(1, [("x-sum", "1")]))


def test_a_length_without_content_is_malformed():
    peer = Peer()
    malformed(peer, peer.headers(1, with_length(5)))
    (event,) = peer.send(peer.headers(3, with_length(0)))
    assert event.ended


def test_a_length_of_0_may_end_later():
    peer = Peer()
    peer.open(1, with_length(0))
    (event,) = peer.send(data(1, b"", end=True))
    assert (event.data, event.ended) == (b"", True)
    peer.open(3, with_length(0))
    malformed(peer, data(3, b"x"), stream_id=3)


@pytest.mark.parametrize(("padding", "size"), [(0, 0), (255, 10), (1, 16000)])
def test_padding_is_taken_off(padding, size):
    peer = Peer()
    stream = peer.open(1)
    (event,) = peer.send(data(1, b"x" * size, padding=padding, end=True))
    assert (len(event.data), stream.unread) == (size, size)


@pytest.mark.parametrize("payload", [b"", b"\1", b"\xffabc"])
def test_padding_is_shorter_than_its_frame(payload):
    peer = Peer()
    peer.open(1)
    assert failure(peer, frames.frame(frames.DATA, frames.PADDED, 1, payload)) == frames.PROTOCOL_ERROR


@pytest.mark.parametrize("late", [data(1, b"x"), data(1, b"", end=True), "headers"])
def test_a_half_closed_stream_receives_nothing(late):
    peer = Peer()
    peer.send(peer.headers(1))
    malformed(peer, peer.headers(1) if late == "headers" else late, code=frames.STREAM_CLOSED)


# Trailers


def test_trailers_end_a_stream():
    peer = Peer()
    stream = peer.open(1)
    piece, end = peer.send(data(1, b"x"), peer.headers(1, [("x-a", "1"), ("x-a", "2")]))
    assert (piece.ended, end.pairs) == (False, [("x-a", "1"), ("x-a", "2")])
    assert stream.state == HALF_CLOSED_REMOTE


def test_trailers_without_the_end_are_malformed():
    peer = Peer()
    peer.open(1)
    malformed(peer, peer.headers(1, [("x-a", "1")], end=False))


@pytest.mark.parametrize("field", [(":path", "/"), ("X-Upper", "1"), ("connection", "close"), ("x", "a\r\nb")])
def test_malformed_trailers_reset_their_stream(field):
    peer = Peer()
    peer.open(1)
    malformed(peer, peer.headers(1, [field]))


# Responses


def test_a_response_has_interim_heads_a_head_content_and_trailers():
    peer = client()
    stream = peer.request()
    events = peer.send(
        peer.headers(1, [(":status", "103"), ("link", "x")], end=False),
        peer.headers(1, OK, end=False),
        data(1, b"abc"),
        peer.headers(1, [("grpc-status", "0")]),
    )
    interim, head, piece, end = events
    assert (interim.head.status, head.head.status, head.ended) == (103, 200, False)
    assert (piece.data, end.pairs) == (b"abc", [("grpc-status", "0")])
    assert (stream.state, peer.session.streams) == (CLOSED, {})


def test_a_response_may_come_while_the_request_is_sent():
    peer = client()
    stream = peer.request("POST", end=False)
    (event,) = peer.send(peer.headers(1, OK))
    assert (event.ended, stream.state) == (True, HALF_CLOSED_REMOTE)
    peer.session.send_data(stream, b"x", end=True)
    assert (stream.state, peer.session.streams) == (CLOSED, {})


@pytest.mark.parametrize(
    ("method", "fields", "ends"),
    [
        ("HEAD", with_length(5, OK), True),
        ("HEAD", with_length(5, OK), False),
        ("GET", with_length(5, [(":status", "304")]), True),
        ("GET", with_length(5, [(":status", "304")]), False),
        ("GET", [(":status", "204")], True),
    ],
)
def test_some_responses_have_no_content_whatever_their_length(method, fields, ends):
    peer = client()
    peer.request(method)
    (event,) = peer.send(peer.headers(1, fields, end=ends))
    assert event.ended is ends
    if not ends:
        (end,) = peer.send(data(1, b"", end=True))
        assert (end.data, end.ended) == (b"", True)


def test_content_after_head_is_malformed():
    peer = client()
    peer.request("HEAD")
    peer.send(peer.headers(1, with_length(5, OK), end=False))
    malformed(peer, data(1, b"hello", end=True))


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ([(":status", "100")], True),
        ([(":status", "101")], False),
        ([(":status", "20")], True),
        ([("x", "y")], True),
        (GET, True),
        (with_length(5, OK), True),
        ([*OK, ("connection", "close")], True),
        ([*OK, *OK], True),
    ],
)
def test_a_malformed_response_fails_its_stream_alone(fields, end):
    peer = client()
    peer.request()
    peer.request()
    malformed(peer, peer.headers(1, fields, end=end))
    assert peer.names(peer.headers(3, OK)) == ["HeadReceived"]


@pytest.mark.parametrize("before", [[], [[(":status", "100")]]])
def test_content_before_the_head_of_a_response_is_malformed(before):
    peer = client()
    peer.request()
    for fields in before:
        peer.send(peer.headers(1, fields, end=False))
    malformed(peer, data(1, b"x"))


def test_a_length_of_a_response_is_checked_too():
    peer = client()
    peer.request()
    peer.send(peer.headers(1, with_length(3, OK), end=False))
    malformed(peer, data(1, b"ab", end=True))


@pytest.mark.parametrize("stream_id", [1, 3, 2])
def test_a_server_opens_no_streams(stream_id):
    peer = client()
    assert failure(peer, peer.headers(stream_id, OK)) == frames.PROTOCOL_ERROR


# Windows for receiving (section 5 row 9 of the design)


def test_the_window_of_what_was_read_comes_back_in_steps():
    peer = Peer()
    stream = peer.open(1)
    other = peer.open(3)
    peer.send(data(1, b"x" * 16384), data(1, b"x" * 16384), data(3, b"y"))
    peer.session.consumed(stream, 32767)
    assert updates(peer) == {}
    peer.session.consumed(stream, 1)
    assert updates(peer) == {1: 32768 + 65536}  # half of it, and the window doubles
    assert (stream.unread, other.unread) == (0, 1)


def fill(peer, stream_id, size):
    for begin in range(0, size, 16384):
        peer.send(data(stream_id, bytes(min(16384, size - begin))))


def test_a_window_grows_up_to_its_share_while_its_reader_keeps_up():
    peer = Peer()
    stream = peer.open(1)
    sizes = []
    for _ in range(400):
        fill(peer, 1, 16384)
        peer.session.consumed(stream, 16384)
        sizes.append(stream.size)
    assert sorted(set(sizes)) == [65536 << power for power in range(4)]
    assert stream.receive_window > stream.size // 2
    assert peer.session._windows.receive_window > 2**19


def test_a_reader_that_stops_leaves_window_to_other_streams():
    peer = Peer()
    stream = peer.open(1)
    for _ in range(400):
        fill(peer, 1, 16384)
        peer.session.consumed(stream, 16384)
    fill(peer, 1, stream.receive_window)
    other = peer.open(3)
    for _ in range(100):  # more than the connection's window
        fill(peer, 3, 16384)
        peer.session.consumed(other, 16384)
    assert peer.session._windows.receive_window > 65536


def test_a_window_with_a_slow_reader_does_not_grow():
    peer = Peer()
    stream = peer.open(1)
    fill(peer, 1, 65536)
    for _ in range(40):
        peer.session.consumed(stream, 16384)
        fill(peer, 1, min(16384, stream.receive_window))
    assert stream.size == 65536


def test_windows_of_many_streams_do_not_grow_beyond_that_of_the_connection():
    peer = Peer()
    streams = [peer.open(stream_id) for stream_id in range(1, 33, 2)]
    for _ in range(40):
        for stream in streams:
            fill(peer, stream.id, 16384)
            peer.session.consumed(stream, 16384)
    assert {stream.size for stream in streams} == {65536}


def test_unread_content_of_all_streams_is_bounded_by_the_window_of_the_connection():
    peer = Peer()
    for stream_id in range(1, 33, 2):
        peer.open(stream_id)
        fill(peer, stream_id, 65536)
    assert sum(stream.unread for stream in peer.session.streams.values()) == 2**20
    peer.open(33)
    assert failure(peer, data(33, b"x")) == frames.FLOW_CONTROL_ERROR


def stalled(peer, count):
    """Fill the windows of so many streams, which nobody reads; return them."""
    streams = [peer.open(1 + 2 * number) for number in range(count)]
    for stream in streams:
        fill(peer, stream.id, 65536)
    return streams


def upload(peer, stream_id, size):
    """Send content that is read as it comes, within the windows."""
    stream = peer.open(stream_id)
    for _ in range(0, size, 8192):
        fill(peer, stream_id, 8192)
        peer.session.consumed(stream, 8192)


def test_uploads_that_nobody_reads_keep_no_window_while_the_process_has_room():
    peer = Peer(buffers=1 << 26, max_streams=128)
    streams = stalled(peer, 127)
    assert peer.buffers.used == 127 * 65536
    upload(peer, 255, 1 << 22)
    assert peer.session.failure is None
    assert peer.session.withheld == 0
    for stream in streams:
        peer.session.consumed(stream, 65536)
    windows = peer.session._windows
    assert windows.receive_window + windows.unreturned == 2**20
    assert peer.buffers.used == 0


@pytest.mark.parametrize("count", [8, 15])
def test_without_room_other_uploads_go_on_until_the_window_is_used_up(count):
    """Half of the window is a step: a step of what is left must not be larger than that."""
    peer = Peer()
    stalled(peer, count)
    upload(peer, 101, 1 << 22)
    assert peer.session.failure is None


def test_what_was_unread_when_the_room_ended_keeps_no_window():
    peer = Peer(buffers=20 * 65536 + 1)
    stalled(peer, 36)  # 20 with room, and 16 without
    assert peer.session.failure is None
    assert (peer.session.withheld, peer.session._windows.receive_window) == (2**20, 0)
    assert peer.buffers.used == 36 * 65536


def test_a_withheld_window_comes_back_once_when_there_is_room_and_not_again_when_it_is_read():
    peer = Peer()
    streams = stalled(peer, 16)
    assert (peer.session.withheld, peer.session._windows.receive_window) == (2**20, 0)
    peer.session.release_withheld()
    assert peer.session.withheld == 2**20  # still no room
    peer.buffers.remove(2**20 + 1)  # as if another one had kept it
    peer.taken()
    peer.session.release_withheld()
    assert updates(peer) == {0: 2**20}
    peer.buffers.add(1)
    for stream in streams:
        peer.session.consumed(stream, 65536)
    assert 0 not in updates(peer)
    assert peer.session._windows.receive_window == 2**20


def test_a_withheld_window_comes_back_by_whatever_is_read_first():
    """What was read of a stream has no name: each byte read gives back one that is withheld."""
    peer = Peer(buffers=65536)
    (early, _) = stalled(peer, 2)
    assert peer.session.withheld == 65536 + 16384
    peer.session.consumed(early, 65536)
    assert peer.session.withheld == 16384


def test_more_than_the_window_of_a_stream_resets_it():
    peer = Peer()
    peer.open(1)
    fill(peer, 1, 65536)
    malformed(peer, data(1, b"x"), code=frames.FLOW_CONTROL_ERROR)
    assert peer.session._windows.unreturned == 65537


def test_padding_comes_back_without_a_reader():
    peer = Peer()
    stream = peer.open(1)
    sent = 0
    while stream.receive_window > 300:
        peer.send(data(1, b"", padding=255))
        peer.now += 1  # an empty frame costs a token
        sent += 256
        if sent > 200_000:
            break
    assert sent > 200_000
    assert stream.unread == 0
    assert peer.session.failure is None
    assert updates(peer)[1] >= sent - 32768
    windows = peer.session._windows
    assert windows.receive_window + windows.unreturned == 2**20


def test_padding_of_a_response_comes_back_once():
    peer = client()
    peer.request()
    peer.send(peer.headers(1, OK, end=False))
    for _ in range(100):
        peer.send(data(1, b"x", padding=255))
    windows = peer.session._windows
    assert windows.receive_window + windows.unreturned == 2**20


def test_the_window_of_a_reset_stream_comes_back():
    peer = Peer()
    for number in range(100):
        stream_id = 2 * number + 1
        stream = peer.open(stream_id)
        fill(peer, stream_id, 65536)
        if number % 3 == 0:
            peer.send(frames.rst_stream(stream_id, 8))
        elif number % 3 == 1:
            peer.session.reset(stream, frames.CANCEL)
        else:
            peer.send(data(stream_id, b"", end=True))
            peer.answer(stream)
        peer.session.consumed(stream, 65536)
        peer.session.consumed(stream, 65536)  # what was returned is not returned again
        peer.session.ended(stream)
        peer.taken()
    windows = peer.session._windows
    assert windows.receive_window + windows.unreturned == 2**20
    assert peer.session.under_way == 0


def test_the_window_of_a_complete_message_comes_back_when_it_is_read_or_its_greenlet_ends():
    """A client that resets complete uploads must not fill the memory beyond the window of the connection."""
    peer = Peer()
    stream = peer.open(1)
    peer.send(data(1, b"x" * 1000, end=True), frames.rst_stream(1, 8))
    windows = peer.session._windows
    assert (stream.unread, windows.unreturned) == (1000, 0)
    peer.session.consumed(stream, 400)
    assert (stream.unread, windows.unreturned) == (600, 400)
    peer.session.ended(stream)
    assert (stream.unread, windows.unreturned) == (0, 1000)


def test_content_that_a_handler_has_not_read_comes_back_when_it_ends():
    peer = Peer()
    stream = peer.open(1)
    peer.send(data(1, b"x" * 1000, end=True))
    peer.answer(stream)
    assert peer.session._windows.unreturned == 0
    peer.session.ended(stream)
    assert peer.session._windows.unreturned == 1000


def test_a_client_returns_the_window_of_the_connection_on_receipt():
    peer = client(initial_window=2**18, max_window=2**18)
    slow, quick = peer.request(), peer.request()
    peer.send(peer.headers(1, OK, end=False), peer.headers(3, OK, end=False))
    fill(peer, slow.id, 2**18)
    for _ in range(200):
        fill(peer, quick.id, 2**16)
        peer.session.consumed(quick, 2**16)
    assert (slow.unread, quick.unread) == (2**18, 0)
    assert quick.size == 2**18
    malformed(peer, data(1, b"x"), code=frames.FLOW_CONTROL_ERROR)
