"""The client's side of one request over HTTP/2: its body, the limits of a slow one, interim responses."""

from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.h2.frames import CANCEL, PROTOCOL_ERROR
from gproxy.http.headers import Headers
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.channel import Interrupted
from gproxy.runtime.expired import Expired
from gproxy.runtime.http2.transport import MAX_UNSENT
from gproxy.runtime.waitable import Waitable

pytestmark = pytest.mark.timeout(20)


def echo(request):
    return Response(200, request.body.read())


def failing(act):
    """Answer with the status of the error that `act` raises."""

    def answer(request):
        try:
            return act(request)
        except HTTPError as error:
            request.reason = error.reason
            return Response(error.status, error.detail.encode())
        except Expired as expired:
            request.reason = expired.limit.reason
            return Response(expired.limit.status)

    return answer


def test_a_body_that_is_there_has_a_length(scene):
    some = scene()
    seen = []
    some.gateway.answer = lambda request: seen.append((request.body.length, request.body.done)) or echo(request)
    assert some.response(some.request("POST", body=b"hello"))[2] == b"hello"
    assert seen == [(5, True)]
    assert some.gateway.recorded[0].bytes_received == 5


@pytest.mark.parametrize(("size", "unread"), [(8192, 0), (8193, 8193)])
def test_a_long_body_keeps_its_window_until_it_is_read(scene, size, unread):
    """Otherwise uploads that no handler reads would take memory beside the windows."""
    some = scene()
    go, seen = Event(), []

    def answer(request):
        seen.append((request.body.length, request.client_stream.stream.unread, some.runtime.buffers.used))
        return echo(request) if go.wait() else None

    some.gateway.answer = answer
    stream = some.request("POST", body=bytes(size))
    some.until(lambda: seen)
    assert seen == [(size, unread, unread)]
    go.set()
    assert some.response(stream)[2] == bytes(size)
    assert some.runtime.buffers.used == 0
    assert some.gateway.recorded[0].bytes_received == size


def test_pieces_of_responses_are_small_while_the_process_keeps_too_much(scene):
    some = scene()
    sizes = []

    def answer(request):
        sizes.append(request.client_stream.piece(100_000))
        return Response(200)

    some.gateway.answer = answer
    some.response(some.request())
    some.runtime.buffers.add(1 << 27)
    some.response(some.request())
    assert sizes == [100_000, 16_000]


def test_a_body_that_comes_later_is_waited_for(scene):
    some = scene()
    seen = []
    some.gateway.answer = lambda request: seen.append(request.body.length) or echo(request)
    stream = some.request("POST", fields=[("content-length", "10")], body=b"hello", end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.send_data(stream, b"world", end=True)
    some.send()
    assert some.response(stream)[2] == b"helloworld"
    assert seen == [10]


def test_a_body_without_a_length_ends_with_the_stream_and_has_trailers(scene):
    some = scene()
    seen = []

    def answer(request):
        data = request.body.read()
        seen.append((request.body.length, request.body.trailers))
        return Response(200, data)

    some.gateway.answer = answer
    stream = some.request("POST", body=b"one", end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.send_data(stream, b"two", end=False)
    some.client.send_trailers(stream, [("x-sum", "7"), ("authorization", "no")])
    some.send()
    assert some.response(stream)[2] == b"onetwo"
    assert seen == [(None, [("x-sum", "7")])]


def test_a_large_upload_gets_its_window_back_while_it_is_read(scene):
    some = scene()
    sizes = []

    def answer(request):
        while piece := request.body.next_piece():
            sizes.append(len(piece))
        return Response(200)

    some.gateway.answer = answer
    stream = some.request("POST", body=b"", end=False)
    left = 1_000_000
    while left:
        some.read_until(lambda: some.client.sendable(stream))
        size = min(left, some.client.sendable(stream))
        left -= size
        some.client.send_data(stream, bytes(size), end=not left)
        some.send()
    assert some.response(stream)[0] == 200
    assert sum(sizes) == 1_000_000


def test_an_upload_that_nobody_reads_stops_at_its_window_and_stalls_no_other(scene):
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: (go.wait() and echo(request)) if request.method == "POST" else Response(200)
    stream = some.request("POST", body=b"", end=False)
    some.read_until(lambda: some.client.sendable(stream) > 65535)  # SETTINGS have come
    some.client.send_data(stream, bytes(65536), end=False)
    some.send()
    assert some.response(some.request())[0] == 200
    assert some.client.sendable(stream) == 0
    go.set()
    some.read_until(lambda: some.client.sendable(stream))
    some.client.send_data(stream, b"", end=True)
    some.send()
    assert len(some.response(stream)[2]) == 65536


@pytest.mark.parametrize("sent", [b"abc", b"abcdefg"], ids=["short", "long"])
def test_content_of_another_length_than_announced_never_looks_complete(scene, sent):
    some = scene()
    seen = []

    def answer(request):
        try:
            while piece := request.body.next_piece():
                seen.append(piece)
            seen.append("end")
        finally:
            return Response(400)  # noqa: B012 whatever happens

    some.gateway.answer = answer
    stream = some.request("POST", fields=[("content-length", "5")], body=b"", end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.send_data(stream, sent, end=True)
    some.send()
    assert some.reset_code(stream) == PROTOCOL_ERROR
    assert [one[0] for one in some.recorded()] == [400]
    assert "end" not in seen
    assert b"".join(one for one in seen if one != "end") != sent[:5]


def test_a_body_over_the_limit_is_rejected(scene):
    some = scene(max_body=1000)
    some.gateway.answer = failing(echo)
    stream = some.request("POST", body=bytes(2000))
    assert some.response(stream)[0] == 413
    late = some.request("POST", body=bytes(500), end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.send_data(late, bytes(501), end=True)
    some.send()
    assert some.response(late)[0] == 413


def test_a_client_that_expects_100_gets_it_before_its_body(scene):
    some = scene()
    some.gateway.answer = echo
    stream = some.request("POST", fields=[("expect", "100-continue"), ("content-length", "5")], end=False)
    some.read_until(lambda: some.interim(stream))
    assert some.interim(stream) == [100]
    some.client.send_data(stream, b"hello", end=True)
    some.send()
    assert some.response(stream)[2] == b"hello"


def test_a_client_that_expects_100_and_sends_at_once_gets_none(scene):
    some = scene()
    some.gateway.answer = echo
    stream = some.request("POST", fields=[("expect", "100-continue")], body=b"hello")
    assert some.response(stream)[2] == b"hello"
    assert some.interim(stream) == []


def test_interim_responses_go_on_without_the_id(scene):
    some = scene()

    def answer(request):
        fields = Headers([("Link", "</a.css>"), ("X-Request-ID", "1"), ("Content-Length", "3")])
        request.client_stream.send_interim(SimpleNamespace(status=103, phrase="", headers=fields), request.body)
        request.client_stream.send_interim(SimpleNamespace(status=100, phrase="", headers=fields), request.body)
        return Response(200)

    some.gateway.answer = answer
    stream = some.request()
    some.response(stream)
    assert some.interim(stream) == [103]


def test_interim_responses_do_not_pile_up_for_a_client_that_does_not_read(scene):
    some = scene()
    sizes = []

    def answer(request):
        for number in range(2000):
            fields = Headers({"Link": f"<{number}{'x' * 3000}>"})
            request.client_stream.send_interim(SimpleNamespace(status=103, phrase="", headers=fields), request.body)
            sizes.append(request.client_stream.transport.backlog)
        return Response(200)

    some.gateway.answer = answer
    assert some.response(some.request())[0] == 200
    assert 100_000 < max(sizes) < MAX_UNSENT + 10_000


def test_a_slow_upload_runs_into_the_body_timeout(scene):
    some = scene(body_timeout=0.1)
    some.gateway.answer = failing(echo)
    stream = some.request("POST", body=b"begun", end=False)
    assert some.response(stream)[0] == 408
    assert some.recorded() == [(408, "client_timeout")]
    assert some.response(some.request())[0] == 200


def test_waiting_for_an_upload_is_no_time_of_the_deadline(scene):
    some = scene()
    deadlines = []

    def answer(request):
        request.deadline.set(request.deadline.clock() + 5.0)
        before = request.deadline.expires
        data = request.body.read()
        deadlines.append(request.deadline.expires - before)
        return Response(200, data)

    some.gateway.answer = answer
    stream = some.request("POST", body=b"a", end=False)
    some.until(lambda: some.connection.active_requests)
    gevent.sleep(0.2)
    some.client.send_data(stream, b"b", end=True)
    some.send()
    assert some.response(stream)[2] == b"ab"
    assert 0.1 < deadlines[0] < 2


def test_a_deadline_throws_into_the_greenlet_of_its_stream_only(scene):
    some = scene()

    def answer(request):
        if request.path == "/slow":
            request.deadline.set(request.deadline.clock() + 0.1)
        gevent.sleep(0.3)
        return Response(200)

    some.gateway.answer = failing(answer)
    slow, fast = some.request(path="/slow"), some.request(path="/fast")
    assert some.response(slow)[0] == TimeLimit.DEADLINE.status
    assert some.response(fast)[0] == 200


def test_a_backend_that_answers_interrupts_a_read(scene):
    some = scene()

    def answer(request):
        peer = Waitable(gevent.get_hub())
        request.client_stream.interrupt_reads(peer)
        gevent.spawn(peer.notify)
        with pytest.raises(Interrupted):
            request.body.read()
        return Response(200)

    some.gateway.answer = answer
    assert some.response(some.request("POST", body=b"begun", end=False))[0] == 200


def test_a_client_that_resets_its_upload_is_gone(scene):
    some = scene()
    some.gateway.answer = echo
    stream = some.request("POST", body=b"begun", end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.reset(stream, CANCEL)
    some.send()
    assert some.recorded() == [(499, "client_gone")]


def test_a_request_that_turns_out_malformed_while_a_handler_waits_is_no_client_that_left(scene):
    some = scene()

    def answer(request):
        while not request.client_stream.is_gone():
            request.client_stream.wait()
        raise ClientGone

    some.gateway.answer = answer
    stream = some.request("POST", fields=[("content-length", "5")], body=b"abc", end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.send_data(stream, b"", end=True)
    some.send()
    assert some.recorded() == [(400, "bad_request")]


def test_only_its_own_greenlet_is_reached_by_the_alarm(scene):
    some = scene()
    seen = []

    def answer(request):
        client = request.client_stream
        seen.append(client.in_own_greenlet())
        seen.append(gevent.spawn(client.in_own_greenlet).get())
        seen.append(isinstance(request.deadline, Deadline) and request.deadline.timer is client.pace.alarm)
        return Response(200)

    some.gateway.answer = answer
    some.response(some.request())
    assert seen == [True, False, True]
