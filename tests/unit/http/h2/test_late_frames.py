"""Frames for streams that are idle, closed, or closed by our own reset: what a peer may have sent before it knew."""

import pytest

from gproxy.http.h2 import frames
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.headers import Headers
from unit.http.h2.conversation import GET, OK, POST, Peer, client, data, failure, frame, resets

FIELDS = [*GET, ("x-late", "1")]


def closed_by_both(peer):
    peer.answer(peer.open(1, GET, end=True))
    peer.taken()


def closed_by_peer(peer):
    peer.open(1, GET, end=True)
    peer.send(frames.rst_stream(1, frames.CANCEL))


def abandoned_by_peer(peer):
    peer.open(1)
    peer.send(frames.rst_stream(1, frames.CANCEL))


def closed_by_us(peer):
    peer.session.reset(peer.open(1), frames.CANCEL)
    peer.taken()


def closed_by_a_fault(peer):
    peer.open(1)
    peer.send(frames.window_update(1, 0))
    peer.taken()


def closed_after_the_response(peer):
    stream = peer.open(1)
    peer.answer(stream)
    peer.session.reset(stream, frames.NO_ERROR)
    peer.taken()


def skipped(peer):
    peer.open(3)


ENDS = [
    closed_by_both,
    closed_by_peer,
    abandoned_by_peer,
    closed_by_us,
    closed_by_a_fault,
    closed_after_the_response,
    skipped,
]
OURS = [closed_by_us, closed_by_a_fault, closed_after_the_response]


@pytest.mark.parametrize("close", ENDS)
@pytest.mark.parametrize(
    "late",
    [
        frames.window_update(1, 5),
        frames.window_update(1, 0),
        frames.rst_stream(1, 8),
        frame(frames.PRIORITY, 1, b"\0" * 5),
    ],
)
def test_a_closed_stream_ignores_windows_resets_and_priorities(close, late):
    peer = Peer()
    close(peer)
    assert peer.send(late, late) == []
    assert peer.taken() == []
    assert peer.names(peer.headers(5)) == ["HeadReceived"]


@pytest.mark.parametrize("close", [closed_by_both, closed_by_peer, skipped])
@pytest.mark.parametrize("late", ["data", "headers"])
def test_a_closed_stream_gets_neither_content_nor_headers(close, late):
    peer = Peer()
    close(peer)
    assert failure(peer, data(1, b"x") if late == "data" else peer.headers(1)) == frames.STREAM_CLOSED


@pytest.mark.parametrize("late", ["data", "headers"])
def test_what_a_client_has_queued_before_its_reset_ends_no_other_stream(late):
    """grpc-java sends the message of a call whose deadline is over behind its RST_STREAM."""
    peer = Peer()
    for stream_id in range(1, 1001, 2):
        peer.open(stream_id)
        peer.session.respond(peer.session.streams[stream_id], 200, Headers(), end=False)
        peer.send(frames.rst_stream(stream_id, frames.CANCEL))
        peer.taken()
        for _ in range(2):
            assert peer.send(data(stream_id, b"x", end=True) if late == "data" else peer.headers(stream_id)) == []
        assert resets(peer) == [(stream_id, frames.STREAM_CLOSED)]
    assert len(peer.session._abandoned) <= peer.session._most_resets
    other = peer.open(1001, GET, end=True)
    assert failure(peer, data(other.id, b"x")) is None
    assert resets(peer) == [(other.id, frames.STREAM_CLOSED)]


def test_the_abandoned_streams_that_are_kept_are_bounded():
    peer = Peer(max_streams=1)
    for stream_id in range(1, 1001, 2):
        stream = peer.open(stream_id)
        peer.session.respond(stream, 200, Headers(), end=False)
        peer.send(frames.rst_stream(stream_id, frames.CANCEL))
    assert len(peer.session._abandoned) == 64
    assert failure(peer, data(1, b"x")) == frames.STREAM_CLOSED


@pytest.mark.parametrize("close", OURS)
def test_content_and_headers_that_cross_our_reset_are_ignored(close):
    peer = Peer()
    close(peer)
    windows = peer.session._windows
    before = windows.unreturned
    assert peer.send(data(1, b"x" * 1000), data(1, b"y", end=True), peer.headers(1, FIELDS)) == []
    assert windows.unreturned == before + 1001
    assert peer.session.failure is None
    (event,) = peer.send(peer.headers(3, FIELDS))  # by the table that the late block has changed
    assert event.head.headers["x-late"] == "1"


@pytest.mark.parametrize("size", [1, 16384])
def test_content_without_end_for_a_reset_stream_returns_its_window_and_keeps_nothing(size):
    peer = Peer()
    closed_by_us(peer)
    for _ in range(3 * 2**20 // size if size > 1 else 1000):
        assert peer.send(data(1, b"x" * size)) == []
    assert peer.session.failure is None
    assert peer.session._windows.receive_window > 2**19
    assert peer.session._rest == b""


def test_the_resets_that_are_kept_are_bounded():
    peer = Peer(max_streams=100)
    for stream_id in range(1, 1001, 2):
        stream = peer.open(stream_id)
        peer.session.reset(stream, frames.CANCEL)
        peer.session.ended(stream)
    assert len(peer.session._resets) == 200
    peer.answer(peer.open(1001, GET, end=True))
    assert peer.send(data(1, b"x"), data(999 - 2 * 200, b"x"), data(999 - 2 * 199, b"x"), peer.headers(1, FIELDS)) == []
    assert peer.session.failure is None
    assert failure(peer, data(1001, b"x")) == frames.STREAM_CLOSED


def test_headers_for_resets_that_are_forgotten_cost_tokens():
    peer = Peer()
    peer.session._forgotten = peer.session.last_id = 1
    for _ in range(399):
        assert peer.send(peer.headers(1)) == []
    assert failure(peer, peer.headers(1)) == frames.ENHANCE_YOUR_CALM


def test_at_least_64_resets_are_kept():
    assert Peer(max_streams=1).session._most_resets == 64


@pytest.mark.parametrize("stream_id", [1, 5, 2])
@pytest.mark.parametrize(
    "make",
    [lambda one: data(one, b"x"), lambda one: frames.rst_stream(one, 8), lambda one: frames.window_update(one, 5)],
)
def test_an_idle_stream_gets_headers_first(stream_id, make):
    assert failure(Peer(), make(stream_id)) == frames.PROTOCOL_ERROR


def test_an_idle_stream_may_have_a_priority():
    peer = Peer()
    assert peer.send(frame(frames.PRIORITY, 7, b"\0\0\0\1\0")) == []
    assert peer.names(peer.headers(1)) == ["HeadReceived"]


# As a client


def test_a_response_that_crosses_our_cancel_is_ignored():
    peer = client()
    stream = peer.request()
    peer.session.reset(stream, frames.CANCEL)
    assert resets(peer) == [(1, frames.CANCEL)]
    assert (
        peer.send(
            peer.headers(1, OK, end=False), data(1, b"x"), peer.headers(1, [("x-t", "1")]), frames.rst_stream(1, 0)
        )
        == []
    )
    assert peer.session.failure is None


def test_late_responses_to_cancelled_requests_cost_no_tokens():
    peer = client()
    for _ in range(1000):
        stream = peer.request()
        peer.session.reset(stream, frames.CANCEL)
        assert (
            peer.send(
                peer.headers(stream.id, OK, end=False),
                peer.headers(stream.id, [("a", "b")]),
                frames.rst_stream(stream.id, 8),
            )
            == []
        )
        peer.taken()
    assert peer.session.failure is None


def test_clients_that_cancel_many_requests_at_once_do_not_end_the_connection_for_others():
    peer = client()
    for _ in range(1000):
        peer.session.reset(peer.request(), frames.CANCEL)
        peer.taken()
    other = peer.request()
    for stream_id in range(1, other.id, 2):
        assert peer.send(peer.headers(stream_id, OK, end=False), data(stream_id, b"x", end=True)) == []
    assert peer.names(peer.headers(other.id, OK)) == ["HeadReceived"]


@pytest.mark.parametrize("late", ["data", "headers"])
@pytest.mark.parametrize("end", ["complete", "reset"])
def test_what_follows_the_end_of_a_response_is_ignored_up_to_a_bound(late, end):
    """RFC 9113 section 5.1 lets us end the connection, which would end the requests of all other clients."""
    peer = client()
    peer.request()
    other = peer.request()
    peer.send(peer.headers(1, OK) if end == "complete" else frames.rst_stream(1, frames.CANCEL))
    peer.taken()
    window = peer.session._windows.receive_window
    fields = [*OK, ("x-late", "1")]  # they enter the table
    for _ in range(200):
        assert peer.send(data(1, bytes(100)) if late == "data" else peer.headers(1, fields)) == []
    (event,) = peer.send(peer.headers(other.id, fields))
    assert event.head.headers.items() == [("x-late", "1")]
    assert peer.session._windows.receive_window + peer.session._windows.unreturned == window
    for _ in range(300):
        peer.send(data(1, b"x") if late == "data" else peer.headers(1, OK))
    assert peer.session.failure.code == frames.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "make",
    [lambda one: data(one, b"x"), lambda one: frames.rst_stream(one, 8), lambda one: frames.window_update(one, 5)],
)
def test_a_server_uses_no_stream_that_we_have_not_opened(make):
    peer = client()
    peer.request()
    assert failure(peer, make(3)) == frames.PROTOCOL_ERROR


def test_a_reset_of_a_stream_is_an_event():
    peer = Peer()
    stream = peer.open(1, POST)
    (event,) = peer.send(frames.rst_stream(1, frames.CANCEL))
    assert (type(event).__name__, event.stream, event.code, stream.is_closed) == (
        "StreamReset",
        stream,
        frames.CANCEL,
        True,
    )
    peer.answer(stream)
    peer.session.send_trailers(stream, [("x", "y")])
    peer.session.reset(stream, frames.CANCEL)
    assert (peer.taken(), peer.session.sendable(stream), peer.session.streams) == ([], 0, {})


@pytest.mark.parametrize("role", [SERVER, CLIENT])
def test_a_peer_may_answer_each_late_data_frame_by_a_reset(role):
    """The package h2 does so after its own reset, if the user of niquests closes a response or an app of Hypercorn."""
    peer = Peer(role, [(frames.INITIAL_WINDOW_SIZE, 2**24)])
    peer.send(frames.window_update(0, 2**24))
    for stream_id in range(1, 21, 2):
        stream = peer.open(stream_id) if role == SERVER else peer.request("POST", end=False)
        if role == SERVER:
            peer.session.respond(stream, 200, Headers(), end=False)
        peer.session.send_data(stream, bytes(1_000_000), end=False)
        count = sum(type(one).__name__ == "DataFrame" for one in peer.taken())
        peer.send(*[frames.rst_stream(stream_id, frames.STREAM_CLOSED)] * count)
        peer.session.ended(stream)
        assert peer.session.failure is None
    assert failure(peer, *[frames.rst_stream(1, frames.STREAM_CLOSED)] * 500) == frames.ENHANCE_YOUR_CALM
