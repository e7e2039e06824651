"""What one stream of a backend receives: heads, bodies and ends, in every order."""

import gevent
import pytest

from gproxy.http.body import Body
from gproxy.http.errors import BadMessage, Incomplete
from gproxy.http.framing import LengthReader
from gproxy.http.h2.events import HeadReceived
from gproxy.http.h2.frames import CANCEL, INTERNAL_ERROR, REFUSED_STREAM
from gproxy.http.headers import Headers
from gproxy.runtime.http2.stream import StreamReader
from gproxy.runtime.waitable import Waitable
from gproxy.upstream.errors import RefusedStreamError, UnansweredError, UnfinishedUploadError
from gproxy.upstream.http2.response_stream import StreamTunnel

from .conftest import turn_until

pytestmark = pytest.mark.timeout(10)


class Upload:
    """A source of a body that has not arrived."""


def read_all(reader):
    while reader.next_piece():
        pass


@pytest.fixture
def stream(connected):
    """A stream, its peer, and the stream as the peer has it."""

    def make(body=None):
        connection, peer = connected()
        connection.leases += 1
        made = connection.open("GET", "a", "/", Headers(), body or Body())
        return made, peer, peer.event(HeadReceived).stream

    return make


def test_heads_come_in_their_order(stream):
    made, peer, there = stream()
    peer.respond(there, 103, link="</a>")
    peer.respond(there, 200, end=True)
    assert [made.next_head().status, made.next_head().status] == [103, 200]
    assert made.next_head().status == 200


def test_what_came_before_a_reset_is_read_first_and_counts_until_then(stream, buffers):
    made, peer, there = stream()
    peer.respond(there, 200)
    peer.session.send_data(there, b"begun", end=False)
    peer.reset(there, INTERNAL_ERROR)  # in one packet
    turn_until(lambda: made.is_closed)
    assert buffers.used == 5
    reader = StreamReader(made)
    assert reader.next_piece() == b"begun"
    assert buffers.used == 0
    with pytest.raises(Incomplete, match="INTERNAL_ERROR"):
        reader.next_piece()


@pytest.mark.parametrize("is_released", [True, False])
def test_what_no_one_reads_after_a_reset_does_not_stay_among_what_the_process_keeps(stream, buffers, is_released):
    made, peer, there = stream()
    peer.respond(there, 200, content_length="3")
    if is_released:
        turn_until(lambda: made.head is not None)
        made.release()  # as after a HEAD request, whose stream is left open for its end
    peer.data(there, b"more than 3")
    turn_until(lambda: made.stream.is_closed)
    if not is_released:
        made.release()
    assert buffers.used == 0


class SmallClient(Waitable):
    """Wants small pieces."""

    def piece(self, size):
        return min(size, 3)


@pytest.mark.parametrize("role", ["client", "tunnel_client"])
def test_pieces_are_as_large_as_the_client_wants_them(stream, role):
    made, peer, there = stream()
    peer.respond(there, 200)
    peer.data(there, b"answer", end=True)
    turn_until(made.has_unread)
    setattr(made, role, SmallClient(gevent.get_hub()))
    reader = StreamReader(made)
    assert [reader.next_piece(), reader.next_piece(), reader.next_piece()] == [b"ans", b"wer", b""]


def test_what_is_unread_counts_among_what_the_process_keeps(stream, buffers):
    made, peer, there = stream()
    peer.respond(there, 200)
    peer.data(there, b"answer")
    turn_until(made.has_unread)
    assert buffers.used == 6
    assert made.read(2) == b"an"
    assert buffers.used == 4
    made.reset()
    made.release()
    assert buffers.used == 0


def test_more_interim_responses_than_one_waits_for_are_dropped(stream):
    made, peer, there = stream()
    for _ in range(40):
        peer.respond(there, 103)
    peer.respond(there, 200, end=True)
    turn_until(lambda: made.head is not None)
    statuses = [made.next_head().status for _ in range(17)]
    assert statuses == [103] * 16 + [200]


@pytest.mark.parametrize(
    ("code", "error"), [(REFUSED_STREAM, RefusedStreamError), (CANCEL, UnansweredError), (99, UnansweredError)]
)
def test_a_reset_before_the_head(stream, code, error):
    made, peer, there = stream()
    peer.reset(there, code)
    with pytest.raises(error):
        made.next_head()


def test_a_reset_of_an_unfinished_upload(stream):
    made, peer, there = stream(Body(reader=LengthReader(Upload(), 3), length=3))
    peer.reset(there, INTERNAL_ERROR)
    with pytest.raises(UnfinishedUploadError, match="INTERNAL_ERROR"):
        made.next_head()


def test_a_malformed_head(stream):
    made, peer, there = stream()
    peer.respond(there, 200, connection="close")
    with pytest.raises(BadMessage) as caught:
        made.next_head()
    assert caught.value.status == 502


@pytest.mark.parametrize("cut", ["reset", "length", "connection"])
def test_a_body_that_breaks_off(stream, cut):
    made, peer, there = stream()
    peer.respond(there, 200, **({"content_length": "9"} if cut == "length" else {}))
    peer.data(there, b"begun", end=cut == "length")
    if cut == "reset":
        turn_until(made.has_unread)
        assert StreamReader(made).arrived() == b"begun"
        peer.reset(there, CANCEL)
    elif cut == "connection":
        peer.sock.close()
    with pytest.raises((Incomplete, BadMessage)):
        read_all(StreamReader(made))


def test_a_body_with_trailers(stream):
    made, peer, there = stream()
    peer.respond(there, 200)
    peer.data(there, b"one")
    peer.session.send_trailers(there, [("x-sum", "1")])
    peer.flush()
    reader = StreamReader(made)
    pieces = [reader.next_piece(), reader.next_piece()]
    assert b"".join(pieces) == b"one"
    assert (reader.done, reader.trailers, reader.next_piece()) == (True, [("x-sum", "1")], b"")


def test_a_complete_body_survives_the_end_of_the_connection(stream):
    made, peer, there = stream()
    peer.respond(there, 200)
    peer.data(there, b"whole", end=True)
    peer.sock.close()
    turn_until(lambda: made.has_ended)
    reader = StreamReader(made)
    assert (reader.arrived(), reader.done) == (b"whole", True)


def test_a_tunnel_carries_bytes_both_ways(stream):
    made, peer, there = stream()
    peer.respond(there, 200)
    assert made.next_head().status == 200
    tunnel = StreamTunnel(made)
    peer.data(there, b"down")
    assert tunnel.read(100) == b"down"
    peer.data(there, end=True)
    assert tunnel.read(100) == b""


def test_a_tunnel_that_is_shut_ends_its_reader(stream):
    made, peer, there = stream()
    peer.respond(there, 200)
    made.next_head()
    tunnel = StreamTunnel(made)
    reader = gevent.spawn(tunnel.read, 100)
    gevent.sleep(0)
    tunnel.shut()
    assert reader.get(timeout=1) == b""
    with pytest.raises(ConnectionError):
        tunnel.send(b"late")
    tunnel.shut_writing()


def test_a_tunnel_that_the_backend_resets(stream):
    made, peer, there = stream()
    peer.respond(there, 200)
    made.next_head()
    peer.reset(there, CANCEL)
    with pytest.raises(ConnectionError, match="CANCEL"):
        StreamTunnel(made).read(100)
