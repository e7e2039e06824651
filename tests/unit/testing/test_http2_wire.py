"""A connection for tests that is written as HTTP/1.1 and speaks HTTP/2: against a server made with the package h2."""

import socket
import threading
from contextlib import suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived

from gproxy.testing.http2_wire import HTTP2Wire, NotHTTP2Error


class Server:
    """One connection, whose requests `answer(connection, stream, fields, body)` answers."""

    def __init__(self, answer):
        self.answer = answer
        self.resets = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), 5)
            self._sock, _ = listener.accept()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.wire = HTTP2Wire(client)

    def _run(self):
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        connection.initiate_connection()
        fields, bodies = {}, {}
        with self._sock as sock, suppress(OSError):  # the client may leave at any moment
            sock.sendall(connection.data_to_send())
            while data := sock.recv(65536):
                for event in connection.receive_data(data):
                    self._take(connection, event, fields, bodies)
                sock.sendall(connection.data_to_send())

    def _take(self, connection, event, fields, bodies):
        if isinstance(event, RequestReceived):
            fields[event.stream_id], bodies[event.stream_id] = event.headers, b""
        elif isinstance(event, DataReceived):
            bodies[event.stream_id] += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            fields[event.stream_id] += event.headers
        elif isinstance(event, StreamEnded):
            stream = event.stream_id
            self.answer(connection, stream, fields[stream], bodies[stream])
        elif isinstance(event, StreamReset):
            self.resets.append(event.stream_id)

    def close(self):
        self.wire.sock.close()
        self._thread.join(5)


@pytest.fixture
def server():
    server = Server(echo)
    yield server
    server.close()


def echo(connection, stream, fields, body):
    path = dict(fields)[":path"]
    if path == "/none":
        connection.send_headers(stream, [(":status", "204")], end_stream=True)
    elif path == "/broken":
        connection.send_headers(stream, [(":status", "200"), ("content-length", "9")])
        connection.send_data(stream, b"some")
        connection.reset_stream(stream, 2)
    elif path == "/early":
        connection.send_headers(stream, [(":status", "103"), ("link", "</a>")])
        connection.send_headers(stream, [(":status", "200"), ("content-length", "2")])
        connection.send_data(stream, b"ok", end_stream=True)
    else:
        lines = "\n".join(f"{name}: {value}" for name, value in fields)
        connection.send_headers(stream, [(":status", "200"), ("x-size", str(len(body)))])
        connection.send_data(stream, lines.encode())
        connection.send_headers(stream, [("x-sum", "42")], end_stream=True)


def test_a_request_loses_the_fields_of_its_connection(server):
    server.wire.send(
        "GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: x-hop, TE\r\nX-Hop: 1\r\nTE: trailers, gzip\r\nA: B\r\n\r\n"
    )
    answer = server.wire.read_response()
    assert answer.status == 200
    assert answer.body.decode().splitlines() == [
        ":method: GET", ":scheme: http", ":authority: x", ":path: /a?b", "a: B", "te: trailers",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 300_000])
def test_bodies_of_both_kinds(server, size):
    body = b"x" * size
    server.wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body)
    assert server.wire.read_response()["x-size"] == str(size)
    for piece in (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Enc",
        b"oding: chunked\r\n\r\n",
        b"%x\r\n" % size,
        body,
        b"\r\n0\r\nX-T: 1\r\n\r\n",
    ):
        server.wire.send(piece)
    answer = server.wire.read_response()
    assert answer["x-size"] == str(size)
    assert b"x-t: 1" in answer.body


def test_chunks_and_trailers_of_a_response(server):
    server.wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert server.wire.read_until(b"\r\n\r\n").startswith(
        b"HTTP/1.1 200 OK\r\nX-Size: 0\r\nTransfer-Encoding: chunked\r\n"
    )
    assert server.wire.read_until(b"\r\n\r\n").endswith(b"0\r\nX-Sum: 42\r\n\r\n")


def test_responses_come_in_the_order_of_the_requests(server):
    server.wire.send("GET /none HTTP/1.1\r\nHost: x\r\n\r\nGET /early HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = [server.wire.read_response() for _ in range(3)]
    assert [answer.status for answer in answers] == [204, 103, 200]
    assert (answers[1]["link"], answers[2].body) == ("</a>", b"ok")


def test_a_response_that_breaks_off(server):
    server.wire.send("GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = server.wire.read_response()
    assert (answer.body, answer.complete, server.wire.is_closed()) == (b"some", False, True)


def test_after_a_last_response_the_connection_seems_closed(server):
    server.wire.send("GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert server.wire.read_response().status == 204
    assert server.wire.is_closed()


def test_a_reset_cancels(server):
    server.wire.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome")
    server.wire.reset()
    server.close()
    assert server.resets == [1]


@pytest.mark.parametrize(
    "raw",
    [
        "GET / HTTP/1.0\r\n\r\n", "GET /\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
def test_what_http2_cannot_say_is_an_error(server, raw):
    with pytest.raises(NotHTTP2Error):
        server.wire.send(raw)
