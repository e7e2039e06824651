"""Frames that govern streams and the connection: each MUST of RFC 9113 section 6 that concerns them, and RFC 9218."""

import pytest

from gproxy.http.h2 import frames
from gproxy.http.headers import Headers
from unit.http.h2.conversation import GET, OK, Peer, client, data, failure, frame, resets

BIG = 2**31 - 1


# Sizes


@pytest.mark.parametrize(
    "wrong",
    [
        frame(frames.RST_STREAM, 1, b"\0\0\0"),
        frame(frames.RST_STREAM, 1, b"\0\0\0\0\0"),
        frame(frames.SETTINGS, 0, b"\0" * 5),
        frame(frames.SETTINGS, 0, b"\0" * 6, frames.ACK),
        frame(frames.PING, 0, b"1234567"),
        frame(frames.PING, 0, b"123456789"),
        frame(frames.PING, 0, b"", frames.ACK),
        frame(frames.GOAWAY, 0, b"1234567"),
        frame(frames.WINDOW_UPDATE, 0, b"\0\0\1"),
        frame(frames.WINDOW_UPDATE, 1, b"\0\0\0\1\0"),
        frame(frames.PRIORITY_UPDATE, 0, b"\0\0\0"),
        frame(frames.PRIORITY, 3, b"\0" * 4),
    ],
)
def test_a_frame_of_a_wrong_size_ends_the_session(wrong):
    peer = Peer()
    peer.open(1)
    assert failure(peer, wrong) == frames.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\0" * 4, frames.FRAME_SIZE_ERROR), (b"\0\0\0\1\0", frames.PROTOCOL_ERROR)]
)
def test_a_wrong_priority_of_an_open_stream_resets_it(payload, code):
    peer = Peer()
    peer.open(1)
    assert peer.names(frame(frames.PRIORITY, 1, payload)) == ["StreamMalformed"]
    assert resets(peer) == [(1, code)]


def test_a_stream_does_not_depend_on_itself():
    assert failure(Peer(), frame(frames.PRIORITY, 1, b"\x80\0\0\1\0")) == frames.PROTOCOL_ERROR


# Windows for sending (sections 6.9)


def test_content_waits_for_the_window_of_its_stream():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    peer.session.respond(stream, 200, Headers(), end=False)
    assert peer.session.sendable(stream) == 65535
    peer.session.send_data(stream, bytes(65535), end=False)
    assert peer.session.sendable(stream) == 0
    (connection,) = peer.send(frames.window_update(0, 10))
    assert (type(connection).__name__, connection.stream) == ("WindowOpened", None)
    assert peer.session.sendable(stream) == 0
    (event,) = peer.send(frames.window_update(1, 7))
    assert (type(event).__name__, event.stream, peer.session.sendable(stream)) == ("WindowOpened", stream, 7)
    assert peer.send(frames.window_update(1, 7), frames.window_update(0, 1)) == []
    assert peer.session.sendable(stream) == 11


def test_more_than_the_window_is_not_sent():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    with pytest.raises(ValueError, match="65536 bytes are more than the window of 65535"):
        peer.session.send_data(stream, bytes(65536), end=True)
    assert not peer.session.has_output


@pytest.mark.parametrize("stream_id", [0, 1])
def test_a_window_update_by_0_is_a_fault(stream_id):
    peer = Peer()
    peer.open(1)
    if stream_id:
        assert peer.names(frames.window_update(1, 0)) == ["StreamMalformed"]
        assert resets(peer) == [(1, frames.PROTOCOL_ERROR)]
    else:
        assert failure(peer, frames.window_update(0, 0)) == frames.PROTOCOL_ERROR


def test_a_window_that_is_too_large_resets_its_stream():
    peer = Peer()
    peer.open(1)
    assert peer.send(frames.window_update(1, BIG - 65535)) == []
    assert peer.names(frames.window_update(1, 1)) == ["StreamMalformed"]
    assert resets(peer) == [(1, frames.FLOW_CONTROL_ERROR)]


def test_a_window_of_the_connection_that_is_too_large_ends_the_session():
    peer = Peer()
    assert peer.send(frames.window_update(0, BIG - 65535)) == []
    assert failure(peer, frames.window_update(0, 1)) == frames.FLOW_CONTROL_ERROR


def test_the_reserved_bit_of_a_window_update_is_ignored():
    peer = Peer()
    stream = peer.open(1)
    assert peer.send(frame(frames.WINDOW_UPDATE, 1, b"\x80\0\0\1")) == []
    assert stream.send_window == 65536


# SETTINGS (sections 6.5 and 6.9.2)


def test_a_new_initial_window_moves_those_of_all_streams():
    peer = Peer()
    one, two = peer.open(1, GET, end=True), peer.open(3, GET, end=True)
    peer.session.send_data(one, bytes(40000), end=False)
    assert peer.names(frames.settings([(4, 30000)])) == ["SettingsReceived"]
    assert (one.send_window, two.send_window) == (-10000, 30000)
    assert peer.session.sendable(one) == 0
    assert peer.names(frames.settings([(4, 40000)])) == ["SettingsReceived"]  # 0 is not open yet
    peer.send(frames.settings([(4, 30000)]))
    assert peer.send(frames.window_update(1, 9000)) == []
    assert peer.names(frames.window_update(1, 2000)) == ["WindowOpened"]
    assert peer.session.sendable(one) == 1000
    assert peer.open(5, GET, end=True).send_window == 30000


def test_a_larger_initial_window_opens_streams():
    peer = Peer(settings=[(4, 0)])
    one, two = peer.open(1, GET, end=True), peer.open(3, GET, end=True)
    opened = peer.send(frames.settings([(4, 5)]))
    assert [event.stream for event in opened] == [one, two, None]
    assert (peer.session.sendable(one), peer.session.sendable(two)) == (5, 5)


def test_an_initial_window_that_makes_a_window_too_large_ends_the_session():
    peer = Peer()
    peer.open(1)
    peer.send(frames.window_update(1, 1000))
    assert failure(peer, frames.settings([(4, BIG - 999)])) == frames.FLOW_CONTROL_ERROR


def test_an_initial_window_does_not_move_that_of_the_connection():
    peer = Peer()
    peer.send(frames.settings([(4, 5)]))
    assert peer.session._windows.send_window == 65535


@pytest.mark.parametrize(
    ("pair", "code"),
    [((2, 2), frames.PROTOCOL_ERROR), ((4, 2**31), frames.FLOW_CONTROL_ERROR), ((5, 100), frames.PROTOCOL_ERROR)],
)
def test_a_setting_that_is_not_allowed_ends_the_session(pair, code):
    assert failure(Peer(), frames.settings([pair])) == code


def test_the_encoder_follows_the_peers_table():
    peer = Peer()
    peer.send(frames.settings([(1, 0), (1, 4096)]))
    peer.taken()
    stream = peer.open(1, GET, end=True)
    peer.session.respond(stream, 200, Headers(), end=True)
    (block,) = peer.taken()
    assert block.data.startswith(b"\x20\x3f\xe1\x1f")  # 0, then 4,096: RFC 7541 section 4.2
    peer.send(frames.settings([(1, 4096)]))
    peer.taken()
    stream = peer.open(3, GET, end=True)
    peer.session.respond(stream, 200, Headers(), end=True)
    assert peer.taken()[-1].data == b"\x88"


# PING (section 6.7)


def test_a_ping_is_answered():
    peer = Peer()
    assert peer.send(frames.ping(b"12345678")) == []
    (pong,) = peer.taken()
    assert (pong.opaque_data, pong.flags) == (b"12345678", {"ACK"})


def test_an_answer_to_our_ping_is_an_event():
    peer = Peer()
    peer.session.ping(b"abcdefgh")
    assert [one.opaque_data for one in peer.taken()] == [b"abcdefgh"]
    (event,) = peer.send(frames.ping(b"abcdefgh", ack=True))
    assert (type(event).__name__, event.data) == ("PingAcknowledged", b"abcdefgh")
    assert peer.send(frames.ping(b"abcdefgh", ack=True)) == []
    assert peer.taken() == []


# GOAWAY (section 6.8)


def test_a_goaway_of_a_backend_fails_the_streams_that_it_excludes():
    peer = client()
    one, two, three = (peer.request() for _ in range(3))
    assert peer.session.can_request
    goaway, *excluded = peer.send(frames.goaway(one.id, frames.NO_ERROR, b"bye"))
    assert (goaway.last_id, goaway.code, goaway.debug) == (1, 0, b"bye")
    assert [(event.stream, event.code) for event in excluded] == [
        (two, frames.REFUSED_STREAM),
        (three, frames.REFUSED_STREAM),
    ]
    assert (peer.session.can_request, list(peer.session.streams)) == (False, [1])
    assert peer.names(peer.headers(1, OK)) == ["HeadReceived"]


def test_a_backend_drains_in_two_steps():
    peer = client()
    peer.request()
    assert peer.names(frames.goaway(BIG, 0)) == ["GoAwayReceived"]
    assert not peer.session.can_request
    assert peer.names(frames.goaway(1, 0)) == ["GoAwayReceived"]
    assert peer.names(frames.goaway(0, 0)) == ["GoAwayReceived", "StreamReset"]
    assert peer.names(frames.goaway(5, 0)) == ["GoAwayReceived"]
    assert (peer.session.can_request, peer.session.streams) == (False, {})


def test_a_refused_stream_is_a_reset_with_its_code():
    peer = client()
    stream = peer.request()
    (event,) = peer.send(frames.rst_stream(1, frames.REFUSED_STREAM))
    assert (event.stream, event.code) == (stream, frames.REFUSED_STREAM)


def test_a_goaway_of_a_client_changes_nothing():
    peer = Peer()
    peer.open(1)
    (event,) = peer.send(frames.goaway(0, 0))
    assert (event.last_id, list(peer.session.streams)) == (0, [1])
    assert peer.names(peer.headers(3)) == ["HeadReceived"]


def test_we_drain_in_two_steps():
    peer = Peer()
    peer.open(1, GET, end=True)
    peer.session.go_away(BIG, frames.NO_ERROR)
    peer.session.ping(b"draining")
    assert [type(one).__name__ for one in peer.taken()] == ["GoAwayFrame", "PingFrame"]
    assert peer.names(peer.headers(3), frames.ping(b"draining", ack=True)) == ["HeadReceived", "PingAcknowledged"]
    peer.session.go_away(peer.session.accepted_id, frames.NO_ERROR)
    assert [one.last_stream_id for one in peer.taken()] == [3]
    assert peer.send(peer.headers(5), peer.headers(7, end=False), data(7, b"x", end=True)) == []
    assert resets(peer) == [(5, frames.REFUSED_STREAM), (7, frames.REFUSED_STREAM)]
    assert (list(peer.session.streams), peer.session.accepted_id, peer.session.last_id) == ([1, 3], 3, 7)


def test_the_last_id_of_our_goaway_does_not_grow():
    peer = Peer()
    peer.session.go_away(0, frames.NO_ERROR)
    peer.session.go_away(BIG, frames.NO_ERROR)
    assert [one.last_stream_id for one in peer.taken()] == [0, 0]


# Priorities (RFC 9218 section 7.1)


def update(stream_id, value):
    return frame(frames.PRIORITY_UPDATE, 0, stream_id.to_bytes(4, "big") + value.encode())


def test_a_priority_update_changes_a_stream():
    peer = Peer()
    stream = peer.open(1, [*GET, ("priority", "u=1")], end=True)
    assert peer.send(update(1, "u=6, i")) == []
    assert (stream.urgency, stream.incremental) == (6, True)
    peer.send(update(1, "???"))
    assert (stream.urgency, stream.incremental) == (3, False)


def test_a_priority_update_of_a_closed_stream_is_ignored():
    peer = Peer()
    peer.answer(peer.open(1, GET, end=True))
    assert peer.send(update(1, "u=6")) == []
    assert peer.session._early_priorities == {}


@pytest.mark.parametrize("stream_id", [0, 2])
def test_a_priority_update_is_for_a_request(stream_id):
    assert failure(Peer(), update(stream_id, "u=1")) == frames.PROTOCOL_ERROR


def test_a_server_sends_no_priority_update():
    peer = client()
    peer.request()
    assert failure(peer, update(1, "u=1")) == frames.PROTOCOL_ERROR


def test_early_priorities_are_bounded():
    peer = Peer()
    for stream_id in range(1, 201, 2):
        peer.send(update(stream_id, "u=5," + "x" * 10_000))
    kept = peer.session._early_priorities
    assert (len(kept), max(map(len, kept.values())), max(kept)) == (32, 128, 199)
