"""One connection to a backend whose every byte is scripted: its states, response heads and bodies."""

import math

import gevent
import pytest

from gproxy.http.errors import BadMessage, ClientGone, Incomplete
from gproxy.http.framing import CHUNKED, UNTIL_CLOSE
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.errors import StaleConnectionError, UnansweredError
from gproxy.upstream.http1.connection import ConnectionState, HTTP1Connection
from gproxy.upstream.http1.response_head import MAX_HEAD
from unit.upstream.backends import send

from .conftest import HEAD, NO_CONTENT, OK, POST, Socket, turn_until, with_client

pytestmark = pytest.mark.timeout(10)  # a script that says too little is a wait without an end

NEW, ACTIVE, IDLE, CLOSED = ConnectionState


# States


CALLS = {
    "send_request": lambda connection: send(connection, HEAD, request()),
    "receive_body": lambda connection: connection.receive_body(0),
    "continue_upload": lambda connection: connection.continue_upload(request()),
    "become_idle": lambda connection: connection.become_idle(100.0),
    "close": lambda connection: connection.close(),
}
#: What each call leads to, by the state before it; None is an error.
TABLE = {
    #                   NEW     ACTIVE  IDLE    CLOSED
    "send_request":    (ACTIVE, None,   ACTIVE, None),
    "receive_body":    (None,   ACTIVE, None,   None),
    "continue_upload": (None,   ACTIVE, None,   None),
    "become_idle":     (None,   IDLE,   None,   None),
    "close":           (CLOSED, CLOSED, CLOSED, CLOSED),
}  # fmt: skip


@pytest.fixture
def in_state(backend):
    """A connection in this state, and the script's channel."""

    def make(state):
        connection, peer = backend(NO_CONTENT, NO_CONTENT)
        if state is not NEW:
            send(connection, HEAD, request())
        if state is IDLE:
            connection.become_idle(100.0)
        elif state is CLOSED:
            connection.close()
        assert connection.state is state
        return connection, peer

    return make


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", ConnectionState)
def test_each_call_leads_from_one_state_to_another_or_is_an_error(in_state, state, call):
    connection, peer = in_state(state)
    expected = TABLE[call][state.value]
    sends, shown = len(peer.sends), repr(connection)
    if expected is None:
        with pytest.raises(RuntimeError) as caught:
            CALLS[call](connection)
        allowed = "NEW or IDLE" if call == "send_request" else "ACTIVE"
        assert str(caught.value) == f"{call} on {shown}, expected {allowed}: a bug in gproxy, please report it"
        assert (repr(connection), len(peer.sends)) == (shown, sends)
    else:
        CALLS[call](connection)
        assert connection.state is expected


@pytest.mark.parametrize(
    ("state", "is_connected", "is_reusable", "shown"),
    [
        (NEW, True, False, "<HTTP1Connection 10.0.0.1:80 NEW, 0 requests>"),
        (ACTIVE, False, True, "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request>"),
        (IDLE, True, False, "<HTTP1Connection 10.0.0.1:80 IDLE, 1 request>"),
        (CLOSED, False, False, "<HTTP1Connection 10.0.0.1:80 CLOSED, 1 request>"),
    ],
)
def test_what_a_state_says_of_the_next_request(in_state, state, is_connected, is_reusable, shown):
    connection, _ = in_state(state)
    assert (connection.is_connected, connection.is_reusable(None), repr(connection)) == (
        is_connected,
        is_reusable,
        shown,
    )


def test_each_request_counts(idle):
    connection, _ = idle(*[NO_CONTENT] * 11)
    for _ in range(11):
        send(connection, HEAD, request())
        connection.become_idle(100.0)
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 IDLE, 12 requests>"


@pytest.mark.parametrize(("field", "seconds"), [("", math.inf), ("Keep-Alive: timeout=5\r\n", 3.0)])
def test_how_long_the_backend_keeps_the_connection(backend, field, seconds):
    connection, _ = backend(f"HTTP/1.1 204 No Content\r\n{field}\r\n".encode())
    assert connection.idle_timeout == math.inf
    send(connection, HEAD, request())
    assert connection.idle_timeout == seconds


# Response heads


def test_the_request_is_sent_as_it_is_and_the_head_is_returned(backend):
    connection, peer = backend(OK + b"hi")
    answer = send(connection, HEAD, request())
    assert peer.sends == [HEAD]
    assert (answer.status, answer.phrase, answer.framing, answer.keep) == (200, "OK", 2, True)
    assert answer.headers.items() == [("Content-Length", "2"), ("X", "y")]
    assert peer.backend.buffer == b"hi"


@pytest.mark.parametrize("cut", range(1, len(OK)))
def test_a_head_in_two_pieces(backend, cut):
    connection, _ = backend(OK[:cut], OK[cut:] + b"hi")
    answer = send(connection, HEAD, request())
    assert (answer.status, answer.headers["X"]) == (200, "y")
    assert connection.receive_body(answer.framing) == (b"hi", None)


def test_a_head_byte_by_byte(backend):
    connection, peer = backend(*(bytes([byte]) for byte in OK))
    assert send(connection, HEAD, request()).head == OK
    assert peer.remaining == []


def test_a_repeated_head_is_parsed_once(backend):
    connection, _ = backend(OK + b"hi", OK + b"ho", OK.replace(b"y", b"z") + b"ha")

    def exchange():
        answer = send(connection, HEAD, request())
        body = connection.receive_body(answer.framing)
        connection.become_idle(100.0)
        return answer, body

    first, second, third = (exchange() for _ in range(3))
    assert first[0] is second[0]
    assert (first[1], second[1], third[1]) == ((b"hi", None), (b"ho", None), (b"ha", None))
    assert third[0].headers["X"] == "z"


def test_the_same_head_to_another_method_means_something_else(backend):
    connection, _ = backend(OK + b"hi", OK)
    answer = send(connection, HEAD, request())
    connection.receive_body(answer.framing)
    connection.become_idle(100.0)
    assert send(connection, HEAD, request("HEAD")).framing == 0


def test_a_head_at_the_limit_and_beyond(backend):
    def head(size):
        return OK[:-2] + b"Y: " + b"y" * (size - len(OK) - 3) + b"\r\n\r\n"

    connection, _ = backend(head(MAX_HEAD))
    assert len(send(connection, HEAD, request()).headers["Y"]) == MAX_HEAD - len(OK) - 3
    for script in ([head(MAX_HEAD + 5)], [head(MAX_HEAD * 2)[: MAX_HEAD + 4]]):
        connection, _ = backend(*script)
        with pytest.raises(BadMessage, match="head") as caught:
            send(connection, HEAD, request())
        assert caught.value.status == 502


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"H2", b"HTTP/2.0 200 OK\r\n\r\n", b"\r\n", b"HTTP/1.1 200 OK\n", b"\0", b"HTTP/1.1 200\r\nA : b\r\n\r\n"]
)  # fmt: skip
def test_garbage_is_rejected_at_once(backend, garbage):
    connection, _ = backend(garbage)
    with pytest.raises(BadMessage):
        send(connection, HEAD, request())


def test_progress_is_reported_for_what_the_backend_takes_and_gives(backend):
    connection, _ = backend(OK[:10], OK[10:20], OK[20:])
    asked = request()
    seen = []
    asked.deadline.progress = seen.append
    send(connection, HEAD, asked)
    assert seen == [False, True, True]


# Interim responses


def test_an_interim_response_is_passed_on_without_fields_of_ours(backend, scripted):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Request-ID: theirs\r\n\r\n"
    connection, _ = backend(hints + hints, OK)
    client = scripted()
    assert send(connection, HEAD, with_client(client)).status == 200
    assert client.sends == [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] * 2


def test_an_interim_response_is_not_passed_on_to_http_1_0(backend, scripted):
    connection, _ = backend(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    client = scripted()
    assert send(connection, HEAD, with_client(client, minor=0)).status == 200
    assert client.sent == b""


def test_a_100_that_no_client_awaits_is_dropped(backend, scripted):
    connection, _ = backend(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    client = scripted()
    assert send(connection, HEAD, with_client(client)).status == 200
    assert client.sent == b""


def test_switching_protocols_is_final(backend):
    connection, peer = backend(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n\x81\0"
    )
    answer = send(connection, HEAD, request())
    assert (answer.status, answer.upgrade) == (101, "websocket")
    assert peer.backend.buffer == b"\x81\0"


# Connections that end


@pytest.fixture
def new_or_idle(request, backend, idle):
    """A new connection, or one that is idle after an exchange."""
    return idle if request.param is IDLE else backend


IF_IDLE_STALE = pytest.mark.parametrize(
    ("new_or_idle", "error"), [(NEW, UnansweredError), (IDLE, StaleConnectionError)], indirect=["new_or_idle"]
)


@pytest.mark.parametrize("ending", [END, RESET])
@IF_IDLE_STALE
def test_an_end_before_the_first_byte(new_or_idle, ending, error):
    connection, _ = new_or_idle(After(POST), ending)
    with pytest.raises(error):
        send(connection, POST, request())


@IF_IDLE_STALE
def test_a_reset_before_the_request(new_or_idle, error):
    connection, peer = new_or_idle(RESET)
    with pytest.raises(error):
        send(connection, POST, request())
    assert POST not in peer.sent


def test_an_end_in_the_head_is_the_backends_fault_on_a_reused_connection_too(idle):
    connection, _ = idle(OK[:20], END)
    with pytest.raises(Incomplete, match="closed within the response head"):
        send(connection, HEAD, request())


def test_a_reset_in_the_head(backend):
    connection, peer = backend(OK[:20], RESET)
    with pytest.raises(ConnectionError):
        send(connection, HEAD, request())
    assert peer.backend.is_closed


def test_an_end_after_an_interim_response_is_not_stale(idle):
    connection, _ = idle(b"HTTP/1.1 103 Early Hints\r\n\r\n", END)
    with pytest.raises(UnansweredError):
        send(connection, HEAD, request())


def test_the_client_leaves_while_the_backend_is_silent(backend, scripted):
    connection, _ = backend()
    with pytest.raises(ClientGone):
        send(connection, HEAD, with_client(scripted(END)))


def test_a_pipelined_request_is_kept_for_later(backend, scripted):
    connection, peer = backend(After(HEAD + b"!"), OK)
    client = scripted(b"GET /next")

    def answer_later():
        turn_until(lambda: client.client.buffer)
        peer.backend.send(b"!")

    gevent.spawn(answer_later)
    assert send(connection, HEAD, with_client(client)).status == 200
    assert client.client.buffer == b"GET /next"


def test_closing_closes_the_channel_and_the_connection(scripted):
    peer, underlying = scripted(), Socket()
    connection = HTTP1Connection(underlying, peer.backend, "10.0.0.1:80")
    connection.close()
    connection.close()
    assert peer.actions == ["close"]
    assert underlying.is_closed
    assert not connection.is_connected


# Response bodies, and what becomes of the connection


def received(backend, framing, *script):
    connection, _ = backend(*script)
    send(connection, HEAD, request())
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


def test_a_connection_on_which_something_came_is_not_connected(idle):
    connection, peer = idle()
    assert connection.is_connected
    peer.add(END)
    turn_until(lambda: peer.backend.has_event)
    assert not connection.is_connected


def test_a_connection_with_bytes_in_its_buffer_is_not_connected(idle):
    connection, peer = idle()
    peer.backend.buffer = b"HTTP"
    assert not connection.is_connected


# Observers


def test_an_exchange_is_observed_without_the_time_that_was_the_clients(backend):
    seen = []
    connection, _ = backend(OK, observe=lambda seconds, answered: seen.append((seconds, answered)))
    asked = request()
    asked.deadline.progress = lambda _: setattr(asked.deadline, "paused", 100.0)
    send(connection, HEAD, asked)
    (seconds, answered) = seen[0]
    assert answered and -100.0 <= seconds < -99.0


def test_a_failed_exchange_is_observed_as_unanswered(backend):
    seen = []
    connection, _ = backend(END, observe=lambda _, answered: seen.append(answered))
    with pytest.raises(UnansweredError):
        send(connection, HEAD, request())
    assert seen == [False]


def test_a_request_that_is_cut_is_not_observed(backend):
    def cut(_):
        raise Expired(TimeLimit.CUT)

    seen = []
    connection, _ = backend(OK, observe=lambda _, answered: seen.append(answered))
    asked = request()
    asked.deadline.progress = cut
    with pytest.raises(Expired):
        send(connection, HEAD, asked)
    assert seen == []
