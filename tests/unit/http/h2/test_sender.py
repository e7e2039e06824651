"""What a session sends: heads, content in frames that fill TLS records, trailers; and when it may send."""

import pytest

from gproxy.http.h2 import frames
from gproxy.http.h2.stream import CLOSED, HALF_CLOSED_LOCAL, OPEN
from gproxy.http.headers import Headers
from unit.http.h2.conversation import GET, OK, Peer, client, resets


def test_a_response_is_a_head_and_content():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    peer.session.respond(stream, 200, Headers([("X-A", "b")]), end=False)
    peer.session.send_data(stream, b"abc", end=True)
    head, content = peer.taken()
    assert peer.decoder.decode(head.data) == [(":status", "200"), ("x-a", "b")]
    assert (head.stream_id, head.flags) == (1, {"END_HEADERS"})
    assert (content.stream_id, content.data, content.flags) == (1, b"abc", {"END_STREAM"})
    assert (stream.state, peer.session.streams) == (CLOSED, {})


def test_a_response_without_content_is_a_head():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    peer.session.respond(stream, 204, Headers(), end=True)
    (head,) = peer.taken()
    assert (head.flags, stream.state) == ({"END_HEADERS", "END_STREAM"}, CLOSED)


def test_an_interim_response_comes_before_the_head():
    peer = Peer()
    stream = peer.open(1)
    peer.session.respond(stream, 100, Headers(), end=False)
    assert not stream.has_sent_head
    peer.session.respond(stream, 200, Headers(), end=False)
    assert stream.has_sent_head
    assert [peer.decoder.decode(one.data)[0][1] for one in peer.taken()] == ["100", "200"]


def test_trailers_end_a_response():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    peer.session.respond(stream, 200, Headers(), end=False)
    peer.session.send_data(stream, b"x", end=False)
    peer.session.send_trailers(stream, [("Grpc-Status", "0")])
    *_, trailers = peer.taken()
    peer.decoder.decode(b"\x88")
    assert peer.decoder.decode(trailers.data) == [("grpc-status", "0")]
    assert (trailers.flags, stream.state) == ({"END_HEADERS", "END_STREAM"}, CLOSED)


@pytest.mark.parametrize("size", [1, 16375, 16376, 32750, 40000, 65535])
@pytest.mark.parametrize("kind", [bytes, memoryview])
@pytest.mark.parametrize("end", [True, False])
def test_content_fills_tls_records_and_is_not_copied(size, kind, end):
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    content = bytes(range(256)) * 256
    peer.session.send_data(stream, kind(content[:size]), end=end)
    assert peer.session.unsent == size + 9 * -(-size // 16375)
    output = peer.session.take_output()
    assert sum(len(one) for one in output if len(one) != frames.HEAD) == size
    joined = b"".join(output)
    peer.session._output = [joined]
    sent = peer.taken()
    assert b"".join(one.data for one in sent) == content[:size]
    assert {len(one.data) for one in sent[:-1]} <= {16375}
    assert ["END_STREAM" in one.flags for one in sent] == [False] * (len(sent) - 1) + [end]


def test_the_pieces_of_content_are_views_of_it():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    content = bytes(40000)
    peer.session.send_data(stream, content, end=True)
    assert [one.obj is content for one in peer.session.take_output() if isinstance(one, memoryview)] == [True] * 3


def test_no_content_with_the_end_is_an_empty_frame():
    peer = Peer(settings=[(4, 0)])
    stream = peer.open(1, GET, end=True)
    peer.session.send_data(stream, b"", end=True)
    (frame,) = peer.taken()
    assert (frame.data, frame.flags, stream.state) == (b"", {"END_STREAM"}, CLOSED)


def test_a_large_head_has_continuations():
    peer = Peer()
    stream = peer.open(1, GET, end=True)
    peer.session.respond(stream, 200, Headers([("x-big", "b" * 40000)]), end=True)
    sent = peer.taken()
    assert [type(one).__name__ for one in sent] == ["HeadersFrame", "ContinuationFrame", "ContinuationFrame"]


def test_the_output_is_taken_once():
    peer = Peer()
    peer.session.ping(b"12345678")
    assert (peer.session.has_output, peer.session.unsent) == (True, 17)
    assert len(peer.session.take_output()) == 1
    assert (peer.session.has_output, peer.session.unsent, peer.session.take_output()) == (False, 0, [])


def test_nothing_is_sent_after_the_end():
    peer = Peer()
    stream = peer.open(1)
    peer.session.respond(stream, 200, Headers(), end=True)
    assert (stream.state, stream.may_receive) == (HALF_CLOSED_LOCAL, True)
    peer.taken()
    peer.session.respond(stream, 200, Headers(), end=True)
    peer.session.send_data(stream, b"x", end=True)
    peer.session.send_trailers(stream, [])
    assert (peer.taken(), peer.session.sendable(stream)) == ([], 0)


def test_a_reset_after_the_response_stops_the_upload():
    peer = Peer()
    stream = peer.open(1)
    peer.session.respond(stream, 200, Headers(), end=True)
    peer.session.reset(stream, frames.NO_ERROR)
    peer.session.reset(stream, frames.NO_ERROR)
    assert resets(peer) == [(1, frames.NO_ERROR)]
    assert (stream.state, peer.session.resets_sent) == (CLOSED, 1)


# As a client


def test_a_request_is_a_head_and_content():
    peer = client()
    stream = peer.session.request("POST", "https", "h:1", "/p?q", Headers([("Host", "other"), ("X-A", "b")]), end=False)
    assert (stream.id, stream.state) == (1, OPEN)
    peer.session.send_data(stream, b"abc", end=True)
    head, content = peer.taken()
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "h:1"), (":path", "/p?q"), ("x-a", "b")]
    assert peer.decoder.decode(head.data) == fields
    assert (content.data, stream.state) == (b"abc", HALF_CLOSED_LOCAL)


def test_a_request_without_content_is_a_head():
    peer = client()
    stream = peer.session.request("GET", "http", "h", "/", Headers(), end=True)
    (head,) = peer.taken()
    assert (head.flags, stream.state) == ({"END_HEADERS", "END_STREAM"}, HALF_CLOSED_LOCAL)


def test_a_request_that_cannot_be_encoded_opens_no_stream():
    peer = client()
    with pytest.raises(UnicodeEncodeError):
        peer.session.request("GET", "https", "h", "/\u20ac", Headers(), end=True)
    assert (peer.session.streams, peer.session.has_output) == ({}, False)
    assert peer.request().id == 1


def test_an_extended_connect_names_its_protocol():
    peer = client(settings=[(8, 1)])
    assert peer.session.peer.enables_connect
    peer.session.request("CONNECT", "https", "h", "/chat", Headers(), end=False, protocol="websocket")
    (head,) = peer.taken()
    assert (":protocol", "websocket") in peer.decoder.decode(head.data)


def test_secrets_enter_no_table():
    peer = client(never_indexed=frozenset({"authorization"}))
    for _ in range(3):
        peer.session.request("GET", "https", "h", "/", Headers([("Authorization", "secret")]), end=True)
    for one in peer.taken():
        assert b"\x1f\x08" in one.data  # never indexed, with the static name 23
        peer.decoder.decode(one.data)
    assert all(name != b"authorization" for name, _ in peer.decoder.header_table.dynamic_entries)


def test_the_peers_limit_of_streams_is_seen():
    peer = client(settings=[(3, 2)])
    assert peer.session.peer.max_streams == 2
    one, _ = peer.request(), peer.request()
    assert not peer.session.can_request
    peer.send(peer.headers(one.id, OK))
    assert peer.session.can_request
    peer.send(frames.settings([(3, 1)]))
    assert not peer.session.can_request


def test_a_connection_has_ids_for_so_many_requests():
    peer = client()
    peer.session._next_id = 2**31 - 1
    assert (peer.request().id, peer.session.can_request) == (2**31 - 1, False)


def test_no_request_is_sent_after_our_goaway():
    peer = client()
    peer.session.go_away(0, frames.NO_ERROR)
    assert not peer.session.can_request


def test_without_settings_a_peer_allows_100_streams():
    from gproxy.http.h2.session import CLIENT, Session, SessionOptions
    from unit.http.h2.conversation import NAMES

    session = Session(CLIENT, SessionOptions(), NAMES)
    assert (session.peer.max_streams, session.has_settings) == (100, False)
