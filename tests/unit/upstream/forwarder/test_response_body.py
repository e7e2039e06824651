"""A backend's body on its way to the client: pieces, ends, faults, and what becomes of the lease."""

import math

import gevent
import pytest

from gproxy.config.types import BackendURL
from gproxy.http.body import Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.framing import CHUNKED, UNTIL_CLOSE, LengthReader
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.runtime.expired import Expired
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.errors import BrokenBodyError
from gproxy.upstream.forwarder.response_body import BackendBody
from gproxy.upstream.http1.connection import HTTP1Connection
from unit.upstream.backends import backend_of, send

pytestmark = pytest.mark.timeout(10)

LIMIT = TimeLimit.READ.of(100.0, "read_timeout of [upstream:u]")
HEAD = b"GET / HTTP/1.1\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
FRAMINGS = {CLOSING: UNTIL_CLOSE, CHUNKS: CHUNKED, FIVE: 5}


class Socket:
    def close(self):
        pass


class Exchange:
    """A request whose response's head has come, as `forward` leaves it to a BackendBody."""

    def __init__(self, peer, head, asked=None, read_timeout=60.0, keep=True):
        self.peer = peer
        self.request = asked or request()
        self.backend = backend_of(BackendURL.parse("http://127.0.0.1:1"), keepalive=4, connect_timeout=1.0)
        self.backend.active += 1
        self.connection = HTTP1Connection(Socket(), peer.backend, self.backend.name)
        self.blamed = []
        send(self.connection, HEAD, self.request)
        at_hand, rest = self.connection.receive_body(FRAMINGS[head])
        lease = (self.backend, self.connection, keep)
        self.body = BackendBody(at_hand, rest, self.request, lease, LIMIT.of(read_timeout, LIMIT.option), self.blame)

    def blame(self, asked, backend, failure):
        assert asked is self.request
        assert backend is self.backend
        self.blamed.append(failure)

    @property
    def is_pooled(self):
        """Was the connection given back? The backend's next lease is this connection then."""
        assert self.backend.active == 0
        return self.backend._idle.take() is self.connection


@pytest.fixture
def exchange(scripted):
    def make(head, *script, **options):
        return Exchange(scripted(After(HEAD), *script), head, **options)

    return make


# Pieces, in order


def test_what_came_with_the_head_is_first(exchange):
    found = exchange(FIVE, FIVE + b"he", b"l", b"lo")
    assert found.body.at_hand == b"he"
    assert next(found.body) == b"he"
    assert found.body.at_hand == b""
    assert list(found.body) == [b"l", b"lo"]
    found.body.close()
    assert found.is_pooled
    assert found.blamed == []


def test_a_body_of_which_nothing_came_with_the_head(exchange):
    found = exchange(FIVE, FIVE, b"hello")
    assert found.body.at_hand == b""
    assert list(found.body) == [b"hello"]


def test_a_body_that_ends_with_its_connection(exchange):
    found = exchange(CLOSING, CLOSING + b"he", b"llo", END)
    assert list(found.body) == [b"he", b"llo"]
    found.body.close()
    assert not found.is_pooled


def test_trailers_are_known_at_the_end_without_those_that_may_not_pass(exchange):
    found = exchange(CHUNKS, CHUNKS + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\nT: v\r\nContent-Length: 7\r\n\r\n")
    assert found.body.trailers == []
    assert b"".join(found.body) == b"hello"
    assert found.body.trailers == [("T", "v")]
    found.body.close()
    assert found.is_pooled


# The lease


def test_a_body_that_was_not_read_to_its_end_costs_the_connection(exchange):
    found = exchange(FIVE, FIVE + b"he", b"llo")
    next(found.body)
    found.body.close()
    assert not found.is_pooled
    assert found.peer.actions == ["close"]


def test_a_connection_that_the_backend_does_not_keep_is_closed(exchange):
    found = exchange(FIVE, FIVE + b"he", b"llo", keep=False)
    assert list(found.body) == [b"he", b"llo"]
    found.body.close()
    assert found.peer.actions == ["close"]


def test_the_lease_is_given_back_once(exchange):
    found = exchange(FIVE, FIVE + b"he", b"llo")
    list(found.body)
    for _ in range(3):
        found.body.close()
    assert found.backend.active == 0


# Backends that fail


BROKEN = [
    (FIVE, [END], "closed before the end of the body; missing bytes: 3"),
    (FIVE, [RESET], r"\[Errno 104\] Connection reset by peer"),
    (CHUNKS, [b"3\r\n", END], "closed before the last chunk"),
    (CHUNKS, [b"nonsense\r\n"], "a malformed chunk size"),
]
BEGINNINGS = {FIVE: b"he", CHUNKS: b"2\r\nhe\r\n"}


@pytest.mark.parametrize(("head", "script", "why"), BROKEN, ids=["end", "reset", "end in chunks", "garbage"])
def test_a_backend_that_breaks_off_is_blamed(exchange, head, script, why):
    found = exchange(head, head + BEGINNINGS[head], *script)
    assert next(found.body) == b"he"
    with pytest.raises(BrokenBodyError, match=f"^{why}$"):
        next(found.body)
    assert found.request.reason == "backend_reset"
    assert len(found.blamed) == 1
    assert found.blamed[0].counts_against_backend
    found.body.close()
    assert not found.is_pooled


@pytest.mark.parametrize(("head", "script", "why"), BROKEN, ids=["end", "reset", "end in chunks", "garbage"])
def test_a_backend_is_not_blamed_while_its_client_still_sends(exchange, scripted, head, script, why):
    asked = request("POST")
    client = scripted()
    found = exchange(head, head + BEGINNINGS[head], *script)
    asked.body = Body(reader=LengthReader(client.client, 5), length=5)
    found.request.body = asked.body
    next(found.body)
    with pytest.raises(BrokenBodyError, match=why):
        next(found.body)
    assert found.request.reason == "backend_reset"
    assert found.blamed == []


@pytest.mark.parametrize("fault", [HTTPError(400, "cut off", reason="client_gone"), ClientGone()])
def test_an_upload_that_fails_beside_the_response_is_the_clients_doing(exchange, fault):
    found = exchange(FIVE, FIVE + b"he", END)
    next(found.body)
    found.connection.upload_error = fault
    with pytest.raises(type(fault)) as caught:
        next(found.body)
    assert caught.value is fault
    assert (found.request.reason, found.blamed) == ("", [])


# Limits


class Timer:
    """Notes when a wait expires, and under which name."""

    def __init__(self):
        self.notes = []

    def set(self, expires, what):
        self.notes.append((expires, what))


def limited(exchange, expires, *script):
    asked = request()
    timer = Timer()
    asked.deadline = Deadline(timer)
    found = exchange(FIVE, FIVE, *script, asked=asked, read_timeout=100.0)
    asked.deadline.set(expires)
    timer.notes.clear()
    return found, timer


def test_each_wait_has_its_own_limit(exchange):
    found, timer = limited(exchange, math.inf, b"he", b"llo")
    assert list(found.body) == [b"he", b"llo"]
    assert [what for _, what in timer.notes] == [TimeLimit.READ, TimeLimit.DEADLINE] * 3
    assert {expires for expires, what in timer.notes if what == TimeLimit.DEADLINE} == {math.inf}
    assert all(expires < math.inf for expires, what in timer.notes if what == TimeLimit.READ)


def test_a_deadline_that_comes_first_stays(exchange):
    found, timer = limited(exchange, 0.0, b"hello")
    assert next(found.body) == b"hello"
    assert set(timer.notes) == {(0.0, TimeLimit.DEADLINE)}


def test_the_deadline_is_restored_after_a_failure(exchange):
    found, timer = limited(exchange, math.inf, END)
    with pytest.raises(BrokenBodyError):
        next(found.body)
    assert [what for _, what in timer.notes] == [TimeLimit.READ, TimeLimit.DEADLINE]


def test_a_wait_that_expires_names_its_option_and_is_no_failure_of_the_backend(exchange):
    asked = request()
    asked.deadline = Deadline(Alarm(TimerWheel()))
    found = exchange(FIVE, FIVE + b"he", asked=asked, read_timeout=0.0)
    next(found.body)
    with gevent.Timeout(5), pytest.raises(Expired) as caught:
        next(found.body)
    assert caught.value.limit.cut == " after 0 s without data (read_timeout of [upstream:u])"
    assert found.blamed == []
    assert asked.deadline.expires == math.inf
