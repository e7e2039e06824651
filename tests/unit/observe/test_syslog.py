"""The access log at a syslog server, with a scripted socket."""

import errno
import os
import socket

import gevent
import pytest

from gproxy.config.types.access_log import LogTarget
from gproxy.observe import buffered_log
from gproxy.observe.access_line import ltsv, timestamp
from gproxy.observe.syslog import Syslog, connected

from .conftest import exchange

DATAGRAMS, STREAM = LogTarget.parse("syslog:unix:/dev/log"), LogTarget.parse("syslog:tcp:loghost:601")
BEGINNING = f"<190>1 {timestamp(exchange().started)} {socket.gethostname()} gproxy {os.getpid()} access - "


class Server:
    """A scripted socket, and the function that connects to it; `outcomes` are the results of the next calls of send."""

    def __init__(self):
        self.sent = []
        self.outcomes = []
        self.refusals = []
        self.connections = 0
        self.closed = 0
        #: What the stream has to read: nothing (an error), or its end.
        self.readable = None
        self._read, self._write = os.pipe()

    def __call__(self, target, failures):
        if self.refusals:
            raise self.refusals.pop(0)
        self.connections += 1
        return self

    def send(self, data):
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, OSError):
            raise outcome
        taken = data if outcome is None else data[:outcome]
        self.sent.append(bytes(taken))
        return len(taken)

    def recv(self, size):
        if self.readable is None:
            raise BlockingIOError
        return self.readable

    def fileno(self):
        return self._write

    def close(self):
        self.closed += 1

    def end(self):
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def server():
    made = Server()
    yield made
    made.end()


@pytest.fixture
def connect(server):
    """Open logs at the server, and close them at the end."""
    logs = []

    def connect(target=DATAGRAMS, line=ltsv):
        log = Syslog(target, line, connect=server, retry=0.0)
        log.open()
        logs.append(log)
        return log

    yield connect
    for log in logs:
        log.close()


def settle(log):
    """Let the log's jobs run until nothing is left to do."""
    gevent.idle()
    log.join()


def message(**changes):
    return (BEGINNING + ltsv(exchange(**changes))).encode()


def test_a_message_is_the_header_of_rfc_5424_and_the_line(server, connect):
    log = connect()
    settle(log)
    log.record(exchange())
    log.record(exchange(target="/ü", user_agent="\udc80"))
    gevent.idle()
    assert server.sent == [message(), message(target="/ü", user_agent="\\udc80")]
    assert (server.connections, log.lost) == (1, 0)


def test_lines_before_the_connection_are_sent_after_it(server, connect):
    log = connect()
    log.record(exchange())
    settle(log)
    assert server.sent == [message()]


def test_a_stream_counts_the_octets(server, connect):
    log = connect(STREAM)
    log.record(exchange(target="/ü"))
    settle(log)
    whole = message(target="/ü")
    assert server.sent == [b"%d %b" % (len(whole), whole)]


def test_a_long_message_is_cut_between_characters(server, connect):
    log = connect(line=lambda found: "x" * (8191 - len(BEGINNING)) + "ü")
    log.record(exchange())
    settle(log)
    assert server.sent == [(BEGINNING + "x" * (8191 - len(BEGINNING))).encode()]


@pytest.mark.parametrize("taken", [0, 1, 10])
def test_a_stream_that_takes_a_part_gets_the_rest(server, connect, taken):
    server.outcomes = [taken, BlockingIOError(), 5, None]
    log = connect(STREAM)
    log.record(exchange())
    settle(log)
    whole = message()
    assert b"".join(server.sent) == b"%d %b" % (len(whole), whole)


def test_a_server_without_room_gets_all_lines_later_in_order(server, connect):
    server.outcomes = [None, BlockingIOError(), BlockingIOError()]
    log = connect()
    for number in range(3):
        log.record(exchange(target=f"/{number}"))
    settle(log)
    assert server.sent == [message(target=f"/{number}") for number in range(3)]
    assert (server.connections, log.lost) == (1, 0)


def test_many_lines_leave_turns_to_others(server, connect):
    log = connect()
    settle(log)
    for number in range(250):
        log.record(exchange(target=f"/{number}"))
    log.flush()
    assert len(server.sent) == 100
    settle(log)
    assert server.sent == [message(target=f"/{number}") for number in range(250)]


def test_a_broken_connection_is_replaced_and_no_line_missing(server, connect, errors):
    server.outcomes = [None, ConnectionRefusedError(errno.ECONNREFUSED, "refused"), None]
    server.refusals = []
    log = connect()
    for number in range(3):
        log.record(exchange(target=f"/{number}"))
    settle(log)
    assert server.sent == [message(target=f"/{number}") for number in range(3)]
    assert (server.connections, server.closed, log.lost) == (2, 1, 0)
    assert errors() == [
        f"access log syslog:unix:/dev/log: [Errno {errno.ECONNREFUSED}] refused; lines wait, next attempt in 0 s"
    ]


def test_a_message_sent_in_part_is_sent_again_on_the_next_connection(server, connect):
    server.outcomes = [7, ConnectionResetError(errno.ECONNRESET, "reset")]
    log = connect(STREAM)
    log.record(exchange())
    settle(log)
    whole = message()
    assert server.sent[1] == b"%d %b" % (len(whole), whole)


def test_a_stream_that_the_server_has_closed_gets_no_line(server, connect):
    log = connect(STREAM)
    settle(log)
    server.readable = b""
    log.record(exchange())
    log.flush()
    assert server.sent == []
    server.readable = None
    settle(log)
    assert (len(server.sent), server.connections) == (1, 2)


def test_a_server_that_is_away_is_one_log_line_and_no_lost_line(server, connect, errors):
    server.refusals = [FileNotFoundError(errno.ENOENT, "no such file")] * 5
    log = connect()
    log.record(exchange())
    settle(log)
    assert server.sent == [message()]
    assert len(errors()) == 1


@pytest.mark.parametrize("form", ["syslog:loghost:{port}", "syslog:tcp:loghost:{port}"])
def test_each_address_of_the_server_has_its_turn(monkeypatch, form):
    """A server that listens on one address of its name gets the lines after refusals of the others."""
    is_stream = "tcp" in form
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        if is_stream:
            server.listen()
        port = server.getsockname()[1]
        found = [(socket.AF_INET, server.type, 0, "", (host, port)) for host in ("127.0.0.2", "127.0.0.3", "127.0.0.1")]
        monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_, **__: found)
        log = Syslog(LogTarget.parse(form.format(port=port)), ltsv, connect=connected, retry=0.0)
        log.open()
        with gevent.Timeout(5):
            settle(log)
            for _ in range(3):  # UDP reports a refusal at the next line
                log.record(exchange())
                settle(log)
        peer = server.accept()[0] if is_stream else server
        with peer:
            assert b"gproxy" in peer.recv(8192)
        log.close()


def test_lines_that_find_no_room_in_the_buffer_are_counted(server, connect, monkeypatch, errors):
    monkeypatch.setattr(buffered_log, "_MAX_BUFFERED", 5)
    log = connect()
    for number in range(8):
        log.record(exchange(target=f"/{number}"))
    settle(log)
    assert server.sent == [message(target=f"/{number}") for number in range(5)]
    assert log.lost == 3
    assert [text.partition("log: ")[2] for text in errors()] == [
        "losing lines: buffer full, lines come faster than they can be written",
        "writing again, 3 lines lost",
    ]


def test_a_message_too_long_for_the_socket_is_lost_and_no_other(server, connect):
    server.outcomes = [OSError(errno.EMSGSIZE, "message too long")]
    log = connect()
    log.record(exchange(target="/long"))
    log.record(exchange())
    settle(log)
    assert server.sent == [message()]
    assert (log.lost, server.connections) == (1, 1)


def test_usr1_connects_anew_after_the_lines(server, connect):
    log = connect()
    settle(log)
    log.record(exchange())
    log.reopen()
    assert server.sent == [message()]
    settle(log)
    assert (server.connections, server.closed) == (2, 1)


def test_close_sends_the_rest(server, connect):
    log = connect()
    log.record(exchange())
    log.close()
    log.record(exchange())
    log.flush()
    assert (server.sent, server.closed, log.lost) == ([message()], 1, 0)


def test_close_does_not_wait_for_a_server_that_stays_away(server, connect, errors):
    server.refusals = [FileNotFoundError(errno.ENOENT, "no such file")] * 10
    log = Syslog(DATAGRAMS, ltsv, connect=server, retry=3600.0)
    log._close_timeout = 0.01
    log.open()
    log.record(exchange())
    gevent.idle()
    log.close()
    assert log.lost == 1
    assert errors()[1:] == [
        "access log syslog:unix:/dev/log: losing lines: closed before they could be written",
        "access log syslog:unix:/dev/log: closed, 1 line lost",
    ]
