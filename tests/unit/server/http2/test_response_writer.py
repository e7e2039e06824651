"""What a response looks like over HTTP/2, in how many sends it leaves, and how a broken one ends."""

import gevent
import pytest

from gproxy.http.h2.events import DataReceived, HeadReceived, StreamReset, TrailersReceived
from gproxy.http.h2.frames import CANCEL, INTERNAL_ERROR, NO_ERROR
from gproxy.http.headers import Headers
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.http.websocket import accept_of
from gproxy.runtime.expired import Expired
from gproxy.server.client_channel import ClientChannel
from gproxy.server.http2 import response_writer as module

pytestmark = pytest.mark.timeout(20)

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
DATED = ("date", DATE)


def answer(some, response, method="GET", **options):
    some.gateway.answer = lambda request: response
    stream = some.request(method, **options)
    return stream, some.response(stream)


def dated(status=200, body=b"", fields=()):
    return Response(status, body, Headers([("Date", DATE), *fields]))


class Trailing(list):
    """A body in pieces, as a backend's: with trailers."""

    at_hand = b""
    trailers = (("x-sum", "1"),)


def test_head_and_small_body_leave_in_one_send(scene):
    some = scene()
    some.response(some.request())
    some.gateway.answer = lambda request: dated(200, b"hello")
    sends = []
    channel = some.connection.channel
    before = channel._send
    channel._send = lambda data: sends.append(bytes(data)) or before(data)
    _, headers, content = some.response(some.request())
    assert content == b"hello"
    assert headers.items() == [DATED, ("content-length", "5")]
    assert len(sends) == 1


def test_names_are_in_lower_case_and_fields_of_the_connection_go(scene):
    fields = [("X-Upper", "Yes"), ("Connection", "close"), ("Keep-Alive", "5"), ("Transfer-Encoding", "chunked")]
    _, (_, headers, _) = answer(scene(), dated(200, b"", [*fields, ("Upgrade", "h3")]))
    assert headers.items() == [DATED, ("x-upper", "Yes"), ("content-length", "0")]


def test_a_426_goes_without_upgrade(scene):
    response = Response.forwarded(426, "", Headers([("Date", DATE), ("Upgrade", "TLS/1.0")]), b"")
    response.headers.is_stripped = True
    _, (status, headers, _) = answer(scene(), response)
    assert (status, headers.items()) == (426, [DATED, ("content-length", "0")])


def test_a_date_is_added(scene):
    _, (_, headers, _) = answer(scene(), Response(200))
    assert headers["date"].endswith(" GMT")


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, None)],
)
def test_responses_without_a_body_end_with_their_head(scene, method, status, length):
    some = scene()
    stream, (got, headers, content) = answer(some, dated(status, b"hello"), method)
    assert (got, content, headers.get("content-length")) == (status, b"", length)
    assert some.of(stream, HeadReceived)[0].ended
    assert not some.of(stream, DataReceived)


def test_a_body_in_pieces_goes_as_it_comes(scene):
    some = scene()
    _, (_, headers, content) = answer(some, dated(200, iter([b"one", b"", bytearray(b"two")])))
    assert content == b"onetwo"
    assert "content-length" not in headers
    assert some.recorded() == [(200, "")]
    assert some.gateway.recorded[0].bytes_sent == 6


def test_trailers_follow_the_body(scene):
    some = scene()
    stream, _ = answer(some, dated(200, Trailing([b"body"])))
    assert [one.pairs for one in some.of(stream, TrailersReceived)] == [[("x-sum", "1")]]


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abc", b"defg"]], ids=["short", "long"])
def test_a_body_that_breaks_its_length_is_reset(scene, pieces):
    some = scene()
    stream, _ = answer(some, dated(200, iter(pieces), [("Content-Length", "5")]))
    assert some.reset_code(stream) == INTERNAL_ERROR
    assert some.recorded() == [(200, "handler_error")]


def test_an_invalid_length_of_a_handler_goes(scene):
    _, (_, headers, content) = answer(scene(), dated(200, iter([b"abc"]), [("Content-Length", "many")]))
    assert (content, headers.get("content-length")) == (b"abc", None)


def test_a_body_that_fails_is_reset_after_what_was_made(scene):
    def body():
        yield b"begun"
        raise OSError("disk")

    some = scene()
    stream, (_, _, content) = answer(some, dated(200, body()))
    assert (content, some.reset_code(stream)) == (b"begun", INTERNAL_ERROR)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (TimeLimit.BODY, CANCEL),
        (TimeLimit.WRITE, CANCEL),
        (TimeLimit.RATE, CANCEL),
        (TimeLimit.TUNNEL, CANCEL),
        (TimeLimit.IDENTITY, CANCEL),
        (TimeLimit.DRAINING, CANCEL),
        (TimeLimit.CUT, CANCEL),
        (TimeLimit.CALL, CANCEL),
        (TimeLimit.READ, INTERNAL_ERROR),
        (TimeLimit.TOTAL, INTERNAL_ERROR),
    ],
    ids=str,
)
def test_a_limit_that_ends_a_body_is_a_cancel_unless_the_gateway_finds_it_late(scene, limit, code):
    def body():
        yield b"begun"
        raise Expired(limit)

    some = scene()
    stream, _ = answer(some, dated(200, body()))
    assert some.reset_code(stream) == code
    assert some.recorded() == [(200, limit.reason_after_head)]


def test_a_response_before_the_end_of_the_upload_ends_it_without_an_error(scene):
    some = scene()
    stream, (status, _, _) = answer(some, dated(200, b"enough"), "POST", body=b"begun", end=False)
    assert (status, some.reset_code(stream)) == (200, NO_ERROR)
    assert some.response(some.request())[0] == 200


def test_a_client_gets_time_to_end_its_upload_after_the_response(scene, monkeypatch):
    monkeypatch.setattr(module, "_LINGER", 5.0)
    some = scene()
    some.gateway.answer = lambda request: dated(200, b"enough")
    stream = some.request("POST", body=b"begun", end=False)
    some.read_until(lambda: some.content(stream))
    assert not some.of(stream, StreamReset)  # not in the same read
    for ends in (False, False, True):  # more than the window
        some.read_until(lambda: some.client.sendable(stream) >= 40_000)
        some.client.send_data(stream, bytes(40_000), end=ends)
        some.send()
    some.until(lambda: not some.connection.multiplexed._active)
    assert some.response(some.request())[0] == 200
    assert not some.of(stream, StreamReset)


def test_a_client_that_leaves_during_the_body_is_recorded(scene):
    some = scene()
    ended = []

    def body():
        try:
            while True:
                yield b"x"
                gevent.sleep(0.01)
        finally:
            ended.append(True)

    some.gateway.answer = lambda request: dated(200, body())
    stream = some.request()
    some.read_until(lambda: some.content(stream))
    some.client.reset(stream, CANCEL)
    some.send()
    assert some.recorded() == [(499, "client_gone")]
    assert ended == [True]


def test_a_silent_body_ends_with_its_client(scene):
    some = scene()

    def body():
        yield b"x"
        gevent.sleep(60)

    some.gateway.answer = lambda request: dated(200, body())
    stream = some.request()
    some.read_until(lambda: some.content(stream))
    some.client.reset(stream, CANCEL)
    some.send()
    assert some.recorded() == [(499, "client_gone")]


def test_a_client_without_window_runs_into_the_write_timeout(scene):
    some = scene(window=65535, write_timeout=0.2)
    stream, (status, _, content) = answer(some, dated(200, bytes(100_000)))
    assert (status, len(content)) == (200, 65535)
    assert some.reset_code(stream) == CANCEL
    assert some.recorded() == [(200, "client_timeout")]
    assert some.gateway.recorded[0].bytes_sent == 65535
    assert some.response(some.request(path="/other"))[0] == 200


@pytest.mark.parametrize("settings", [{"write_timeout": 0.05}, {"write_timeout": 0.05, "min_rate": 10_000}])
def test_a_client_is_waited_for_while_its_system_takes_what_the_kernel_has(scene, monkeypatch, settings):
    left = iter(range(200_000, 0, -10_000))
    monkeypatch.setattr(ClientChannel, "in_kernel", lambda self: next(left, 0))
    some = scene(window=100_000, **settings)
    some.gateway.answer = lambda request: Response(200, bytes(300_000))
    some.request()
    gevent.sleep(0.3)
    assert not some.gateway.recorded
    while not some.gateway.recorded:
        gevent.sleep(0.01)
    assert some.recorded() == [(200, "client_timeout")]


def test_a_client_without_window_is_not_waited_for_while_it_reads_another_stream(scene):
    some = scene(window=65535, write_timeout=0.2)
    some.gateway.answer = lambda request: dated(200, bytes(100_000) if request.path == "/" else b"y")
    stream = some.request()
    while not some.is_over(stream):
        assert some.response(some.request(path="/other"))[2] == b"y"
    assert some.reset_code(stream) == CANCEL


def test_a_slow_reader_with_min_rate_is_cut(scene):
    some = scene(window=65535, write_timeout=30.0, min_rate=1 << 20)

    def begin(request):
        request.deadline.read_patience = 0.1
        return dated(200, bytes(100_000))

    some.gateway.answer = begin
    assert some.reset_code(some.request()) == CANCEL
    assert some.recorded() == [(200, "client_slow")]


def test_a_response_keeps_what_its_route_reads_ahead(scene):
    some = scene(window=65535)
    taken = []

    def body():
        for _ in range(20):
            taken.append(len(taken))
            yield bytes(20_000)

    def begin(request):
        request.client_stream.read_ahead(200_000)
        request.client_stream.buffers._limit = 1 << 20
        return dated(200, body())

    some.gateway.answer = begin
    stream = some.request()
    some.read_until(lambda: len(some.content(stream)) == 65535)
    some.until(lambda: len(taken) >= 12)
    assert len(taken) <= 14
    some.client.reset(stream, CANCEL)
    some.send()
    some.recorded()
    assert some.context.channels.buffers.used == 0


def test_the_priority_of_a_response_overrides_that_of_its_request(scene):
    some = scene()
    seen = []

    def answer(request):
        seen.append(request.client_stream.stream)
        return dated(200, iter([b"x"]), [("Priority", "u=1")])

    some.gateway.answer = answer
    some.response(some.request(fields=[("priority", "u=5, i")]))
    assert [(one.urgency, one.incremental) for one in seen] == [(1, True)]


# Extended CONNECT (RFC 8441)


class Tunnel(list):
    """The body of a 101."""


def switch(accept=accept_of):
    """Answer as a backend in HTTP/1.1 that switches to WebSocket."""

    def answer(request):
        fields = [("Date", DATE), ("Upgrade", "websocket"), ("Sec-WebSocket-Protocol", "chat")]
        fields.append(("Sec-WebSocket-Accept", accept(request.headers["sec-websocket-key"])))
        client = request.client_stream

        def tunnel():
            client.start_tunnel()
            while data := client.read(100):
                yield data.upper()
            client.shut_writing()

        return Response.forwarded(101, "", Headers(fields), tunnel())

    return answer


def connect(some):
    return some.request("CONNECT", "/chat", [("sec-websocket-version", "13")], end=False, protocol="websocket")


def test_a_connect_becomes_a_get_and_its_tunnel_has_bytes_both_ways(scene):
    some = scene()
    some.gateway.answer = switch()
    stream = connect(some)
    some.read_until(lambda: some.of(stream, HeadReceived))
    (request,) = some.gateway.requests
    assert (request.method, request.path, request.offered) == ("GET", "/chat", ("websocket",))
    head = some.of(stream, HeadReceived)[0].head
    assert (head.status, head.headers.items()) == (200, [DATED, ("sec-websocket-protocol", "chat")])
    for word in (b"one", b"two"):
        some.client.send_data(stream, word, end=False)
        some.send()
        some.read_until(lambda word=word: some.content(stream).endswith(word.upper()))
    some.client.send_data(stream, b"", end=True)
    some.send()
    assert some.response(stream)[2] == b"ONETWO"
    assert some.recorded() == [(101, "")]


def test_a_wrong_accept_is_an_error_of_the_backend(scene):
    some = scene()
    some.gateway.answer = switch(lambda key: accept_of("another"))
    stream = connect(some)
    assert some.response(stream)[0] == 502
    assert some.recorded() == [(502, "backend_protocol")]


def test_a_success_without_a_tunnel_is_none(scene):
    some = scene()
    some.gateway.answer = lambda request: dated(200, b"hello", [("Content-Type", "text/plain")])
    stream = connect(some)
    status, _, content = some.response(stream)
    assert (status, content) == (501, b"")
    assert some.recorded() == [(501, "")]


def test_an_error_to_a_connect_goes_as_it_is(scene):
    some = scene()
    some.gateway.answer = lambda request: dated(403, b"no")
    stream = connect(some)
    assert some.response(stream)[::2] == (403, b"no")
    assert some.reset_code(stream) == CANCEL


def test_a_tunnel_ends_with_a_reset_of_its_client(scene):
    some = scene()
    some.gateway.answer = switch()
    stream = connect(some)
    some.read_until(lambda: some.of(stream, HeadReceived))
    some.client.reset(stream, CANCEL)
    some.send()
    assert some.recorded() == [(499, "client_gone")]


def test_a_tunnel_that_expires_is_reset(scene):
    some = scene()

    def answer(request):
        response = switch()(request)

        def tunnel():
            yield b"x"
            raise Expired(TimeLimit.TUNNEL)

        return Response.forwarded(101, "", response.headers, tunnel())

    some.gateway.answer = answer
    stream = connect(some)
    assert some.reset_code(stream) == CANCEL
    assert some.recorded() == [(101, "tunnel_idle")]
    assert some.of(stream, StreamReset)


def test_bytes_of_a_tunnel_that_its_client_does_not_take_are_not_counted(scene):
    some = scene(window=65535, write_timeout=0.2)

    def answer(request):
        request.client_stream.start_tunnel()
        return Response.forwarded(101, "", switch()(request).headers, iter([bytes(100_000)]))

    some.gateway.answer = answer
    assert some.reset_code(connect(some)) == CANCEL
    assert some.recorded() == [(101, "client_timeout")]
    assert some.gateway.recorded[0].bytes_sent == 65535


GRPC = [("Content-Type", "application/grpc")]
CALL = {"method": "POST", "fields": [*GRPC, ("TE", "trailers")], "body": b""}


def test_an_error_for_a_grpc_client_is_only_a_head_and_the_record_has_what_was_meant(scene):
    some = scene()
    _, (status, headers, content) = answer(some, dated(403, b"no"), **CALL)
    assert (status, content) == (200, b"")
    assert headers.items() == [
        DATED,
        ("content-type", "application/grpc"),
        ("grpc-status", "7"),
        ("grpc-message", "Forbidden"),
    ]
    assert some.gateway.recorded[-1].status == 403


def test_a_status_of_a_backend_in_a_head_stays_one(scene):
    _, (status, headers, content) = answer(scene(), dated(200, b"", [*GRPC, ("grpc-status", "14")]), **CALL)
    assert (status, content) == (200, b"")
    assert headers.items() == [DATED, ("content-type", "application/grpc"), ("grpc-status", "14")]


def test_a_rejected_call_gets_a_status_too(scene):
    some = scene(max_body=3)
    stream = some.request("POST", "/", GRPC, body=b"hello")
    status, headers, _ = some.response(stream)
    assert (status, headers.get("grpc-status")) == (200, "8")


def test_the_next_request_of_the_greenlet_is_no_call(scene):
    some = scene()
    answer(some, dated(403), **CALL)
    _, (status, headers, _) = answer(some, dated(403))
    assert (status, headers.get("grpc-status")) == (403, None)
