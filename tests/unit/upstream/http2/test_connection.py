"""One HTTP/2 connection: when it takes requests, when it asks whether the backend is there, and how it ends."""

import math

import gevent
import pytest

from gproxy.http.body import NO_BODY
from gproxy.http.h2.events import GoAwayReceived, HeadReceived
from gproxy.http.h2.frames import CANCEL, MAX_STREAM_ID, NO_ERROR
from gproxy.http.headers import Headers
from gproxy.upstream.errors import ExcludedStreamError, RefusedStreamError, UnansweredError
from gproxy.upstream.http2.connection import MOST_RESETS, MOST_STREAMS, SHORT_LIVED, HTTP2Connection

from .conftest import turn_until

pytestmark = pytest.mark.timeout(10)


def begin(connection):
    connection.leases += 1
    return connection.open("GET", "a", "/", Headers(), NO_BODY)


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (1000, MOST_STREAMS)])
def test_the_limit_of_streams_is_the_backends_and_at_most_our_own(connected, limit, most):
    connection, _ = connected(max_streams=limit)
    for _ in range(most):
        assert connection.has_room()
        connection.leases += 1
    assert not connection.has_room()
    connection.release()
    assert connection.has_room()


@pytest.mark.parametrize(("pause", "is_retired"), [(0.0, True), (0.11, False)])
def test_a_connection_with_many_resets_takes_no_further_request(connected, clock, pause, is_retired):
    connection, _ = connected()
    begin(connection)
    for _ in range(MOST_RESETS):
        assert connection.has_room()
        stream = begin(connection)
        stream.reset()
        stream.release()
        connection.release()
        clock.now += pause
    assert (connection.has_room(), connection.is_retired) == (not is_retired, is_retired)
    assert not connection.is_closed  # the others go on
    connection.release()
    assert connection.is_closed is is_retired


def test_no_request_before_the_limits_of_the_backend(connected):
    connection, _ = connected()
    assert connection.has_room()
    connection.session.has_settings = False
    assert not connection.has_room()


def test_a_stream_uses_the_scheme_of_its_connection(connected):
    connection, peer = connected()
    begin(connection)
    assert peer.event(HeadReceived).head.target == "/"
    assert connection.scheme == "http"


def test_after_a_long_silence_the_backend_has_to_answer_first(connected, clock):
    connection, peer = connected()
    clock.now += 30.5
    assert not connection.has_room()
    assert connection.is_awaited
    assert not connection.has_room()  # and asks once
    turn_until(lambda: not peer.look() and not connection.is_awaited)
    assert connection.has_room()


def test_a_backend_that_does_not_answer_loses_the_connection(connected, clock):
    connection, _ = connected()
    clock.now += 31
    assert not connection.has_room()
    clock.now += 4.9
    connection.check(90.0, 1e9)
    assert not connection.is_closed
    clock.now += 0.2
    connection.check(90.0, 1e9)
    assert connection.is_closed
    assert connection.why == "the backend did not answer a PING"


def test_streams_that_receive_nothing_make_the_gateway_ask(connected, clock):
    connection, _ = connected()
    stream = begin(connection)
    clock.now += 9
    connection.check(90.0, 1e9)
    assert not connection.is_awaited
    clock.now += 2
    connection.check(90.0, 1e9)
    assert connection.is_awaited
    assert connection.has_room()  # 30 s have not passed
    clock.now += 6
    connection.check(90.0, 1e9)
    assert stream.is_closed
    with pytest.raises(UnansweredError, match="did not answer a PING"):
        stream.next_head()


def test_an_answer_to_the_ping_saves_the_streams(connected, clock):
    connection, peer = connected()
    stream = begin(connection)
    clock.now += 11
    connection.check(90.0, 1e9)
    turn_until(lambda: not peer.look() and not connection.is_awaited)
    clock.now += 6
    connection.check(90.0, 1e9)
    assert not stream.is_closed


def asks_after(connection, peer, clock, seconds):
    """Return whether a PING is sent so many seconds later; let the backend answer it."""
    clock.now += seconds
    connection.check(1e9, 1e9)
    asks = connection.is_awaited
    turn_until(lambda: not peer.look() and not connection.is_awaited)
    return asks


def test_a_silent_stream_sees_a_ping_each_five_minutes_and_one_more_for_each_piece(connected, clock):
    """Servers of gRPC end a connection, with all its calls, that has sent more of them."""
    connection, peer = connected()
    response = begin(connection)
    stream = peer.event(HeadReceived).stream
    assert [asks_after(connection, peer, clock, seconds) for seconds in (11, 11, 290, 11)] == [True, False, False, True]
    peer.respond(stream)
    turn_until(lambda: response.head)
    assert [asks_after(connection, peer, clock, seconds) for seconds in (1, 11, 11)] == [False, True, False]


def test_a_connection_whose_streams_are_silent_takes_requests_between_its_pings(connected, clock):
    connection, peer = connected()
    begin(connection)
    assert asks_after(connection, peer, clock, 11)
    clock.now += 40
    assert connection.has_room()
    clock.now += 300
    assert not connection.has_room()
    assert connection.is_awaited


@pytest.mark.parametrize(("idle", "age", "closes"), [(91, 1e9, True), (89, 1e9, False), (1, 0.5, True)])
def test_an_unused_connection_closes_with_a_word(connected, clock, idle, age, closes):
    connection, peer = connected()
    clock.now += idle
    connection.check(90.0, age)
    assert connection.is_closed == closes
    if closes:
        assert peer.event(GoAwayReceived).code == NO_ERROR
        turn_until(peer.ended)


def test_an_old_connection_in_use_takes_no_further_request_and_closes_with_the_last(connected, clock):
    connection, _ = connected()
    begin(connection)
    clock.now += 20
    connection.check(90.0, 10.0)
    assert (connection.is_retired, connection.is_closed, connection.has_room()) == (True, False, False)
    connection.release()
    assert connection.is_closed


@pytest.mark.parametrize("last_id", [1, MAX_STREAM_ID])
def test_goaway_takes_no_further_request(connected, last_id):
    connection, peer = connected()
    stream = begin(connection)
    peer.event(HeadReceived)
    peer.session.go_away(last_id, NO_ERROR)
    peer.flush()
    turn_until(lambda: connection.is_retired)
    assert not stream.is_closed
    assert not connection.has_room()
    connection.release()
    assert connection.is_closed


@pytest.mark.parametrize(("last_id", "error"), [(1, ExcludedStreamError), (0, RefusedStreamError)])
def test_goaway_below_a_stream_excludes_it_or_refuses_it_if_nothing_was_begun(connected, last_id, error):
    connection, peer = connected()
    begin(connection)
    stream = begin(connection)
    peer.event(HeadReceived)
    peer.session.go_away(last_id, NO_ERROR)
    peer.flush()
    with pytest.raises(error):
        stream.next_head()


def test_a_lease_that_comes_too_late_is_refused(connected):
    connection, peer = connected()
    connection.leases += 1
    peer.session.go_away(0, NO_ERROR)
    peer.flush()
    turn_until(lambda: connection.is_retired)
    with pytest.raises(ExcludedStreamError):
        connection.open("GET", "a", "/", Headers(), NO_BODY)


@pytest.mark.parametrize(
    ("data", "why"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "violated HTTP/2"), (b"", "reset|closed")]
)
def test_a_broken_connection_lets_its_streams_know(connected, data, why):
    connection, peer = connected()
    stream = begin(connection)
    if data:
        peer.sock.sendall(data)
    else:
        peer.sock.close()
    with pytest.raises(UnansweredError, match=why):
        stream.next_head()
    assert connection.is_closed
    assert not connection.has_room()


def test_the_code_of_a_goaway_is_why(connected):
    connection, peer = connected()
    stream = begin(connection)
    peer.event(HeadReceived)
    peer.session.go_away(1, 11)
    peer.flush()
    turn_until(lambda: connection.is_retired)
    peer.sock.close()
    with pytest.raises(UnansweredError, match="GOAWAY: ENHANCE_YOUR_CALM"):
        stream.next_head()


def test_no_stream_of_the_backend_is_accepted_and_no_reader_is_left(connected):
    connection, _ = connected()
    connection.close()
    gevent.sleep(0)
    turn_until(lambda: connection._reader.dead)
    assert repr(connection) == "<HTTP2Connection closed, 0 requests>"


def test_streams_that_have_only_to_end_wait_for_a_while(connected, clock):
    connection, _ = connected()
    asked = [begin(connection).stream for _ in range(3)]
    connection.await_end(asked[0])
    clock.now += 0.6
    connection.await_end(asked[1])
    connection.session.reset(asked[2], CANCEL)
    connection.await_end(asked[2])
    clock.now += 0.6
    connection.check(60.0, math.inf)
    assert [one.is_closed for one in asked] == [True, False, True]
    clock.now += 0.6
    connection.check(60.0, math.inf)
    assert asked[1].is_closed
    assert connection.session.resets_sent == 3


def test_streams_that_have_only_to_end_are_bounded_in_number(connected):
    connection, _ = connected(max_streams=1000)
    asked = [begin(connection).stream for _ in range(MOST_STREAMS + 1)]
    for stream in asked:
        assert not any(one.is_closed for one in asked)
        connection.await_end(stream)
    assert [one.is_closed for one in asked] == [True] * MOST_STREAMS + [False]


def test_a_request_that_was_promised_a_place_has_it_though_a_stream_has_only_to_end(connected):
    connection, _ = connected(max_streams=2)
    first = begin(connection)
    connection.leases += 1  # of a request that goes on in the next turn of the loop
    connection.await_end(first.stream)
    connection.release()
    assert connection.has_room()
    begin(connection)
    promised = connection.open("GET", "a", "/", Headers(), NO_BODY)
    assert first.stream.is_closed
    assert not promised.stream.is_closed


@pytest.fixture
def cautious(pair, clock):
    sock, peer = pair()
    changes = []
    connection = HTTP2Connection(
        sock, sock.channel(), changes.append, is_tls=False, is_cautious=True, clock=clock
    )  # fmt: skip
    connection.start()
    peer.start()
    turn_until(connection.settled.is_set)
    yield connection, changes, peer
    connection.close()


def test_a_cautious_connection_takes_its_first_requests_one_at_a_time(cautious):
    connection, changes, peer = cautious
    for _ in range(SHORT_LIVED - 1):
        assert connection.has_room()
        connection.leases += 1
        assert not connection.has_room()
        connection.release()
        assert not connection.has_room()  # GOAWAY may follow: an answer to a PING shows that it does not
        changes.clear()
        turn_until(lambda: peer.look() or changes)
    connection.leases += 1
    connection.release()
    for _ in range(3):
        assert connection.has_room()
        connection.leases += 1


def test_streams_without_an_end_do_not_fill_a_cautious_connection_for_good(cautious, clock):
    connection, changes, _ = cautious
    for _ in range(3):
        assert connection.has_room()
        connection.leases += 1
        assert not connection.has_room()
        clock.now += 1.0
        changes.clear()
        connection.check(55.0, math.inf)
        assert changes == [connection]  # a request that waits gets the room


@pytest.mark.parametrize(
    ("begun", "last_id", "expected"),
    [(2, 1, True), (2, 3, False), (30, 19, True), (30, 21, False), (2, 2**31 - 1, False)],
)
def test_a_connection_is_short_lived_if_it_excludes_requests_after_a_few_others(connected, begun, last_id, expected):
    connection, peer = connected()
    for _ in range(begun):
        begin(connection)
    peer.session.go_away(last_id, NO_ERROR)
    peer.flush()
    turn_until(lambda: connection.is_retired)
    assert connection.is_short_lived is expected
