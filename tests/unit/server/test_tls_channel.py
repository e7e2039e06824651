"""TLS in memory over a channel's socket, against OpenSSL's other side."""

import socket
import ssl

import pytest

from gproxy.http.buffers import Buffers
from gproxy.http.errors import ClientGone
from gproxy.http.time_limit import TimeLimit
from gproxy.server.client_channel import ChannelSettings
from gproxy.server.tls_channel import TLSClientChannel
from gproxy.testing.authority import Authority


class RecordingAlarm:
    """An alarm that never fires."""

    expires, limit, greenlet = float("inf"), TimeLimit.IDLE, None

    def __init__(self):
        self.calls = []

    def set(self, expires, limit):
        self.calls.append((expires, limit))

    def clear(self): ...


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """The server's context, and a client's that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("a.test"))
    return server, ssl.create_default_context(cafile=str(authority.path))


class Scene:
    """A channel, and a client in memory whose records the test carries."""

    def __init__(self, contexts):
        self.context, client = contexts
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.alarm = RecordingAlarm()
        self.channel = TLSClientChannel(ours, self.alarm, ChannelSettings(30.0, 30.0))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client.wrap_bio(self.incoming, self.outgoing, server_hostname="a.test")

    def flush(self):
        if self.outgoing.pending:
            self.peer.sendall(self.outgoing.read())

    def take(self):
        try:
            self.incoming.write(self.peer.recv(1 << 20) or b"")
        except BlockingIOError:
            pass

    def handshake(self):
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.channel.buffer = self.outgoing.read()
        receive, channel = self.channel._raw.recv, self.channel

        def receive_answer(limit):
            self.take()
            self.tls.do_handshake()
            self.flush()
            return receive(limit)

        channel.has_event = True
        channel._receive = receive_answer
        found = channel.secure(self.context, 123.0)
        self.take()
        return found

    def write(self, data):
        self.tls.write(data)
        self.flush()
        self.channel.has_event = True

    def read(self):
        self.take()
        return self.tls.read(1 << 20)

    def close(self):
        self.channel.close()
        self.peer.close()


@pytest.fixture
def scene(contexts):
    made = Scene(contexts)
    yield made
    made.close()


def test_a_handshake_with_the_first_bytes_in_the_buffer(scene):
    tls = scene.handshake()
    assert tls.version() == "TLSv1.3"
    assert scene.channel.buffer == b""
    assert set(scene.alarm.calls) == {(123.0, TimeLimit.HANDSHAKE)}


def test_bytes_go_both_ways(scene):
    scene.handshake()
    scene.write(b"up")
    assert scene.channel.receive(100) == b"up"
    scene.channel.send(b"down")
    assert scene.read() == b"down"
    scene.channel.send_last(b"last")
    assert scene.read() == b"last"


def test_a_head_and_a_body_are_encrypted_as_one(scene):
    scene.handshake()
    scene.channel.send_both(b"head", b"body")
    assert scene.read() == b"headbody"
    scene.channel.send_both_ahead(b"head", b"body")
    assert scene.read() == b"headbody"


def test_records_that_came_together_are_read_together(scene):
    scene.handshake()
    scene.tls.write(b"one ")
    scene.write(b"two")
    assert scene.channel.receive(100) == b"one two"


def test_what_exceeds_the_limit_is_noted(scene):
    scene.handshake()
    scene.write(b"onetwo")
    assert scene.channel.receive(3) == b"one"
    assert scene.channel.has_event
    assert scene.channel.receive(3) == b"two"


def test_an_end_without_a_handshake_is_a_client_gone(scene):
    scene.peer.close()
    with pytest.raises(ClientGone):
        scene.channel.secure(scene.context, 123.0)


def test_what_is_no_tls_is_rejected_with_an_alert(scene):
    scene.channel.buffer = b"\x16\x03\x01\x00\x05nonsense"
    with pytest.raises(ssl.SSLError):
        scene.channel.secure(scene.context, 123.0)
    assert scene.peer.recv(100).startswith(b"\x15\x03")  # an alert record


def test_the_clients_end_is_an_end(scene):
    scene.handshake()
    with pytest.raises(ssl.SSLWantReadError):
        scene.tls.unwrap()
    scene.flush()
    scene.channel.has_event = True
    assert scene.channel.receive(100) == b""


def test_a_forged_record_is_an_error(scene):
    scene.handshake()
    scene.peer.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    scene.channel.has_event = True
    with pytest.raises(ClientGone):
        scene.channel.receive(100)


def test_data_before_a_forged_record_is_given_first(scene):
    scene.handshake()
    scene.tls.write(b"good")
    scene.peer.sendall(scene.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
    scene.channel.has_event = True
    assert scene.channel.receive(100) == b"good"
    with pytest.raises(ClientGone):
        scene.channel.receive(100)


def test_an_intact_end_says_that_it_is_one(scene):
    scene.handshake()
    scene.channel.shut_writing()
    assert scene.read() == b""


def test_an_aborted_end_does_not(scene):
    scene.handshake()
    scene.channel.abort()
    scene.channel.shut_writing()
    with pytest.raises(ssl.SSLWantReadError):
        scene.read()


def test_what_the_kernel_did_not_take_is_not_encrypted_again(scene):
    scene.handshake()
    taken = []

    class Raw:
        def send(self, data):
            taken.append(bytes(data[:5]))
            if len(taken) == 1:
                return 5
            taken[-1] = bytes(data)
            return len(data)

    raw, scene.channel._raw = scene.channel._raw, Raw()
    with pytest.raises(BlockingIOError):
        scene.channel._send(b"data")
    assert scene.channel._send(b"data") == 4
    scene.channel._raw = raw
    scene.incoming.write(b"".join(taken))
    assert scene.tls.read(100) == b"data"


class TightKernel:
    """A raw socket whose kernel takes `room` bytes, or any number."""

    def __init__(self, room=1 << 30):
        self.room = room
        self.taken = b""

    def send(self, data):
        if not self.room:
            raise BlockingIOError
        size = min(len(data), self.room)
        self.room -= size
        self.taken += bytes(data[:size])
        return size


@pytest.fixture
def kernel(scene):
    scene.handshake()
    raw, made = scene.channel._raw, TightKernel()
    scene.channel._raw = made
    yield made
    scene.channel._raw = raw


def received(scene, kernel):
    scene.incoming.write(kernel.taken)
    return b"".join(iter(lambda: scene.tls.read(1 << 20) if scene.incoming.pending else b"", b""))


LONG = bytes(range(256)) * 800


def test_one_send_takes_all_that_the_kernel_takes(scene, kernel):
    assert scene.channel._send(LONG) == len(LONG)
    assert received(scene, kernel) == LONG


def test_what_the_kernel_takes_at_once_is_not_kept(scene, kernel):
    scene.channel.buffers = Buffers(1 << 20)
    scene.channel.read_ahead(1 << 20)
    scene.channel.send_ahead(LONG)
    assert scene.channel.buffers.used == 0
    assert received(scene, kernel) == LONG


@pytest.mark.parametrize("reply", [False, True])
def test_a_send_goes_on_behind_what_the_kernel_has_taken(scene, kernel, reply):
    kernel.room = 100_000
    if reply:  # bytes of OpenSSL that were not sent either
        kernel.room = 0
        scene.channel._tls.write(b"reply")
        scene.channel._send_replies()
        kernel.room = 100_000
    sent = scene.channel._send(LONG)
    assert 0 < sent < len(LONG)
    with pytest.raises(BlockingIOError):
        scene.channel._send(LONG[sent:])
    kernel.room = 1 << 30
    assert scene.channel._send(LONG[sent:]) == len(LONG) - sent
    assert received(scene, kernel) == (b"reply" if reply else b"") + LONG


def test_a_longer_piece_may_follow_one_that_waits(scene, kernel):
    kernel.room = 10
    with pytest.raises(BlockingIOError):
        scene.channel._send(b"one")
    kernel.room = 1 << 30
    assert scene.channel._send(b"one and two") == len(b"one and two")
    assert received(scene, kernel) == b"one and two"
