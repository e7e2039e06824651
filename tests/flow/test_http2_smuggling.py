"""Requests over HTTP/2 that some gateways turn into other requests of HTTP/1.1: none of their bytes reaches a backend."""

import socket

import pytest
from unit.http.h2.attacks import ATTACKS, EVIL
from unit.http.h2.blocks import encoded

from gproxy.http.h2 import frames
from gproxy.http.h2.fields import RESPONSE_NAMES, response_head
from gproxy.http.h2.hpack_decoder import HPACKDecoder
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import PATIENCE, RunningGateway

INI = """
[log]
format = ltsv
[route:all]
path = /
upstream = one
[upstream:one]
backends = {url}
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AFTER = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/after")]


class RecordedSocket:
    """A socket that records what it receives."""

    def __init__(self, sock, record):
        self._sock = sock
        self._record = record

    def recv(self, size):
        data = self._sock.recv(size)
        self._record += data
        return data

    def __getattr__(self, name):
        return getattr(self._sock, name)


class RecordingBackend(Backend):
    """A backend that answers every request, and keeps the bytes of each connection in `records`."""

    def __init__(self):
        super().__init__(self._answer)
        self.records = []

    def forget(self):
        """Forget the requests so far, and the bytes of the connections, which may stay open."""
        self.requests.clear()
        for record in self.records:
            record.clear()

    def _answer(self, peer, _):
        record = bytearray()
        self.records.append(record)
        peer.sock = RecordedSocket(peer.sock, record)
        while (request := peer.read_request()) is not None:
            self.requests.append(request)
            peer.send(OK)


class Client:
    """A client that sends any frames."""

    def __init__(self, port):
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._stream = self._sock.makefile("rb")
        self._decoder = HPACKDecoder(RESPONSE_NAMES, 1 << 20, 1000)
        self._sock.sendall(frames.PREFACE + frames.settings([]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._sock.close()

    def send(self, stream_id, fields, content, *, ends=True):
        """Send a request or its rest, the content in frames of 100 bytes: a server judges them one by one."""
        data = frames.headers_frames(stream_id, encoded(*fields), end=ends and not content) if fields else b""
        for start in range(0, len(content), 100):
            is_last = ends and start + 100 >= len(content)
            piece = content[start : start + 100].encode()
            data += frames.frame(frames.DATA, frames.END_STREAM if is_last else 0, stream_id, piece)
        self._sock.sendall(data)

    def outcome(self, stream_id):
        """The status of the response, once it is complete, or the name of the code of the reset."""
        status = 0
        while head := self._stream.read(9):
            payload = self._stream.read(int.from_bytes(head[:3]))
            kind, flags, of = head[3], head[4], int.from_bytes(head[5:])
            assert kind != frames.GOAWAY, payload
            if kind == frames.HEADERS:
                block = self._decoder.decode(payload)  # of other streams, too: it may change the table
                status = response_head(block).status if of == stream_id else status
            if of == stream_id and kind == frames.RST_STREAM:
                return frames.error_name(int.from_bytes(payload))
            if of == stream_id and kind in {frames.HEADERS, frames.DATA} and flags & frames.END_STREAM:
                return status
        raise AssertionError("the connection has ended")


class H2CGateway(RunningGateway):
    words = "h2c"


@pytest.fixture(scope="module")
def backend():
    with RecordingBackend() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(backend, tmp_path_factory):
    with H2CGateway(INI.format(url=backend.url), tmp_path_factory.mktemp("smuggling")) as found:
        yield found


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_one_malformed_request(gateway, backend, name):
    attack = ATTACKS[name]
    before = len(gateway.access(0)) if (gateway.folder / "log/access.log").exists() else 0
    backend.forget()
    with Client(gateway.port) as client:
        client.send(1, attack.fields, attack.content)
        assert client.outcome(1) == "PROTOCOL_ERROR"
        client.send(3, AFTER, "")
        assert client.outcome(3) == 200
    assert [request.line for request in backend.requests] == ["GET /after HTTP/1.1"]
    assert not [record for record in backend.records if EVIL.encode() in record]
    lines = gateway.access(before + 2)[before:]
    assert sorted((line["status"], line["reason"], line["protocol"]) for line in lines) == [
        ("200", "-", "HTTP/2.0"),
        ("400", "bad_request", "HTTP/2.0"),
    ]


@pytest.mark.parametrize("length", [0, 3])
def test_a_backend_gets_no_complete_request_before_its_length_is_proved(gateway, backend, length):
    """The lie comes when all that the length promises was received, and the request could be under way."""
    backend.forget()
    fields = [(":method", "POST"), *AFTER[1:3], (":path", f"/lie{length}"), ("content-length", str(length))]
    with Client(gateway.port) as client:
        client.send(1, fields, "x=1"[:length], ends=False)
        client.send(3, AFTER, "")
        assert client.outcome(3) == 200
        client.send(1, [], f"GET {EVIL} HTTP/1.1\r\n")
        assert client.outcome(1) == "PROTOCOL_ERROR"
    assert [request.line for request in backend.requests if request.complete] == ["GET /after HTTP/1.1"]
    assert gateway.line(f"/lie{length}")["reason"] == "bad_request"


def test_the_same_client_without_an_attack(gateway, backend):
    backend.forget()
    fields = [(":method", "POST"), *AFTER[1:3], (":path", "/x?y"), ("content-length", "250"), ("te", "trailers")]
    with Client(gateway.port) as client:
        client.send(1, fields, "x" * 250)
        assert client.outcome(1) == 200
    (request,) = backend.wait_for_requests(1)
    assert (request.line, request.body) == ("POST /x?y HTTP/1.1", b"x" * 250)
    assert (request["host"], request["te"], request["via"][:3]) == ("a.test", "trailers", "2.0")
