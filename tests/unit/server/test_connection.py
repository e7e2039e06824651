"""One client connection: what is served, rejected and kept alive."""

import re
import socket
from types import SimpleNamespace

import gevent
import pytest

from gproxy.config.types import Bytes, Seconds
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import UNIX_PEER
from gproxy.runtime.expired import Expired
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.errors import BrokenBodyError

GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"


def statuses(got):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", got)]


def test_a_request_is_answered_and_recorded(scene):
    some = scene()
    got = some.serve(GET)
    assert statuses(got) == [200]
    assert got.endswith(b"\r\n\r\nok")
    (recorded,) = some.gateway.recorded
    assert (recorded.method, recorded.target, recorded.status, recorded.reason) == ("GET", "/x", 200, "")
    assert (recorded.bytes_sent, recorded.host, recorded.client) == (2, "a.test", "192.0.2.1")
    (asked,) = some.gateway.requests
    assert (asked.host, asked.client, asked.received.peer) == ("a.test", "192.0.2.1", "192.0.2.1")
    assert len(some.context.connections) == 0


def test_requests_follow_each_other(scene):
    some = scene()
    assert statuses(some.serve(GET, GET, b"GET /y HTTP/1.1\r\nHost: a.test\r\n\r\n")) == [200] * 3
    assert [exchange.target for exchange in some.gateway.recorded] == ["/x", "/x", "/y"]


@pytest.mark.parametrize(
    "first",
    [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
def test_a_client_that_wants_to_close_is_closed(scene, first):
    some = scene()
    some.serve(first, GET)
    assert len(some.gateway.recorded) == 1


def test_while_the_worker_drains_each_answer_is_the_last(scene):
    some = scene()
    some.runtime.draining = True
    got = some.serve(GET, GET)
    assert statuses(got) == [200]
    assert b"\r\nConnection: close\r\n" in got


@pytest.mark.parametrize(
    ("address", "peer"), [(("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"), (("2001:db8::1", 1, 0, 0), "2001:db8::1"), ("", UNIX_PEER)]
)  # fmt: skip
def test_the_name_of_the_peer(scene, address, peer):
    assert scene(address=address).connection.peer == peer


@pytest.mark.parametrize(
    ("data", "status", "options"),
    [
        (b"nonsense\r\n\r\n", 400, {}),
        (b"GET / HTTP/1.1\r\n\r\n", 400, {}),
        (b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, {"max_head": Bytes(1000)}),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 1000 + b"\r\n\r\n", 431, {"max_head": Bytes(1000)}),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n", 431, {"max_fields": 1}),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfour", 413, {"max_body": Bytes(3)}),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n", 413, {"max_body": Bytes(3)}),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400, {}),
    ],
)  # fmt: skip
def test_what_is_no_request_is_rejected_and_the_connection_closed(scene, data, status, options):
    some = scene(**options)
    assert statuses(some.serve(data)) == [status]
    assert [facts[0] for facts in some.gateway.rejected] == [status]
    assert some.gateway.requests == []


def test_an_empty_line_before_a_request_is_ignored(scene):
    assert statuses(scene().serve(b"\r\n", GET)) == [200]


def test_a_head_that_comes_in_pieces(scene):
    some = scene()
    some.connection._channel.buffer = GET[:10]
    assert statuses(some.serve(GET[10:])) == [200]


def test_a_client_that_closes_within_a_head_gets_no_answer(scene):
    some = scene()
    assert some.serve(GET[:10]) == b""
    assert (some.gateway.recorded, some.gateway.rejected) == ([], [])


def test_the_authority_of_an_absolute_target_replaces_the_host(scene):
    some = scene()
    some.serve(b"GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
    (asked,) = some.gateway.requests
    assert (asked.host, asked.headers["Host"], asked.target) == ("b.test", "b.test", "/x")


UPLOAD = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"


def test_a_body_that_came_with_the_head_and_was_not_read_is_skipped(scene):
    some = scene()
    assert statuses(some.serve(UPLOAD, b"upload", GET)) == [200, 200]


def test_a_body_that_did_not_come_ends_the_connection(scene):
    some = scene()
    assert b"\r\nConnection: close\r\n" in some.serve(UPLOAD, b"up")
    assert len(some.gateway.recorded) == 1


def test_a_body_that_is_read(scene):
    some, seen = scene(), []

    def answer(request):
        seen.append(request.body.read())
        return Response(204)

    some.gateway.answer = answer
    assert statuses(some.serve(UPLOAD, b"upload", GET)) == [204, 204]
    assert seen == [b"upload", b""]


def test_a_read_of_an_awaited_body_sends_continue(scene):
    some = scene()
    some.gateway.answer = lambda request: Response(200, request.body.read())
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    channel = some.connection._channel
    receive = channel._receive

    def receive_apart(limit):
        return receive(len(head) if not some.gateway.requests else limit)

    channel._receive = receive_apart
    got = some.serve(head, b"ok")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ClientGone(), 499, "client_gone"),
        (BrokenBodyError("cut"), 200, "backend_reset"),
        (Expired(TimeLimit.DEADLINE), 200, "deadline_mid_body"),
        (Expired(TimeLimit.READ), 200, "read_timeout"),
        (Expired(TimeLimit.ATTEMPT), 200, "deadline_mid_body"),
        (HTTPError(400, reason="client_gone"), 200, "client_gone"),
        (ValueError("broken"), 200, "handler_error"),
    ],
    ids=str,
)
def test_a_response_that_breaks_off_has_its_reason(scene, error, status, reason):
    def pieces():
        yield b"begun"
        raise error

    some = scene()
    some.gateway.answer = lambda request: Response(200, pieces())
    some.client.sendall(GET + GET)
    some.client.shutdown(socket.SHUT_WR)
    some.connection.handle()
    assert [(exchange.status, exchange.reason) for exchange in some.gateway.recorded] == [(status, reason)]


def test_the_end_of_an_exchange_closes_the_response_and_ends_the_request(scene):
    some, events = scene(), []

    def answer(request):
        request.at_end(lambda: events.append("end"))
        response = Response(200, b"ok")
        response.on_close(lambda: events.append("close"))
        return response

    some.gateway.answer = answer
    some.serve(GET)
    assert events == ["close", "end"]
    assert some.connection.request is None


def test_a_connection_over_the_limit_gets_a_503(scene):
    some = scene(max_connections=1)
    some.context.connections.admit(SimpleNamespace(peer="192.0.2.9", alarm=SimpleNamespace(greenlet=object())))
    got = some.serve(GET)
    assert statuses(got) == [503]
    assert b"\r\nRetry-After: 1\r\n" in got
    assert some.gateway.requests == []


def test_bytes_that_are_no_request_are_an_exchange_too(scene):
    some = scene()
    assert statuses(some.serve(b"GET /x?secret=1 HTTP/1.1\r\nHost: a\r\nBad\r\n\r\n")) == [400]
    (recorded,) = some.gateway.recorded
    assert (recorded.method, recorded.target, recorded.protocol) == ("GET", "/x", "HTTP/1.1")
    assert (recorded.status, recorded.client, recorded.bytes_sent) == (400, "192.0.2.1", 2)
    assert 0 < recorded.duration < 5


def test_a_rejected_client_that_has_left_is_recorded(scene):
    some = scene()
    some.connection._channel.buffer = b"nonsense\r\n\r\n"
    some.client.close()
    some.connection.handle()
    assert [(exchange.status, exchange.bytes_sent) for exchange in some.gateway.recorded] == [(400, 0)]


def test_an_idle_connection_closes_silently(scene):
    some = scene(head_timeout=Seconds(0.001))
    some.connection.handle()
    assert some.client.recv(100) == b""
    assert some.gateway.rejected == []


def test_a_head_that_does_not_come_in_time_is_a_408(scene):
    some = scene(head_timeout=Seconds(0.001))
    some.connection._channel.buffer = GET[:10]
    some.connection._close = some.connection._channel.close  # without a slow close
    some.connection.handle()
    assert statuses(some.client.recv(65536)) == [408]


def test_a_cut_reaches_the_request_under_way(scene):
    some, seen = scene(), []

    def answer(request):
        some.connection.cut(TimeLimit.CUT)
        request.deadline.set(float("inf"))  # as the progress of a transfer does
        with pytest.raises(Expired) as raised:
            gevent.sleep(5)
        seen.append(raised.value.limit)
        return Response(204)

    some.gateway.answer = answer
    some.serve(GET)
    assert seen == [TimeLimit.CUT]


def test_a_cut_that_comes_after_its_request_does_not_reach_the_next_one(scene):
    some = scene()

    def answer(request):
        if request.path == "/x":
            some.connection.cut(TimeLimit.CUT)
        else:
            gevent.sleep(0.001)
        return Response(204)

    some.gateway.answer = answer
    assert statuses(some.serve(GET, GET.replace(b"/x", b"/next"))) == [204, 204]
    assert [exchange.reason for exchange in some.gateway.recorded] == ["", ""]


@pytest.mark.parametrize(("is_idle", "limit"), [(True, 1.0), (False, None)])
def test_only_an_idle_connection_closes(scene, is_idle, limit):
    some = scene()
    some.connection.is_idle = is_idle
    some.connection.close_if_idle(1.0)
    assert (some.connection.alarm.expires != float("inf")) is (limit is not None)
    some.serve()


def test_a_connection_is_a_tunnel_while_its_exchange_is_one(scene):
    some, seen = scene(), []

    def answer(request):
        seen.append(some.connection.is_tunnel)
        request.exchange.is_tunnel = True
        seen.append(some.connection.is_tunnel)
        return Response(204)

    some.gateway.answer = answer
    some.serve(GET)
    assert seen == [False, True]
    assert not some.connection.is_tunnel


# Clients that follow a script


@pytest.fixture
def script(scene, scripted):
    """A connection with a client that follows this script, and the script's channel."""

    def make(*steps, **options):
        peer = scripted(*steps)
        return scene(script=peer, **options), peer

    return make


def test_a_client_may_wait_for_each_response(script):
    some, peer = script(GET, After(b"1 done"), GET, After(b"2 done"), GET, After(b"3 done"), END)
    some.gateway.answer = lambda request: Response(200, b"%d done" % len(some.gateway.requests))
    some.connection.handle()
    assert [sent[-6:] for sent in peer.sends] == [b"1 done", b"2 done", b"3 done"]
    assert (len(some.gateway.recorded), peer.remaining, peer.actions) == (3, [END], ["close"])


def test_an_awaited_body_comes_after_100_and_before_the_response(script):
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    some, peer = script(head, After(b"100 Continue"), b"bo", b"dy", After(b" 200 "), END)
    some.gateway.answer = lambda request: Response(200, request.body.read())
    some.connection.handle()
    assert peer.sends[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert peer.sends[1].endswith(b"\r\n\r\nbody")


def test_a_response_to_a_slow_client_arrives_whole(scene, scripted):
    peer = scripted(GET, After(b" over"), END, takes=10)
    some = scene(script=peer)
    some.gateway.answer = lambda request: Response(200, b"a body that is not yet over")
    some.connection.handle()
    assert peer.sent.endswith(b"\r\n\r\na body that is not yet over")
    assert max(map(len, peer.sends)) == 10


def test_a_client_that_resets_within_the_response_ends_the_exchange(script):
    some, peer = script(GET, After(b"begun"), RESET)
    some.gateway.answer = lambda request: Response(200, iter([b"begun", b"over"]))
    some.connection.handle()
    assert [(one.status, one.reason) for one in some.gateway.recorded] == [(499, "client_gone")]
    assert b"over" not in peer.sent
    assert peer.actions == ["close"]
    assert len(some.context.connections) == 0


def test_a_connection_shows_its_peer_and_its_request(script):
    some, _ = script(GET, END)
    shown = [repr(some.connection)]

    def answer(request):
        shown.append(repr(some.connection))
        request.exchange.is_tunnel = True
        shown.append(repr(some.connection))
        return Response(204)

    some.gateway.answer = answer
    some.connection.handle()
    some.connection.is_idle = False
    assert [*shown, repr(some.connection)] == [
        "<ClientConnection 192.0.2.1 IDLE>",
        "<ClientConnection 192.0.2.1 ACTIVE, GET /x>",
        "<ClientConnection 192.0.2.1 TUNNEL, GET /x>",
        "<ClientConnection 192.0.2.1 READING>",
    ]
