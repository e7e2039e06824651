"""One exchange with a backend whose every byte is scripted."""

from copy import copy

import gevent
import pytest

from gproxy.http.body import Body
from gproxy.http.errors import BadMessage, ClientGone, HTTPError, Incomplete
from gproxy.http.framing import CHUNKED, UNTIL_CLOSE, ChunkedReader, LengthReader
from gproxy.http.request import Received, Request, request
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.errors import StaleConnectionError, UnansweredError, UnfinishedUploadError
from gproxy.upstream.http1.connection import MAX_HEAD, HTTP1Connection

pytestmark = pytest.mark.timeout(10)  # a script that says too little is a wait without an end

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n"


class Socket:
    """What urllib3 closes."""

    def __init__(self):
        self.is_closed = False

    def close(self):
        self.is_closed = True


@pytest.fixture
def backend(scripted):
    """A connection to a backend with this script, and the script's channel."""

    def make(*script, observe=None, **options):
        peer = scripted(*script, **options)
        return HTTP1Connection(Socket(), peer.backend, observe), peer

    return make


def with_client(client, body=None, minor=1):
    """A request that came from this client."""
    asked = request("POST")
    if minor == 0:
        old = Received("GET", "/", 0, [], "192.0.2.1")
        asked = Request(old, asked.headers, "a", "/", "")
    asked.client_stream = client.client
    asked.client_stream.deadline = asked.deadline
    if body is not None:
        asked.body = body
    return asked


def turn_until(condition):
    """Let the event loop turn until something holds; `sleep(0)` would run callbacks only, and look at no socket."""
    for _ in range(1000):
        if condition():
            return
        gevent.sleep(0.00001)
    raise AssertionError("the event loop has turned in vain")


def upload(client, length, **options):
    return Body(reader=LengthReader(client.client, length), length=length, **options)


# Response heads


def test_the_request_is_sent_as_it_is_and_the_head_is_returned(backend):
    connection, peer = backend(OK + b"hi")
    answer = connection.send_request(HEAD, request())
    assert peer.sends == [HEAD]
    assert (answer.status, answer.phrase, answer.framing, answer.keep) == (200, "OK", 2, True)
    assert answer.headers.items() == [("Content-Length", "2"), ("X", "y")]
    assert peer.backend.buffer == b"hi"


@pytest.mark.parametrize("cut", range(1, len(OK)))
def test_a_head_in_two_pieces(backend, cut):
    connection, _ = backend(OK[:cut], OK[cut:] + b"hi")
    answer = connection.send_request(HEAD, request())
    assert (answer.status, answer.headers["X"]) == (200, "y")
    assert connection.receive_body(answer.framing) == (b"hi", None)


def test_a_head_byte_by_byte(backend):
    connection, peer = backend(*(bytes([byte]) for byte in OK))
    assert connection.send_request(HEAD, request()).head == OK
    assert peer.remaining == []


def test_a_repeated_head_is_parsed_once(backend):
    connection, _ = backend(OK + b"hi", OK + b"ho", OK.replace(b"y", b"z") + b"ha")
    first, second, third = (
        (answer := connection.send_request(HEAD, request()), connection.receive_body(answer.framing)) for _ in range(3)
    )
    assert first[0] is second[0]
    assert (first[1], second[1], third[1]) == ((b"hi", None), (b"ho", None), (b"ha", None))
    assert third[0].headers["X"] == "z"


def test_the_same_head_to_another_method_means_something_else(backend):
    connection, _ = backend(OK + b"hi", OK)
    answer = connection.send_request(HEAD, request())
    connection.receive_body(answer.framing)
    assert connection.send_request(HEAD, request("HEAD")).framing == 0


def test_a_head_at_the_limit_and_beyond(backend):
    def head(size):
        return OK[:-2] + b"Y: " + b"y" * (size - len(OK) - 3) + b"\r\n\r\n"

    connection, _ = backend(head(MAX_HEAD))
    assert len(connection.send_request(HEAD, request()).headers["Y"]) == MAX_HEAD - len(OK) - 3
    for script in ([head(MAX_HEAD + 5)], [head(MAX_HEAD * 2)[: MAX_HEAD + 4]]):
        connection, _ = backend(*script)
        with pytest.raises(BadMessage, match="head") as caught:
            connection.send_request(HEAD, request())
        assert caught.value.status == 502


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"H2", b"HTTP/2.0 200 OK\r\n\r\n", b"\r\n", b"HTTP/1.1 200 OK\n", b"\0", b"HTTP/1.1 200\r\nA : b\r\n\r\n"]
)  # fmt: skip
def test_garbage_is_rejected_at_once(backend, garbage):
    connection, _ = backend(garbage)
    with pytest.raises(BadMessage):
        connection.send_request(HEAD, request())


def test_progress_is_reported_for_what_the_backend_takes_and_gives(backend):
    connection, _ = backend(OK[:10], OK[10:20], OK[20:])
    asked = request()
    seen = []
    asked.deadline.progress = seen.append
    connection.send_request(HEAD, asked)
    assert seen == [False, True, True]


# Interim responses


def test_an_interim_response_is_passed_on_without_fields_of_ours(backend, scripted):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Request-ID: theirs\r\n\r\n"
    connection, _ = backend(hints + hints, OK)
    client = scripted()
    assert connection.send_request(HEAD, with_client(client)).status == 200
    assert client.sends == [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] * 2


def test_an_interim_response_is_not_passed_on_to_http_1_0(backend, scripted):
    connection, _ = backend(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    client = scripted()
    assert connection.send_request(HEAD, with_client(client, minor=0)).status == 200
    assert client.sent == b""


def test_a_100_that_no_client_awaits_is_dropped(backend, scripted):
    connection, _ = backend(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    client = scripted()
    assert connection.send_request(HEAD, with_client(client)).status == 200
    assert client.sent == b""


def test_switching_protocols_is_final(backend):
    connection, peer = backend(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n\x81\0"
    )
    answer = connection.send_request(HEAD, request())
    assert (answer.status, answer.upgrade) == (101, "websocket")
    assert peer.backend.buffer == b"\x81\0"


# Connections that end


@pytest.mark.parametrize("ending", [END, RESET])
@pytest.mark.parametrize(("reused", "error"), [(False, UnansweredError), (True, StaleConnectionError)])
def test_an_end_before_the_first_byte(backend, ending, reused, error):
    connection, _ = backend(After(HEAD), ending)
    connection.reused = reused
    with pytest.raises(error):
        connection.send_request(HEAD, request())


@pytest.mark.parametrize(("reused", "error"), [(False, UnansweredError), (True, StaleConnectionError)])
def test_a_reset_before_the_request(backend, reused, error):
    connection, peer = backend(RESET)
    connection.reused = reused
    with pytest.raises(error):
        connection.send_request(HEAD, request())
    assert peer.sent == b""


def test_an_end_in_the_head_is_the_backends_fault_on_a_reused_connection_too(backend):
    connection, _ = backend(OK[:20], END)
    connection.reused = True
    with pytest.raises(Incomplete, match="closed within the response head"):
        connection.send_request(HEAD, request())


def test_a_reset_in_the_head(backend):
    connection, peer = backend(OK[:20], RESET)
    with pytest.raises(ConnectionError):
        connection.send_request(HEAD, request())
    assert peer.backend.is_closed


def test_an_end_after_an_interim_response_is_not_stale(backend):
    connection, _ = backend(b"HTTP/1.1 103 Early Hints\r\n\r\n", END)
    connection.reused = True
    with pytest.raises(UnansweredError):
        connection.send_request(HEAD, request())


def test_the_client_leaves_while_the_backend_is_silent(backend, scripted):
    connection, _ = backend()
    with pytest.raises(ClientGone):
        connection.send_request(HEAD, with_client(scripted(END)))


def test_a_pipelined_request_is_kept_for_later(backend, scripted):
    connection, peer = backend(After(HEAD + b"!"), OK)
    client = scripted(b"GET /next")

    def answer_later():
        turn_until(lambda: client.client.buffer)
        peer.backend.send(b"!")

    gevent.spawn(answer_later)
    assert connection.send_request(HEAD, with_client(client)).status == 200
    assert client.client.buffer == b"GET /next"


def test_closing_closes_the_channel_and_the_connection(backend):
    connection, peer = backend()
    connection.close()
    connection.close()
    assert peer.actions == ["close"]
    assert connection._connection.is_closed
    assert not connection.is_connected


# Uploads


def test_head_and_body_at_hand_leave_in_one_send(backend):
    connection, peer = backend(OK)
    asked = request("POST", body=b"hello")
    connection.send_request(POST, asked)
    assert peer.sends == [POST + b"hello"]


def test_a_body_that_comes_in_pieces(backend, scripted):
    connection, peer = backend(After(b"hello"), OK)
    client = scripted(b"he", b"llo, and the next request")
    assert connection.send_request(POST, with_client(client, upload(client, 5))).status == 200
    assert peer.sends == [POST, b"he", b"llo"]
    assert client.client.buffer == b"" and client.remaining == [b", and the next request"]


def test_a_chunked_body_with_trailers(backend, scripted):
    connection, peer = backend(After(b"\r\n0\r\nT: v\r\n\r\n"), OK)
    client = scripted(b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\nT: v\r\n\r\n")
    body = Body(reader=ChunkedReader(client.client))
    assert connection.send_request(POST, with_client(client, body)).status == 200
    assert peer.sent == POST + b"2\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n"


def test_a_backend_that_takes_little_at_a_time(backend, scripted):
    connection, peer = backend(After(b"hello"), OK, takes=3)
    client = scripted(b"hello")
    assert connection.send_request(POST, with_client(client, upload(client, 5))).status == 200
    assert peer.sent == POST + b"hello"
    assert max(map(len, peer.sends)) == 3


def test_a_response_in_the_middle_of_the_upload(backend, scripted):
    connection, peer = backend(After(b"he"), b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    client = scripted(b"he")
    asked = with_client(client, upload(client, 5))
    assert connection.send_request(POST, asked).status == 413
    assert peer.sent == POST + b"he"
    assert client.client.upload_peer is None
    assert not asked.body.done
    assert not connection.is_reusable(None)


@pytest.mark.parametrize("ending", [END, RESET])
def test_an_end_in_the_middle_of_the_upload(backend, scripted, ending):
    connection, _ = backend(After(b"he"), ending)
    client = scripted(b"he")
    with pytest.raises(UnfinishedUploadError):
        connection.send_request(POST, with_client(client, upload(client, 5)))


@pytest.mark.parametrize("ending", [END, RESET])
def test_an_end_in_the_head_before_the_upload_is_complete(backend, scripted, ending):
    connection, _ = backend(After(b"he"), OK[:20], ending)
    client = scripted(b"he")
    with pytest.raises(UnfinishedUploadError):
        connection.send_request(POST, with_client(client, upload(client, 5)))


def test_an_end_during_the_upload_on_a_reused_connection(backend, scripted):
    connection, _ = backend(After(b"he"), END)
    connection.reused = True
    client = scripted(b"he")
    with pytest.raises(UnfinishedUploadError):
        connection.send_request(POST, with_client(client, upload(client, 5)))


def test_a_client_that_leaves_in_the_middle_of_the_upload(backend, scripted):
    connection, _ = backend()
    client = scripted(b"he", END)
    with pytest.raises(HTTPError) as caught:
        connection.send_request(POST, with_client(client, upload(client, 5)))
    assert (caught.value.status, caught.value.reason) == (400, "client_gone")


def asking_first(client, length=5):
    """A body whose client waits for 100."""
    return upload(client, length, on_first_read=client.client.send_continue)


def test_a_100_lets_the_client_send(backend, scripted):
    connection, peer = backend(After(POST), b"HTTP/1.1 100 Continue\r\n\r\n", After(b"hello"), OK)
    client = scripted(After(b"100 Continue"), b"hello")
    assert connection.send_request(POST, with_client(client, asking_first(client))).status == 200
    assert peer.sends == [POST, b"hello"]
    assert client.sends == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_a_final_response_instead_of_100(backend, scripted):
    connection, peer = backend(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    client = scripted()
    assert connection.send_request(POST, with_client(client, asking_first(client))).status == 417
    assert peer.sent == POST
    assert client.sent == b""


def test_another_interim_response_does_not_let_the_client_send(backend, scripted):
    connection, peer = backend(
        After(POST), b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", After(b"hello"), OK
    )
    client = scripted(After(b"100 Continue"), b"hello")
    assert connection.send_request(POST, with_client(client, asking_first(client))).status == 200
    assert client.sends == [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert peer.sends == [POST, b"hello"]


def test_a_client_that_does_not_wait_for_100(backend, scripted):
    connection, peer = backend(After(b"hello"), OK)
    client = scripted(b"hello")
    assert connection.send_request(POST, with_client(client, asking_first(client))).status == 200
    assert peer.sends == [POST, b"hello"]
    assert client.sent == b""


def test_a_client_that_leaves_before_100(backend, scripted):
    connection, _ = backend()
    client = scripted(END)
    with pytest.raises(ClientGone):
        connection.send_request(POST, with_client(client, asking_first(client)))


def start_uploading(backend, scripted, *client_script):
    """An exchange whose response came after two of five bytes; the rest is carried on beside it."""
    connection, peer = backend(After(b"he"), OK + b"hi")
    client = scripted(b"he", After(b"go"), *client_script)
    asked = with_client(client, upload(client, 5))
    assert connection.send_request(POST, asked).status == 200
    connection.continue_upload(copy(asked))
    client.client.send(b"go")
    connection._uploading.join()
    return connection, peer, asked.body


def test_the_rest_of_an_upload_is_sent_beside_the_response(backend, scripted):
    connection, peer, body = start_uploading(backend, scripted, b"l", b"lo")
    assert peer.sent == POST + b"hello"
    assert body.done and body.in_flight
    assert connection.upload_error is None
    assert connection.receive_body(2) == (b"hi", None)
    assert connection.is_reusable(None)


def test_a_client_that_leaves_beside_the_response_ends_the_connection(backend, scripted):
    connection, peer, _ = start_uploading(backend, scripted, END)
    assert isinstance(connection.upload_error, HTTPError)
    assert peer.actions == ["shut"]
    assert not connection.is_reusable(None)


# Response bodies, and what becomes of the connection


def received(backend, framing, *script):
    connection, _ = backend(*script)
    connection.send_request(HEAD, request())
    return (connection, *connection.receive_body(framing))


def test_a_body_of_known_length_in_pieces(backend):
    connection, data, rest = received(backend, 5, OK + b"he", b"ll", b"o")
    assert data == b"he"
    assert [rest.next_piece() for _ in range(3)] == [b"ll", b"o", b""]
    assert rest.done
    assert connection.is_reusable(rest)


def test_a_body_that_has_not_begun(backend):
    connection, data, rest = received(backend, 2, OK, b"hi")
    assert data == b""
    assert not connection.is_reusable(rest)
    assert rest.next_piece() == b"hi"
    assert connection.is_reusable(rest)


def test_no_body(backend):
    connection, data, rest = received(backend, 0, OK)
    assert (data, rest) == (b"", None)
    assert connection.is_reusable(rest)


def test_a_chunked_body_that_came_with_its_head(backend):
    connection, data, rest = received(backend, CHUNKED, OK + b"2\r\nhi\r\n0\r\n\r\n")
    assert (data, rest) == (b"hi", None)
    assert connection.is_reusable(rest)


def test_trailers_keep_the_reader(backend):
    connection, data, rest = received(backend, CHUNKED, OK + b"2\r\nhi\r\n0\r\nT: v\r\n\r\n")
    assert (data, rest.done, rest.trailers) == (b"hi", True, [("T", "v")])
    assert connection.is_reusable(rest)


def test_a_body_until_the_end_of_the_connection(backend):
    connection, data, rest = received(backend, UNTIL_CLOSE, OK + b"he", b"llo", END)
    assert (data, rest.next_piece(), rest.next_piece(), rest.done) == (b"he", b"llo", b"", True)
    assert not connection.is_reusable(rest)


@pytest.mark.parametrize(("framing", "body"), [(2, b"hiHTTP"), (CHUNKED, b"2\r\nhi\r\n0\r\n\r\nHTTP"), (0, b"HTTP")])
def test_bytes_behind_the_body_spoil_the_connection(backend, framing, body):
    connection, _, rest = received(backend, framing, OK + body)
    assert not connection.is_reusable(rest)
    assert not connection.is_connected


def test_a_connection_on_which_something_came_is_not_connected(backend):
    connection, peer = backend()
    assert connection.is_connected
    peer.add(END)
    turn_until(lambda: peer.backend.has_event)
    assert not connection.is_connected


# Observers


def test_an_exchange_is_observed_without_the_time_that_was_the_clients(backend):
    seen = []
    connection, _ = backend(OK, observe=lambda seconds, answered: seen.append((seconds, answered)))
    asked = request()
    asked.deadline.progress = lambda _: setattr(asked.deadline, "paused", 100.0)
    connection.send_request(HEAD, asked)
    (seconds, answered) = seen[0]
    assert answered and -100.0 <= seconds < -99.0


def test_a_failed_exchange_is_observed_as_unanswered(backend):
    seen = []
    connection, _ = backend(END, observe=lambda _, answered: seen.append(answered))
    with pytest.raises(UnansweredError):
        connection.send_request(HEAD, request())
    assert seen == [False]
