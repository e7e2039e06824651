"""HTTP/2 with one client: requests from streams, limits of time, draining, and what becomes of lost connections."""

from time import monotonic

import gevent
import pytest
from gevent.event import Event

from gproxy.http.errors import ClientGone
from gproxy.http.h2.events import GoAwayReceived, HeadReceived
from gproxy.http.h2.frames import CANCEL, ENHANCE_YOUR_CALM, MAX_STREAM_ID, NO_ERROR
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.server.client_channel import ClientChannel
from gproxy.server.connection import LAST_REQUEST_SECONDS
from gproxy.server.http2 import connection as module

pytestmark = pytest.mark.timeout(20)


def goaways(some):
    return [(one.last_id, one.code) for one in some.events if isinstance(one, GoAwayReceived)]


def test_streams_are_served_beside_each_other(scene):
    some = scene()
    go = Event()

    def answer(request):
        if request.path == "/slow":
            go.wait()
        return Response(200, request.path.encode())

    some.gateway.answer = answer
    slow, fast = some.request(path="/slow"), some.request(path="/fast")
    assert some.response(fast)[2] == b"/fast"
    assert [one.request.path for one in some.connection.active_requests] == ["/slow"]
    assert repr(some.connection) == "<AcceptingConnection 192.0.2.1 HTTP/2, 1 active>"
    go.set()
    assert some.response(slow)[2] == b"/slow"


def test_a_client_that_resets_ends_its_request(scene):
    some = scene()
    begun = Event()

    def answer(request):
        begun.set()
        request.client_stream.wait()
        assert request.client_stream.is_gone()
        raise ClientGone

    some.gateway.answer = answer
    stream = some.request()
    begun.wait()
    some.client.reset(stream, CANCEL)
    some.send()
    assert some.recorded() == [(499, "client_gone")]
    some.gateway.answer = lambda request: Response(200)
    assert some.response(some.request())[0] == 200


def test_a_lost_connection_ends_its_requests_and_waits_for_them(scene):
    some = scene()
    gone = Event()

    def answer(request):
        request.client_stream.wait()
        gone.set()
        gevent.sleep(0)
        raise ClientGone

    some.gateway.answer = answer
    some.request()
    some.until(lambda: some.connection.active_requests)
    some.close()
    assert gone.is_set()
    assert some.recorded() == [(499, "client_gone")]


def test_nothing_waits_for_the_kernel_of_a_lost_connection(scene, monkeypatch):
    watchers = []
    before = ClientChannel.write_watcher
    monkeypatch.setattr(ClientChannel, "write_watcher", lambda self: watchers.append(before(self)) or watchers[-1])
    some = scene(window=1 << 24, connection_window=1 << 24)
    some.gateway.answer = lambda request: Response(200, bytes(1 << 23))
    some.request()
    some.until(lambda: watchers)
    assert watchers[-1].active
    some.end_writing()
    assert some.recorded() == [(499, "client_gone")]
    assert not any(one.active for one in watchers)


def test_draining_does_not_end_the_wait_for_the_requests_of_a_lost_connection(scene):
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    some.request()
    some.until(lambda: some.connection.active_requests)
    some.end_writing()
    some.until(lambda: some.connection.multiplexed._is_gone)
    some.connection.close_if_idle(0.01)
    gevent.sleep(0.05)
    assert len(some.context.connections)
    go.set()
    assert some.recorded() == [(499, "client_gone")]
    some.until(lambda: not len(some.context.connections))


def test_an_idle_connection_ends_with_goaway(scene):
    some = scene(idle_timeout=0.1)
    some.response(some.request())
    began = monotonic()
    some.read_until(lambda: some.is_closed)
    assert 0.05 < monotonic() - began < 3
    assert goaways(some) == [(1, NO_ERROR)]


def test_a_client_without_settings_has_the_time_of_a_head(scene):
    some = scene(head_timeout=0.1, speaks=False)
    some.read_until(lambda: some.is_closed)
    assert goaways(some) == [(0, NO_ERROR)]


def test_a_silent_client_gets_a_ping_after_60_seconds_and_has_15_for_its_answer(scene):
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    began = monotonic()
    some.request()
    some.until(lambda: some.connection.active_requests)
    connection, alarm = some.connection.multiplexed, some.connection.alarm
    some.until(lambda: alarm.expires < began + 70)
    assert 59.9 < alarm.expires - began < 61
    connection._on_time(began + 61)  # of a clock that has gone on
    assert 75.9 < connection._due() - began < 76.1
    go.set()


@pytest.mark.parametrize(
    "begun",
    [
        b"\x00\x00\x01\x01\x00\x00\x00\x00\x03\x82",  # HEADERS without END_HEADERS
        b"\x00\x00\x02\x01\x05\x00\x00\x00\x03\x82",  # HEADERS without their last byte
    ],
)
def test_a_head_that_does_not_end_in_time_ends_the_connection(scene, begun):
    some = scene(head_timeout=0.1)
    some.response(some.request())
    some.send_raw(begun)
    some.read_until(lambda: some.is_closed)
    assert goaways(some) == [(1, ENHANCE_YOUR_CALM)]


def test_the_end_of_a_request_gives_no_more_time_to_a_head_that_has_begun(scene):
    some = scene(head_timeout=0.1)
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    stream = some.request()
    some.until(lambda: some.connection.active_requests)
    some.read_until(lambda: some.client.has_settings)  # or its answer would come within the head
    some.send_raw(b"\x00\x00\x01\x01\x00\x00\x00\x00\x03\x82")
    some.until(lambda: some.connection.multiplexed._session.block_since)
    go.set()
    assert some.response(stream)[0] == 200
    some.read_until(lambda: some.is_closed)
    assert goaways(some) == [(1, ENHANCE_YOUR_CALM)]


def test_a_silent_client_with_open_streams_gets_a_ping_and_is_lost_without_an_answer(scene, monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.05)
    monkeypatch.setattr(module, "_PING_TIMEOUT", 0.1)
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    stream = some.request()
    gevent.sleep(0.5)  # the test's client answers PINGs only while it reads: it stays silent
    go.set()
    some.read_until(lambda: some.is_closed)
    assert some.response(stream)[0] == 0


def test_a_silent_client_is_not_lost_while_it_takes_what_was_sent_before_the_ping(scene, monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.05)
    monkeypatch.setattr(module, "_PING_TIMEOUT", 0.05)
    left = iter(range(8000, 0, -1000))
    monkeypatch.setattr(ClientChannel, "in_kernel", lambda self: next(left, 0))
    some = scene()
    some.gateway.answer = lambda request: request.client_stream.wait() or Response(200)
    some.request()
    gevent.sleep(0.3)
    assert not some.gateway.recorded
    while not some.gateway.recorded:
        gevent.sleep(0.01)


def test_a_client_that_answers_pings_is_waited_for(scene, monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.05)
    monkeypatch.setattr(module, "_PING_TIMEOUT", 5.0)
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    stream = some.request()
    gevent.spawn_later(0.3, go.set)
    assert some.response(stream)[0] == 200


def test_draining_lets_the_client_finish_in_two_steps(scene):
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    first = some.request()
    some.until(lambda: some.connection.active_requests)
    some.connection.close_if_idle(5.0)
    late = some.request()  # before the client knows
    some.read_until(lambda: len(goaways(some)) == 2)
    assert goaways(some) == [(MAX_STREAM_ID, NO_ERROR), (3, NO_ERROR)]
    go.set()
    assert some.response(first)[0] == some.response(late)[0] == 200
    some.read_until(lambda: some.is_closed)


def test_a_client_that_says_goodbye_costs_no_turns_of_the_loop_while_draining(scene):
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    stream = some.request()
    some.until(lambda: some.connection.active_requests)
    some.client.go_away(0, NO_ERROR)
    some.send()
    some.read_until(lambda: goaways(some))
    some.connection.close_if_idle(0.0)
    gevent.sleep(0)
    loop = gevent.get_hub().loop
    before = loop.iteration
    gevent.sleep(0.1)
    assert loop.iteration - before < 100
    go.set()
    assert some.response(stream)[0] == 200
    some.read_until(lambda: some.is_closed)
    assert goaways(some) == [(1, NO_ERROR)]


def test_a_client_that_ignores_draining_is_left_after_a_while(scene):
    some = scene()
    some.response(some.request())
    some.mute()
    some.connection.close_if_idle(0.1)
    some.read_until(lambda: some.is_closed)
    assert goaways(some) == [(MAX_STREAM_ID, NO_ERROR), (1, NO_ERROR)]


def test_a_client_that_ignores_draining_has_one_second(scene):
    some = scene()
    some.response(some.request())
    some.mute()
    began = monotonic()
    some.connection.close_if_idle(LAST_REQUEST_SECONDS)
    assert 0.9 < some.connection.alarm.expires - began < 1.1


@pytest.mark.parametrize("limit", [TimeLimit.DRAINING, TimeLimit.CUT], ids=["draining", "cut"])
def test_a_cut_answers_what_has_no_answer_and_resets_the_rest(scene, limit):
    some = scene()

    def body():
        yield b"begun"
        Event().wait()

    def answer(request):
        if request.path == "/begun":
            return Response(200, body())
        try:
            Event().wait()
        except Expired as expired:
            request.reason = expired.limit.reason
            return Response(expired.limit.status)

    some.gateway.answer = answer
    waits, begun = some.request(), some.request(path="/begun")
    some.read_until(lambda: some.content(begun) == b"begun")
    some.connection.cut(limit)
    assert some.response(waits)[0] == 503
    assert some.reset_code(begun) == CANCEL
    assert sorted(some.recorded(2)) == [(200, limit.reason), (503, limit.reason)]
    some.read_until(lambda: some.is_closed)


def test_a_worker_that_drains_still_takes_what_comes_at_once(scene):
    some = scene()
    some.runtime.draining = True
    stream = some.request()
    assert some.response(stream)[0] == 200
    some.read_until(lambda: some.is_closed)
    assert goaways(some)[0] == (MAX_STREAM_ID, NO_ERROR)


def test_a_flood_ends_the_connection_with_one_warning(scene, caplog):
    some = scene()
    some.send_raw(b"\x00\x00\x05\x02\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00" * 500)  # PRIORITY
    some.read_until(lambda: some.is_closed)
    assert goaways(some) == [(0, ENHANCE_YOUR_CALM)]
    assert "192.0.2.1: HTTP/2 connection closed: the budget is spent" in caplog.text


@pytest.mark.parametrize(("answered", "is_flood"), [(100, False), (0, True)])
def test_an_answered_request_pays_for_a_frame(scene, answered, is_flood):
    some = scene()
    priority = b"\x00\x00\x05\x02\x00\x00\x00\x03\xe9\x00\x00\x00\x00\x00"
    some.send_raw(priority * 380)
    for _ in range(answered):
        some.response(some.request())
    some.send_raw(priority * 90)
    last = some.request()
    some.read_until(lambda: some.is_over(last))
    assert bool(goaways(some)) is is_flood


@pytest.mark.parametrize(("patient", "is_flood"), [(0.0, False), (1.0, True)])
def test_a_client_that_has_waited_may_reset_any_number_of_streams(scene, monkeypatch, patient, is_flood):
    monkeypatch.setattr(module, "_PATIENT", patient)
    some = scene()

    def answer(request):
        request.client_stream.wait()
        raise ClientGone

    some.gateway.answer = answer
    for number in range(450):
        stream = some.request()
        some.until(lambda: some.connection.active_requests or some.connection.multiplexed._is_gone)
        some.client.reset(stream, CANCEL)
        some.send()
        some.recorded(min(number + 1, 390))
    some.gateway.answer = lambda request: Response(200)
    last = some.request()
    some.read_until(lambda: some.is_over(last))
    assert bool(goaways(some)) == is_flood


def test_no_more_requests_than_max_streams_are_under_way(scene):
    some = scene(max_streams=2)
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    streams = [some.request() for _ in range(3)]
    assert some.reset_code(streams[2]) == 7
    go.set()
    assert [some.response(one)[0] for one in streams[:2]] == [200, 200]


@pytest.fixture
def resetting(scene):
    """A connection for one request at a time, whose client has reset one; its greenlet ends once `go` is set."""
    some = scene(max_streams=1)
    some.go, some.asked = Event(), []

    def answer(request):
        some.asked.append(request.path)
        return some.go.wait() and Response(200)

    some.gateway.answer = answer
    first = some.request(path="/first")
    some.until(lambda: some.asked)
    some.client.reset(first, CANCEL)
    return some


def test_a_request_behind_a_reset_one_begins_when_the_greenlet_of_that_has_ended(resetting):
    some = resetting
    second = some.request(path="/second")
    assert some.reset_code(some.request(path="/third")) == 7  # two at a time are one too many
    assert some.asked == ["/first"]
    some.go.set()
    assert some.response(second)[0] == 200
    assert some.asked == ["/first", "/second"]


def test_a_delayed_request_that_is_reset_is_recorded_at_once(resetting):
    some = resetting
    for path in ("/second", "/third"):
        some.client.reset(some.request(path=path), CANCEL)
    some.send()
    assert some.recorded(2) == [(499, "client_gone")] * 2
    last = some.request(path="/last")
    some.go.set()
    assert some.response(last)[0] == 200
    assert some.asked == ["/first", "/last"]


def test_a_delayed_request_ends_with_its_connection(resetting):
    some = resetting
    some.request(path="/second")
    some.end_writing()
    some.until(lambda: some.connection.multiplexed._is_gone)
    some.go.set()
    assert [status for status, _ in some.recorded(2)] == [499, 499]
    assert some.asked == ["/first"]


def test_a_failing_gateway_ends_only_its_stream(scene, caplog):
    some = scene()
    some.gateway.answer = lambda request: 1 / 0
    stream = some.request()
    assert some.reset_code(stream) == 2
    some.gateway.answer = lambda request: Response(200)
    assert some.response(some.request())[0] == 200
    assert len(some.of(stream, HeadReceived)) == 0
