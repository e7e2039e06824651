"""One request on a shared connection: its head, its body, interim responses, and how it ends."""

import gevent
import pytest

from gproxy.http.body import Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.h2.events import DataReceived, HeadReceived, StreamReset, TrailersReceived
from gproxy.http.h2.frames import CANCEL
from gproxy.http.phase import WAIT
from gproxy.http.request import request
from gproxy.testing import Clock
from gproxy.testing.scripted_channel import END
from gproxy.upstream.connection import UploadState
from gproxy.upstream.errors import RefusedStreamError

from .conftest import Writer, lease, turn_until

pytestmark = pytest.mark.timeout(10)


class Source:
    """A reader of a request's body, piece by piece: bytes, or an exception. It waits once none is left."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.done = False
        self.trailers = []
        self.peer = None

    def next_piece(self):
        while not self.pieces:
            gevent.sleep(0.001)
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        self.done = not piece
        return piece


def asked(method="GET", body=None, **headers):
    made = request(method, "/a", headers)
    if body is not None:
        made.body = body
    return made


def begin(connection, made, *fields, **options):
    """Send the request in a greenlet; return the lease and the greenlet."""
    leased = lease(connection, **options)
    return leased, gevent.spawn(leased.send_request, Writer(*fields, target="/a"), made, "10.0.0.1:80")


def test_a_request_without_a_body(connected):
    connection, peer = connected()
    leased, sending = begin(connection, asked(), ("Via", "1.1 us"), ("Connection", "TE"), ("TE", "trailers"))
    event = peer.event(HeadReceived)
    assert event.ended
    head = event.head
    assert (head.method, head.target, head.host) == ("GET", "/a", "a")
    assert head.headers.items() == [("Host", "a"), ("via", "1.1 us"), ("te", "trailers")]
    peer.respond(event.stream, 200, end=True, x_own="1")
    answer = sending.get(timeout=1)
    assert (answer.status, answer.headers.items(), answer.keep) == (200, [("x-own", "1")], False)
    assert leased.receive_body(answer.framing) == (b"", None)
    assert not leased.is_reusable(None)
    leased.close()
    leased.close()
    assert connection.leases == 0
    assert not connection.is_closed


def test_a_stream_has_one_request(connected):
    connection, peer = connected()
    leased, sending = begin(connection, asked())
    peer.respond(peer.event(HeadReceived).stream, 200, end=True)
    sending.get(timeout=1)
    with pytest.raises(RuntimeError, match="a bug in gproxy"):
        leased.send_request(Writer(), asked(), "a")


@pytest.mark.parametrize("call", ["receive_body", "continue_upload", "watch_client", "start_tunnel"])
def test_misuse_before_the_request(connected, call):
    connection, _ = connected()
    leased = lease(connection)
    with pytest.raises(RuntimeError, match=r"<BackendStream .* unused, upload NONE>"):
        getattr(leased, call)(*(() if call == "start_tunnel" else (None,)))


def test_a_lease_that_was_not_used_is_given_back(connected):
    connection, _ = connected()
    lease(connection).close()
    assert connection.leases == 0


def test_a_body_in_memory_goes_with_the_head(connected):
    connection, peer = connected()
    leased, sending = begin(connection, asked("POST", Body(b"hello")))
    stream = peer.event(HeadReceived).stream
    event = peer.event(DataReceived)
    assert (event.data, event.ended) == (b"hello", True)
    peer.respond(stream, 204, end=True)
    assert sending.get(timeout=1).status == 204
    assert leased.upload is UploadState.DONE


def test_a_body_of_unknown_length_with_trailers(connected):
    connection, peer = connected()
    source = Source(b"one", b"two", b"")
    source.trailers = [("x-sum", "2")]
    _, sending = begin(connection, asked("POST", Body(reader=source)))
    stream = peer.event(HeadReceived).stream
    assert peer.event(TrailersReceived).pairs == [("x-sum", "2")]
    peer.respond(stream, 200, end=True)
    sending.get(timeout=1)


def test_a_body_longer_than_the_window_waits_and_renews_the_deadline(connected):
    connection, peer = connected()
    clock = Clock()
    made = asked("POST", Body(b"x" * 200_000))
    made.deadline = Deadline(clock=clock)
    _, sending = begin(connection, made)
    stream = peer.event(HeadReceived).stream
    size = 0
    while size < 200_000:
        event = peer.event(DataReceived)
        size += len(event.data)
        peer.session.consumed(stream, len(event.data))
        peer.flush()
    assert event.ended
    peer.respond(stream, 200, end=True)
    assert sending.get(timeout=1).status == 200


def test_a_response_before_the_end_of_the_upload(connected):
    connection, peer = connected()
    source = Source(b"begun")
    made = asked("POST", Body(reader=source))
    leased, sending = begin(connection, made)
    stream = peer.event(HeadReceived).stream
    peer.event(DataReceived)
    peer.respond(stream, 200)
    source.pieces.append(b"more")  # this source is not interrupted as a client's channel is
    assert sending.get(timeout=1).status == 200
    assert leased.upload is UploadState.PENDING
    leased.continue_upload(made)
    source.pieces += [b"rest", b""]
    turn_until(lambda: peer.look() or leased.upload is UploadState.DONE)
    leased.join_upload()
    peer.data(stream, b"ok", end=True)
    data, rest = leased.receive_body(-1)
    assert data + (rest.next_piece() if rest else b"") == b"ok"
    leased.close()
    assert connection.leases == 0


def test_a_client_that_breaks_off_an_upload_beside_the_response(connected):
    connection, peer = connected()
    source = Source(b"begun")
    made = asked("POST", Body(reader=source))
    leased, sending = begin(connection, made)
    stream = peer.event(HeadReceived).stream
    peer.respond(stream, 200)
    source.pieces.append(b"more")
    sending.get(timeout=1)
    leased.continue_upload(made)
    source.pieces.append(HTTPError(400, "cut off"))
    turn_until(lambda: leased.upload is UploadState.FAILED)
    assert isinstance(leased.upload_error, HTTPError)
    assert peer.event(StreamReset).code == CANCEL


def test_an_upload_that_the_client_breaks_off_before_the_response(connected):
    connection, peer = connected()
    leased, sending = begin(connection, asked("POST", Body(reader=Source(b"begun", HTTPError(400, "cut off")))))
    with pytest.raises(HTTPError):
        sending.get(timeout=1)
    assert leased.upload is UploadState.FAILED
    leased.close()
    assert peer.event(StreamReset).code == CANCEL


def test_a_client_that_leaves(connected, scripted):
    connection, peer = connected()
    client = scripted()
    made = asked()
    made.client_stream = client.client
    leased, sending = begin(connection, made)
    peer.event(HeadReceived)
    assert made.phase == WAIT
    client.add(END)
    with pytest.raises(ClientGone):
        sending.get(timeout=1)
    leased.close()
    assert peer.event(StreamReset).code == CANCEL


def test_expect_continue_waits_for_the_backend(connected):
    connection, peer = connected()
    asks = []
    made = asked("POST", Body(reader=Source(b"body", b""), length=4, on_first_read=lambda: asks.append(1)))
    _, sending = begin(connection, made, ("Expect", "100-continue"))
    event = peer.event(HeadReceived)
    assert event.head.headers["expect"] == "100-continue"
    peer.respond(event.stream, 417, end=True)
    assert sending.get(timeout=1).status == 417
    assert asks == []


def test_the_observer_gets_the_time_until_the_head(connected):
    connection, peer = connected()
    seen = []
    _, sending = begin(connection, asked(), observe=lambda seconds, answered: seen.append(answered))
    peer.respond(peer.event(HeadReceived).stream, 200, end=True)
    sending.get(timeout=1)
    _, sending = begin(connection, asked(), observe=lambda seconds, answered: seen.append(answered))
    peer.reset(peer.event(HeadReceived).stream, 7)
    with pytest.raises(RefusedStreamError):
        sending.get(timeout=1)
    assert seen == [True, False]


def test_a_websocket(connected):
    connection, peer = connected(enable_connect=True)
    assert connection.accepts("WebSocket")
    assert not connection.accepts("tcp")
    made = asked(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")
    made.headers.put("Sec-WebSocket-Key", "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    made.upgrade = "websocket"
    leased, sending = begin(connection, made, ("Sec-WebSocket-Key", "x"), ("Upgrade", "websocket"))
    event = peer.event(HeadReceived)
    assert event.head.protocol == "websocket"
    assert "sec-websocket-key" not in event.head.headers
    peer.respond(event.stream, 200)
    head = sending.get(timeout=1)
    assert (head.status, head.upgrade) == (101, "websocket")
    assert head.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    tunnel = leased.start_tunnel()
    tunnel.send(b"ping")
    assert peer.event(DataReceived).data == b"ping"
    peer.data(event.stream, b"pong")
    assert tunnel.read(10) == b"pong"


def test_a_websocket_that_was_accepted_with_204_keeps_nothing_unread(connected, buffers):
    connection, peer = connected(enable_connect=True)
    made = asked()
    made.upgrade = "websocket"
    leased, sending = begin(connection, made)
    stream = peer.event(HeadReceived).stream
    peer.respond(stream, 204)
    assert sending.get(timeout=1).status == 101
    leased.start_tunnel().shut_writing()
    leased.close()
    peer.data(stream, b"late")
    gevent.sleep(0.01)
    assert buffers.used == 0
    assert peer.event(StreamReset).code == CANCEL


def test_a_backend_without_extended_connect(connected):
    connection, _ = connected(enable_connect=False)
    assert not connection.accepts("websocket")
