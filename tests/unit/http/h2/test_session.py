"""The frames of a session in their order: preface, first SETTINGS, sizes, blocks, unknown frames (RFC 9113 section 4)."""

import pytest

from gproxy.http.h2 import frames
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from unit.http.h2.conversation import GET, NAMES, POST, Peer, client, data, failure, frame, resets


def fresh(role=SERVER):
    session = Session(role, SessionOptions(), NAMES, lambda: 0.0)
    session.start()
    return session


def code_of(session, *data):
    session.receive(b"".join(data))
    return session.failure.code if session.failure else None


def test_a_server_begins_with_settings_and_the_window_of_the_connection():
    settings, window = Peer.taken(type("", (), {"session": fresh()}))
    assert settings.settings == {3: 128, 4: 65536, 6: 32768, 8: 1, 9: 1}
    assert (window.stream_id, window.window_increment) == (0, 2**20 - 65535)


def test_a_client_begins_with_the_preface_and_without_push():
    session = fresh(CLIENT)
    output = b"".join(session.take_output())
    assert output.startswith(frames.PREFACE + frames.settings([(2, 0), (4, 65536), (6, 32768), (9, 1)]))


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", frames.PREFACE[:-1] + b"x", b"\0", b"P\0"]
)
def test_a_client_must_send_the_preface(wrong):
    expected = None if frames.PREFACE.startswith(wrong) else frames.PROTOCOL_ERROR
    assert code_of(fresh(), wrong) == expected


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize(
    "first",
    [
        frames.SETTINGS_ACK,
        frames.ping(b"12345678"),
        frames.window_update(0, 1),
        frame(99),
        data(1, b"x"),
        frames.goaway(0, 0),
    ],
)
def test_the_first_frame_is_settings(role, first):
    assert code_of(fresh(role), frames.PREFACE if role == SERVER else b"", first) == frames.PROTOCOL_ERROR


def test_settings_are_acknowledged():
    session = fresh()
    session.take_output()
    (event,) = session.receive(frames.PREFACE + frames.settings([(3, 5)]))
    assert (type(event).__name__, session.has_settings, session.peer.max_streams) == ("SettingsReceived", True, 5)
    assert session.take_output() == [frames.SETTINGS_ACK]


@pytest.mark.parametrize("kind", [*range(10), 16, 99])
def test_a_frame_of_more_than_16384_bytes_ends_the_session(kind):
    peer = Peer()
    assert failure(peer, (16385).to_bytes(3, "big"), bytes([kind, 0, 0, 0, 0, 1])) == frames.FRAME_SIZE_ERROR


def test_a_frame_of_16384_bytes_is_received():
    peer = Peer()
    stream = peer.open(1)
    (event,) = peer.send(data(1, b"x" * 16384))
    assert (event.stream, len(event.data)) == (stream, 16384)


def test_the_reserved_bit_of_a_stream_id_is_ignored():
    peer = Peer()
    block = peer.encoder.encode(GET)
    head = frames.frame_head(len(block), frames.HEADERS, 5, 0x80000001)
    (event,) = peer.send(head, block)
    assert event.stream.id == 1


def test_unknown_frames_and_flags_are_ignored():
    peer = Peer()
    assert peer.send(frame(99, 0, b"x" * 100, 255), frame(11, 5), frame(255, 2**31 - 1, b"", 3)) == []
    assert peer.send(frames.ping(b"12345678"), frame(frames.PING, 0, b"87654321", 0xFE)) == []
    assert [one.opaque_data for one in peer.taken()] == [b"12345678", b"87654321"]


@pytest.mark.parametrize("kind", [frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION])
def test_a_frame_of_a_stream_is_not_on_stream_0(kind):
    assert failure(Peer(), frame(kind, 0, b"\0" * (4 if kind == frames.RST_STREAM else 5), 4)) == frames.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", [frames.SETTINGS, frames.PING, frames.GOAWAY, frames.PRIORITY_UPDATE])
def test_a_frame_of_the_connection_is_on_stream_0(kind):
    peer = Peer()
    peer.open(1)
    assert failure(peer, frame(kind, 1, b"\0" * 8)) == frames.PROTOCOL_ERROR


@pytest.mark.parametrize("peer", [Peer, client])
def test_push_is_refused(peer):
    one = peer()
    if one.session.role == CLIENT:
        one.request(end=False)
    assert failure(one, frame(frames.PUSH_PROMISE, 1, b"\0\0\0\2", 4)) == frames.PROTOCOL_ERROR


# Blocks (section 6.10)


def in_pieces(peer, size, stream_id=1, fields=GET, end=True):
    """Return a block as HEADERS and CONTINUATION frames with so many bytes each."""
    block = peer.encoder.encode(fields)
    pieces = [block[at : at + size] for at in range(0, len(block), size)]
    found = [frame(frames.HEADERS, stream_id, pieces[0], frames.END_STREAM if end else 0)]
    found += [frame(frames.CONTINUATION, stream_id, piece) for piece in pieces[1:-1]]
    return [*found, frame(frames.CONTINUATION, stream_id, pieces[-1], frames.END_HEADERS)]


def test_a_block_comes_in_continuations():
    peer = Peer()
    *first, last = in_pieces(peer, 4)
    assert len(first) > 1
    assert peer.send(*first) == []
    assert peer.session.block_since == 100.0
    (event,) = peer.send(last)
    assert (event.head.path, event.ended, peer.session.block_since) == ("/", True, 0.0)


def test_a_head_begins_with_its_first_bytes():
    peer = Peer()
    whole = peer.headers(1)
    assert peer.send(whole[:3]) == []
    assert peer.session.block_since == 0.0  # what it will be is not known yet
    for byte in whole[3:-1]:
        assert peer.send(bytes([byte])) == []
        assert peer.session.block_since == 100.0
        peer.now = 101.0
    assert len(peer.send(whole[-1:])) == 1
    assert peer.session.block_since == 0.0


def test_a_block_begins_with_the_first_bytes_of_its_first_frame():
    peer = Peer()
    first, *rest = in_pieces(peer, 4)
    peer.send(first[:-1])
    peer.now = 101.0
    peer.send(first[-1:], *rest[:-1], rest[-1][:-1])
    assert peer.session.block_since == 100.0
    assert len(peer.send(rest[-1][-1:])) == 1
    assert peer.session.block_since == 0.0


def test_content_that_comes_in_parts_is_no_head():
    peer = Peer()
    peer.open(1)
    peer.send(data(1, b"content")[:-1])
    assert peer.session.block_since == 0.0


def test_the_end_of_the_stream_is_that_of_headers():
    peer = Peer()
    (event,) = peer.send(*in_pieces(peer, 4, fields=POST, end=False))
    assert not event.ended
    assert peer.names(data(1, b"x")) == ["DataReceived"]


@pytest.mark.parametrize(
    "between",
    [
        frames.ping(b"12345678"),
        frames.SETTINGS_ACK,
        frames.settings([]),
        frames.window_update(0, 1),
        frame(99, 1),
        data(1, b"x"),
        frame(frames.HEADERS, 1, b"", 4),
        frame(frames.PRIORITY, 3, b"\0" * 5),
        frames.rst_stream(1, 8),
        frame(frames.CONTINUATION, 3, b"", 4),
        frame(frames.CONTINUATION, 0, b"", 4),
    ],
)
def test_no_frame_comes_within_a_block(between):
    peer = Peer()
    first, *_ = in_pieces(peer, 4)
    assert failure(peer, first, between) == frames.PROTOCOL_ERROR


@pytest.mark.parametrize("before", ["nothing", "complete"])
def test_a_continuation_follows_headers(before):
    peer = Peer()
    if before == "complete":
        peer.open(1)
    assert failure(peer, frame(frames.CONTINUATION, 1, b"", 4)) == frames.PROTOCOL_ERROR


def test_a_block_that_cannot_be_decoded_ends_the_session():
    assert failure(Peer(), frame(frames.HEADERS, 1, b"\xff\xff\xff\xff\xff\xff", 5)) == frames.COMPRESSION_ERROR


def test_headers_have_padding_and_a_priority():
    peer = Peer()
    block = peer.encoder.encode(GET)
    payload = b"\5" + b"\x80\0\0\0\7" + block + b"\0" * 5
    (event,) = peer.send(frame(frames.HEADERS, 1, payload, 5 | frames.PADDED | frames.PRIORITY_FLAG))
    assert event.head.path == "/"


@pytest.mark.parametrize(
    ("payload", "flags", "code"),
    [
        (b"", frames.PADDED, frames.PROTOCOL_ERROR),
        (b"\1", frames.PADDED, frames.PROTOCOL_ERROR),
        (b"\5abcd", frames.PADDED, frames.PROTOCOL_ERROR),
        (b"\0\0\0\0", frames.PRIORITY_FLAG, frames.FRAME_SIZE_ERROR),
        (b"\1\0\0\0\0", frames.PADDED | frames.PRIORITY_FLAG, frames.FRAME_SIZE_ERROR),
        (b"\1\0\0\0\0\0", frames.PADDED | frames.PRIORITY_FLAG, frames.PROTOCOL_ERROR),
        (b"\0\0\0\1\0", frames.PRIORITY_FLAG, frames.PROTOCOL_ERROR),
    ],
)
def test_padding_and_priority_of_headers_fit(payload, flags, code):
    assert failure(Peer(), frame(frames.HEADERS, 1, payload, 5 | flags)) == code


def test_an_incomplete_frame_is_kept_and_nothing_else():
    peer = Peer()
    peer.open(1)
    whole = data(1, b"x" * 16000)
    for byte in whole[:-1]:
        assert peer.send(bytes([byte])) == []
    assert len(peer.session._rest) == len(whole) - 1
    assert peer.names(whole[-1:]) == ["DataReceived"]
    assert (peer.session._rest, peer.session._events) == (b"", [])


def test_after_a_fault_nothing_is_received():
    peer = Peer()
    events = peer.send(peer.headers(1), frame(frames.PING, 0, b"x"), peer.headers(3))
    assert [type(event).__name__ for event in events] == ["HeadReceived", "SessionFailed"]
    assert (peer.session.failure.code, peer.session.is_going_away) == (frames.FRAME_SIZE_ERROR, True)
    goaway = peer.taken()[-1]
    assert (goaway.last_stream_id, goaway.error_code) == (1, frames.FRAME_SIZE_ERROR)
    assert resets(peer) == []
