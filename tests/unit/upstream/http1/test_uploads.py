"""The body of one request on its way to a backend whose every byte is scripted."""

import socket
from copy import copy

import gevent
import pytest

from gproxy.http.body import Body
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.framing import ChunkedReader
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.connection import UploadState
from gproxy.upstream.errors import UnansweredError, UnfinishedUploadError
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.connection import HTTP1Connection
from unit.upstream.backends import send

from .conftest import OK, POST, Socket, turn_until, upload, with_client

pytestmark = pytest.mark.timeout(10)  # a script that says too little is a wait without an end

CLOSING = OK[:-2] + b"Connection: close\r\n\r\n"
NONE, PENDING, BESIDE_RESPONSE, DONE, FAILED = UploadState


def test_head_and_body_at_hand_leave_in_one_send(backend):
    connection, peer = backend(OK)
    asked = request("POST", body=b"hello")
    send(connection, POST, asked)
    assert peer.sends == [POST + b"hello"]


def test_a_body_that_comes_in_pieces(backend, scripted):
    connection, peer = backend(After(b"hello"), OK)
    client = scripted(b"he", b"llo, and the next request")
    assert send(connection, POST, with_client(client, upload(client, 5))).status == 200
    assert peer.sends == [POST, b"he", b"llo"]
    assert client.client.buffer == b"" and client.remaining == [b", and the next request"]


def test_a_chunked_body_with_trailers(backend, scripted):
    connection, peer = backend(After(b"\r\n0\r\nT: v\r\n\r\n"), OK)
    client = scripted(b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\nT: v\r\n\r\n")
    body = Body(reader=ChunkedReader(client.client))
    assert send(connection, POST, with_client(client, body)).status == 200
    assert peer.sent == POST + b"2\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n"


def test_a_backend_that_takes_little_at_a_time(backend, scripted):
    connection, peer = backend(After(b"hello"), OK, takes=3)
    client = scripted(b"hello")
    assert send(connection, POST, with_client(client, upload(client, 5))).status == 200
    assert peer.sent == POST + b"hello"
    assert max(map(len, peer.sends)) == 3


def test_a_response_in_the_middle_of_the_upload(backend, scripted):
    connection, peer = backend(After(b"he"), b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    client = scripted(b"he")
    asked = with_client(client, upload(client, 5))
    assert send(connection, POST, asked).status == 413
    assert peer.sent == POST + b"he"
    assert client.client.upload_peer is None
    assert not asked.body.done
    assert connection.upload is PENDING
    assert not connection.is_reusable(None)


@pytest.mark.parametrize("ending", [END, RESET])
def test_an_end_in_the_middle_of_the_upload(backend, scripted, ending):
    connection, _ = backend(After(b"he"), ending)
    client = scripted(b"he")
    with pytest.raises(UnfinishedUploadError):
        send(connection, POST, with_client(client, upload(client, 5)))
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request, upload FAILED>"
    connection.close()
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 CLOSED, 1 request, upload FAILED>"


@pytest.mark.parametrize("ending", [END, RESET])
def test_an_end_in_the_head_before_the_upload_is_complete(backend, scripted, ending):
    connection, _ = backend(After(b"he"), OK[:20], ending)
    client = scripted(b"he")
    with pytest.raises(UnfinishedUploadError):
        send(connection, POST, with_client(client, upload(client, 5)))


def test_an_end_during_the_upload_on_a_reused_connection(idle, scripted):
    connection, _ = idle(After(b"he"), END)
    client = scripted(b"he")
    with pytest.raises(UnfinishedUploadError):
        send(connection, POST, with_client(client, upload(client, 5)))


def test_a_client_that_leaves_in_the_middle_of_the_upload(backend, scripted):
    connection, _ = backend()
    client = scripted(b"he", END)
    with pytest.raises(HTTPError) as caught:
        send(connection, POST, with_client(client, upload(client, 5)))
    assert (caught.value.status, caught.value.reason) == (400, "client_gone")
    assert connection.upload is FAILED


def asking_first(client, length=5):
    """A body whose client waits for 100."""
    return upload(client, length, on_first_read=client.client.send_continue)


def test_a_100_lets_the_client_send(backend, scripted):
    connection, peer = backend(After(POST), b"HTTP/1.1 100 Continue\r\n\r\n", After(b"hello"), OK)
    client = scripted(After(b"100 Continue"), b"hello")
    assert send(connection, POST, with_client(client, asking_first(client))).status == 200
    assert peer.sends == [POST, b"hello"]
    assert client.sends == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_a_final_response_instead_of_100(backend, scripted):
    connection, peer = backend(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    client = scripted()
    assert send(connection, POST, with_client(client, asking_first(client))).status == 417
    assert peer.sent == POST
    assert client.sent == b""


def test_another_interim_response_does_not_let_the_client_send(backend, scripted):
    connection, peer = backend(
        After(POST), b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", After(b"hello"), OK
    )
    client = scripted(After(b"100 Continue"), b"hello")
    assert send(connection, POST, with_client(client, asking_first(client))).status == 200
    assert client.sends == [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert peer.sends == [POST, b"hello"]


def test_a_client_that_does_not_wait_for_100(backend, scripted):
    connection, peer = backend(After(b"hello"), OK)
    client = scripted(b"hello")
    assert send(connection, POST, with_client(client, asking_first(client))).status == 200
    assert peer.sends == [POST, b"hello"]
    assert client.sent == b""


def test_a_client_that_leaves_before_100(backend, scripted):
    connection, _ = backend()
    client = scripted(END)
    with pytest.raises(ClientGone):
        send(connection, POST, with_client(client, asking_first(client)))
    assert connection.upload is FAILED


# The states of the upload


def test_an_upload_that_the_backend_takes_completely(backend, scripted):
    connection, _ = backend(After(b"hello"), OK + b"hi")
    client = scripted(b"he", b"llo")
    send(connection, POST, with_client(client, upload(client, 5)))
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request, upload DONE>"
    connection.receive_body(2)
    assert connection.is_reusable(None)
    connection.become_idle(100.0)
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 IDLE, 1 request>"


@pytest.fixture
def responded(backend, scripted):
    """A connection whose backend responds with `head`, and goes on with a script, after two of five bytes."""

    def make(*client_script, head=OK, then=()):
        connection, peer = backend(After(b"he"), head + b"hi", *then)
        client = scripted(b"he", After(b"go"), *client_script)
        asked = with_client(client, upload(client, 5))
        send(connection, POST, asked)
        assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request, upload PENDING>"
        assert not connection.is_reusable(None)
        return connection, peer, client, asked

    return make


@pytest.fixture
def beside(responded):
    """The same connection; the rest of the body is sent beside the response."""

    def make(*client_script, **options):
        connection, peer, client, asked = responded(*client_script, **options)
        connection.continue_upload(copy(asked))
        assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request, upload BESIDE_RESPONSE>"
        assert not connection.is_reusable(None)
        return connection, peer, client, asked.body

    return make


def finish(connection, client):
    """Let the client send the rest, and wait for the end of the upload."""
    client.client.send(b"go")
    turn_until(lambda: connection.upload is not BESIDE_RESPONSE)


def test_the_rest_of_an_upload_is_sent_beside_the_response(beside):
    connection, peer, client, body = beside(b"l", b"lo")
    finish(connection, client)
    assert peer.sent == POST + b"hello"
    assert body.done and body.in_flight
    assert (connection.upload, connection.upload_error) == (DONE, None)
    assert connection.receive_body(2) == (b"hi", None)
    assert connection.is_reusable(None)


def test_a_backend_that_closes_after_its_response_gets_the_rest_too(beside):
    connection, peer, client, _ = beside(b"llo", head=CLOSING, then=[END])
    finish(connection, client)
    assert peer.sent == POST + b"hello"
    assert connection.upload is DONE
    connection.receive_body(2)
    assert not connection.is_reusable(None)


def test_closing_ends_an_upload_beside_the_response(beside):
    connection, peer, client, _ = beside(b"llo", head=CLOSING)
    gevent.sleep(0.001)  # the upload waits for its client
    connection.close()
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 CLOSED, 1 request, upload FAILED>"
    client.client.send(b"go")
    gevent.sleep(0.001)
    assert client.remaining == [b"llo"]
    assert (peer.sent, peer.actions) == (POST + b"he", ["close"])


def test_closing_ends_an_upload_that_has_not_begun_beside_the_response(beside):
    connection, _, _, _ = beside()
    connection.close()
    assert connection.upload is FAILED


def test_closing_ends_an_upload_that_the_response_has_ended(responded):
    connection, _, _, _ = responded(head=b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\n")
    connection.close()
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 CLOSED, 1 request, upload FAILED>"


def throw_soon(error):
    gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, error)


class Stubborn:
    """A body whose reader takes its time to end."""

    done, trailers = False, ()

    def next_piece(self):
        try:
            gevent.sleep(60)
        finally:
            gevent.sleep(0.001)


def test_a_deadline_that_ends_while_the_upload_is_cancelled_leaves_nothing_open(backend):
    connection, peer = backend(OK)
    asked = request("POST")
    asked.body = Body(reader=Stubborn(), length=5)
    peer.backend.has_event = True
    send(connection, POST, asked)
    connection.continue_upload(asked)
    gevent.sleep(0)
    throw_soon(Expired(TimeLimit.DEADLINE))
    with pytest.raises(Expired):
        connection.close()
    assert (connection.upload, peer.actions) == (FAILED, ["close"])


def test_a_client_that_leaves_beside_the_response_ends_the_connection(beside):
    connection, peer, client, _ = beside(END)
    finish(connection, client)
    assert isinstance(connection.upload_error, HTTPError)
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request, upload FAILED>"
    assert peer.actions == ["shut"]
    assert not connection.is_reusable(None)


def test_a_backend_that_resets_beside_its_response_ends_the_connection(beside):
    connection, peer, client, _ = beside(b"llo", then=[RESET])
    finish(connection, client)
    assert (connection.upload, connection.upload_error) == (FAILED, None)
    assert peer.actions == ["shut"]
    assert not connection.is_reusable(None)


class Responding:
    """A body; before its next piece the backend responds and closes."""

    done, trailers = False, ()

    def __init__(self, backend):
        self._backend = backend

    def next_piece(self):
        self._backend.recv(100)
        self._backend.sendall(OK + b"hi")
        self._backend.close()
        return b"hello"


def test_a_response_before_a_reset_during_the_upload_counts():
    here, there = socket.socketpair()
    here.setblocking(False)
    connection = HTTP1Connection(Socket(), BackendChannel(here), "10.0.0.1:80")
    asked = request("POST")
    asked.body = Body(reader=Responding(there), length=10)
    assert send(connection, POST, asked).status == 200
    assert connection.upload is FAILED
    connection.continue_upload(asked)
    assert not asked.body.in_flight
    assert connection.receive_body(2) == (b"hi", None)
    assert not connection.is_reusable(None)
    connection.close()


@pytest.mark.parametrize("limit", [TimeLimit.DEADLINE, TimeLimit.BODY, TimeLimit.DRAINING])
def test_a_limit_that_expires_during_the_upload(backend, scripted, limit):
    connection, _ = backend()
    client = scripted(b"he")
    throw_soon(Expired(limit))
    with pytest.raises(Expired):
        send(connection, POST, with_client(client, upload(client, 5)))
    assert repr(connection) == "<HTTP1Connection 10.0.0.1:80 ACTIVE, 1 request, upload FAILED>"
    assert client.client.upload_peer is None


def test_a_limit_that_expires_after_the_upload(backend):
    connection, _ = backend()
    throw_soon(Expired(TimeLimit.DEADLINE))
    with pytest.raises(Expired):
        send(connection, POST, request("POST", body=b"hello"))
    assert connection.upload is DONE


def test_a_request_without_a_body_uploads_nothing(backend):
    connection, _ = backend(END)
    with pytest.raises(UnansweredError):
        send(connection, POST, request())
    assert connection.upload is NONE
