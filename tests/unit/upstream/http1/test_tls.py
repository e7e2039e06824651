"""Records instead of bytes: what TLS changes for a channel and its connection."""

import socket
import ssl
from types import SimpleNamespace

import gevent
import pytest

from gproxy.http.framing import reader
from gproxy.http.request import request
from gproxy.upstream.errors import AlertError, StaleConnectionError, UnansweredError
from gproxy.upstream.http1.tls import TLSBackendChannel, TLSConnection
from gproxy.upstream.http1.tls_session import ResumingContext
from unit.upstream.backends import send

HEAD = b"GET / HTTP/1.1\r\n\r\n"


class Records:
    """OpenSSL's object: gives scripted outcomes of reads and writes."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.written = []
        self.waiting = 0

    def _next(self):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def read(self, limit):
        return self._next()

    def write(self, data):
        self.written.append(bytes(data))
        return self._next()

    def pending(self):
        return self.waiting


class TLSSocket:
    """A socket with OpenSSL's object, and what urllib3 and Python know of it."""

    server_hostname = "a.test"
    session = "session"

    def __init__(self, sock, records):
        self._sock = sock
        self._sslobj = records

    def pending(self):
        return self._sslobj.pending()

    def shutdown(self, how): ...

    def close(self):
        self._sock.close()


class Scene:
    """A connection over scripted records; `peer` is what makes its socket readable."""

    def __init__(self, *outcomes, context=None):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.records = Records(*outcomes)
        self.sock = TLSSocket(ours, self.records)
        self.channel = TLSBackendChannel(self.sock)
        outer = SimpleNamespace(sock=self.sock, ssl_context=context, close=lambda: None)
        self.connection = TLSConnection(outer, self.channel, "a.test:443")

    def exchange(self):
        """Receive a response without a body over the connection."""
        self.records.outcomes += [len(HEAD), b"HTTP/1.1 204 No Content\r\n\r\n"]
        self.records.waiting = 1
        send(self.connection, HEAD, request())
        self.records.waiting = 0

    def close(self):
        self.connection.close()
        self.peer.close()


@pytest.fixture
def scene():
    made = []

    def make(*outcomes, **options):
        made.append(Scene(*outcomes, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("end", [ssl.SSLZeroReturnError(), ssl.SSLEOFError(), b""])
def test_an_end_with_or_without_a_record_is_an_end(scene, end):
    some = scene(b"data", end)
    some.channel.has_event = True
    assert some.channel.receive(100) == b"data"
    some.channel.has_event = True
    assert some.channel.receive(100) == b""


def test_part_of_a_record_is_nothing_yet(scene):
    some = scene(ssl.SSLWantReadError(), b"data")
    some.peer.sendall(b"x")
    assert some.channel.receive(100) == b"data"
    assert some.records.outcomes == []


def test_bytes_that_openssl_holds_need_no_readable_socket(scene):
    some = scene(b"rest")
    some.records.waiting = 4
    assert some.channel.receive(100) == b"rest"


@pytest.mark.parametrize("want", [ssl.SSLWantWriteError, ssl.SSLWantReadError])
def test_what_the_kernel_does_not_take_is_written_again(scene, want):
    some = scene(want(), 4)
    some.channel.send(b"data")
    assert some.records.written == [b"data", b"data"]


@pytest.mark.parametrize(
    ("outcome", "is_quiet"), [(ssl.SSLWantReadError(), True), (b"data", False), (ssl.SSLZeroReturnError(), False)]
)
def test_a_session_ticket_is_no_word_of_http(scene, outcome, is_quiet):
    some = scene(outcome)
    some.channel.has_event = True
    assert some.channel.is_quiet() is is_quiet


def test_the_end_after_a_session_ticket_is_noticed(scene):
    some = scene(ssl.SSLWantReadError(), ssl.SSLZeroReturnError())
    some.peer.sendall(b"x")
    gevent.sleep(0.001)
    assert some.connection.is_connected
    gevent.sleep(0.001)  # the peer's byte is still there, as if more had come
    assert not some.connection.is_connected


def alert():
    error = ssl.SSLError(1, "text")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    return error


def caused_by(cause):
    error = ConnectionError()
    error.__cause__ = cause
    return error


def test_an_alert_is_why_there_is_no_answer(scene):
    assert type(scene().connection._unanswered(caused_by(alert()))) is AlertError


def test_after_a_failed_send_the_alert_is_read(scene):
    assert type(scene(alert()).connection._unanswered(caused_by(BrokenPipeError()))) is AlertError


@pytest.mark.parametrize(("is_idle", "expected"), [(True, StaleConnectionError), (False, UnansweredError)])
def test_without_an_alert_it_is_as_on_a_plain_connection(scene, is_idle, expected):
    some = scene()
    if is_idle:
        some.exchange()
        some.connection.become_idle(100.0)
    some.records.outcomes += [BrokenPipeError(), b""]  # for the send, and for the look for an alert
    with pytest.raises(expected):
        send(some.connection, HEAD, request())
    assert some.records.outcomes == []


def test_a_closed_connection_leaves_its_session_once(scene):
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    some = scene(context=context)
    some.connection.close()
    assert repr(some.connection) == "<TLSConnection a.test:443 CLOSED, 0 requests>"
    assert context.sessions == {"a.test": "session"}
    context.sessions.clear()
    some.connection.close()
    assert context.sessions == {}


def test_bytes_in_a_record_after_the_response_end_the_connection(scene):
    some = scene()
    some.exchange()
    assert some.connection.is_reusable(None)
    some.records.waiting = 1
    assert not some.connection.is_reusable(None)
    some.records.waiting = 0
    assert not some.connection.is_reusable(reader(5, some.channel))
