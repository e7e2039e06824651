"""gRPC through the gateway, with grpcio on both sides."""

import socket
import threading

import grpc
import httpx
import pytest
from greeter_service import NOT_SERVING, SERVING, Greeter
from http2_backend import HTTP2Backend
from shipped import signed

from gproxy.http.h2.frames import CANCEL
from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.testing.http2_wire import HTTP2Wire

SECRET = "a-secret-of-more-than-thirty-two-bytes"
INI = """
[server]
body_timeout = 1s
[gateway]
handlers = health
[log]
fields = default, grpc
[handler:health]
cache = 0s
[handler:jwt]
secret = a-secret-of-more-than-thirty-two-bytes
[handler:limit]
use = rate_limit
limit = 1/hour
[handler:deny]
use = handlers:deny
[handler:breaks]
use = handlers:breaks
[handler:slow]
use = handlers:slow
[route:greeter]
path = /greeter.Greeter
timeout = 2s
upstream = greeter
[route:talk]
path = /greeter.Greeter/Talk
timeout = 5s
stream = yes
upstream = greeter
[route:paused]
path = /paused
strip_prefix = yes
upstream = greeter
[route:guarded]
path = /guarded
handlers = jwt
upstream = greeter
[route:limited]
path = /limited
handlers = limit
respond = 200
[route:denied]
path = /denied
handlers = deny
upstream = greeter
[route:broken]
path = /broken
handlers = breaks
upstream = greeter
[route:down]
path = /down
upstream = down
[route:silent]
path = /silent
timeout = 300ms
upstream = greeter
rewrite = /silent/(.*) -> /greeter.Greeter/\\1
[route:small]
path = /small
max_body = 10
upstream = greeter
[route:get]
path = /get
methods = GET
upstream = greeter
[route:slow]
path = /slow
strip_prefix = yes
handlers = slow
upstream = greeter
[route:pair]
path = /pair
strip_prefix = yes
upstream = pair
[route:once]
path = /once
strip_prefix = yes
retry_on = connect
upstream = pair
[route:mute]
path = /mute
upstream = mute
[upstream:mute]
backends = {mute}
http2 = yes
max_fails = 0
[upstream:greeter]
backends = {first}
http2 = yes
max_fails = 0
read_timeout = 1s
[upstream:pair]
backends = {first}, {second}
http2 = yes
health = grpc
health_service = greeter.Greeter
health_interval = 200ms
health_timeout = 5s
rise = 1
fall = 1
retry_on = connect, stale, reset, grpc_unavailable
max_fails = 0
[upstream:down]
backends = http://127.0.0.1:1
http2 = yes
"""
TLS_INI = """
[log]
fields = default, grpc
[tls:own]
certificate = {certificate}
key = {key}
[route:all]
upstream = greeter
[upstream:greeter]
backends = {url}
http2 = auto
tls_ca = {authority}
"""
HANDLERS = """
import gevent

from gproxy import HTTPError


def deny(request, next):
    raise HTTPError(403, "not for you: 100 %")


def slow(request, next):
    gevent.sleep(1)
    return next(request)


def breaks(request, next):
    raise KeyError("a mistake")
"""


@pytest.fixture(scope="module")
def greeter():
    with Greeter() as running:
        yield running


@pytest.fixture(scope="module")
def second():
    with Greeter() as running:
        yield running


@pytest.fixture(scope="module")
def mute():
    """A backend that never answers; a Greeter counts the time of its calls itself."""
    with HTTP2Backend(lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(greeter, second, mute, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpc")
    (folder / "handlers.py").write_text(HANDLERS, "utf-8")
    with H2C(INI.format(first=greeter.url, second=second.url, mute=mute.url), folder) as running:
        yield running


class TLS(RunningGateway):
    """A gateway that offers HTTP/2 in the TLS handshake."""

    words = "tls"


class H2C(RunningGateway):
    """A gateway that takes HTTP/2 by prior knowledge."""

    words = "h2c"


@pytest.fixture(scope="module")
def channel(gateway):
    options = [("grpc.max_receive_message_length", 8 << 20), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}", options) as made:
        yield made


def unary(channel, method="Hello", service="greeter.Greeter"):
    return channel.unary_unary(f"/{service}/{method}")


def failed(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=options.pop("timeout", 10), **options)
    return caught.value


def line_of(gateway, path):
    """The last access line of this path."""
    eventually(lambda: [line for line in gateway.access() if line["path"] == path], "the access line")
    return [line for line in gateway.access() if line["path"] == path][-1]


# --- calls


def test_a_call_with_one_message_each_way(channel, gateway):
    assert unary(channel)(b"you", timeout=10) == b"hello you"
    line = line_of(gateway, "/greeter.Greeter/Hello")
    assert (line["protocol"], line["status"], line["grpc"], line["route"]) == ("HTTP/2.0", "200", "0", "greeter")


def test_a_call_with_many_answers(channel):
    answers = channel.unary_stream("/greeter.Greeter/Count")(b"200", timeout=10)
    assert [*answers] == [str(number).encode() for number in range(200)]


def test_a_call_with_many_questions(channel):
    joined = channel.stream_unary("/greeter.Greeter/Join")(iter([b"a", b"b", b"c"]), timeout=10)
    assert joined == b"a,b,c"


def test_a_conversation(channel):
    questions = []
    asked = threading.Semaphore(0)

    def ask():
        for number in range(5):
            asked.acquire()
            questions.append(number)
            yield f"question {number}".encode()

    answers = channel.stream_stream("/greeter.Greeter/Talk")(ask(), timeout=10)
    for number in range(5):
        asked.release()
        assert next(answers) == f"QUESTION {number}".encode()
        assert questions == [*range(number + 1)]  # each answer comes before the next question
    assert [*answers] == []


def conversation_with_a_pause(channel, prefix=""):
    """Ask twice, with a pause that is longer than `body_timeout` and `read_timeout`; return the answers."""
    answered = threading.Event()

    def ask():
        yield b"one"
        assert answered.wait(10)
        threading.Event().wait(1.6)
        yield b"two"

    answers = channel.stream_stream(f"/{prefix}greeter.Greeter/Talk")(ask(), timeout=20)
    first = next(answers)
    answered.set()
    return [first, *answers]


def test_a_conversation_may_pause_on_a_route_of_streams(channel):
    assert conversation_with_a_pause(channel) == [b"ONE", b"TWO"]


def test_a_conversation_that_pauses_ends_on_other_routes(channel, gateway):
    with pytest.raises(grpc.RpcError):
        conversation_with_a_pause(channel, "paused/")
    assert line_of(gateway, "/paused/greeter.Greeter/Talk")["reason"] == "read_timeout"


def test_metadata_goes_both_ways(channel, greeter):
    metadata = (("x-own", "value"), ("x-bytes-bin", b"\xff\0"))
    answer, call = unary(channel).with_call(b"you", timeout=10, metadata=metadata)
    assert answer == b"hello you"
    assert {"x-own": "value", "x-bytes-bin": b"\xff\0"}.items() <= greeter.metadata.items()
    assert {("x-first", "1"), ("x-data-bin", b"\0\1\xff")} <= {*call.initial_metadata()}
    assert ("x-last", "2") in [*call.trailing_metadata()]


def test_four_megabytes_each_way(channel):
    message = bytes(range(256)) * 16_384
    assert unary(channel)(message, timeout=30) == b"hello " + message


def test_many_calls_at_a_time(channel):
    futures = [unary(channel).future(str(number).encode(), timeout=20) for number in range(200)]
    assert [future.result() for future in futures] == [f"hello {number}".encode() for number in range(200)]


def test_the_status_of_a_backend_passes(channel, gateway):
    error = failed(unary(channel, "Fail"), b"way")
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no: ü way")
    assert line_of(gateway, "/greeter.Greeter/Fail")["grpc"] == "9"


def test_the_status_of_a_backend_in_trailers_passes(channel, gateway):
    answers = channel.unary_stream("/greeter.Greeter/FailLate")(b"first", timeout=10)
    assert next(answers) == b"first"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, "in the middle")
    assert line_of(gateway, "/greeter.Greeter/FailLate")["grpc"] == "14"


# --- time


def test_the_backend_gets_what_is_left_of_the_client_s_time(channel, greeter):
    unary(channel, "Hello", "slow/greeter.Greeter")(b"you", timeout=40)
    assert 30 < greeter.remaining < 39.2  # a second has passed in a handler
    unary(channel)(b"you")
    assert greeter.remaining is None or greeter.remaining > 1e6  # a call without a deadline stays one


def test_the_time_of_a_client_that_does_not_count_itself(gateway, greeter):
    """grpcio cancels a late call itself; this client leaves that to the gateway, or to the backend, which counts too."""
    greeter.cancelled.clear()
    headers = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "300m"}
    with httpx.Client(http1=False, http2=True) as client:
        answer = client.post(
            f"http://127.0.0.1:{gateway.port}/greeter.Greeter/Wait", headers=headers, content=b"\0\0\0\0\1x"
        )
    assert (answer.status_code, answer.headers["grpc-status"]) == (200, "4")
    assert greeter.cancelled.wait(10)
    line = line_of(gateway, "/greeter.Greeter/Wait")
    by_backend = answer.headers["grpc-message"] == "Deadline Exceeded"
    expected = ("200", "4", "-") if by_backend else ("504", "4", "grpc_timeout")
    assert (line["status"], line["grpc"], line["reason"]) == expected


def test_the_time_goes_on_while_the_client_sends_nothing(gateway, mute):
    """The deadlines of the gateway wait for a slow client; this one is the client's own."""
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as sock:
        wire = HTTP2Wire(sock)
        wire.send(
            "POST /mute HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\n"
            "grpc-timeout: 400m\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\0\0\0\0\1x\r\n"
        )
        answer = wire.read_response()
    assert (answer.status, answer["grpc-status"]) == (200, "4")
    line = line_of(gateway, "/mute")
    assert (line["reason"], float(line["duration"]) > 0.3) == ("grpc_timeout", True)
    eventually(lambda: mute.requests[0].reset_code == CANCEL, "the end at the backend")


def test_a_late_call(channel, greeter):
    greeter.cancelled.clear()
    error = failed(unary(channel, "Wait"), b"x", timeout=0.3)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert greeter.cancelled.wait(10)


def test_the_timeout_of_the_route(channel, gateway):
    error = failed(unary(channel, "Wait", "silent"), b"x")
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    line = line_of(gateway, "/silent/Wait")
    assert (line["status"], line["grpc"], line["reason"]) == ("504", "4", "backend_timeout")


def test_a_cancelled_call_ends_at_the_backend(channel, gateway, greeter):
    greeter.cancelled.clear()
    before = greeter.calls
    future = unary(channel, "Wait").future(b"x", timeout=20)
    eventually(lambda: greeter.calls > before, "the call at the backend")
    future.cancel()
    assert greeter.cancelled.wait(10)
    eventually(lambda: [one for one in gateway.access() if one["reason"] == "client_gone"], "the access line")


# --- errors of the gateway


@pytest.mark.parametrize(
    ("service", "code", "status", "details"),
    [
        ("guarded", grpc.StatusCode.UNAUTHENTICATED, "401", None),
        ("denied", grpc.StatusCode.PERMISSION_DENIED, "403", "not for you: 100 %"),
        ("unknown.Service", grpc.StatusCode.UNIMPLEMENTED, "404", None),
        ("get", grpc.StatusCode.UNIMPLEMENTED, "405", None),
        ("broken", grpc.StatusCode.INTERNAL, "500", "internal error while handling the request"),
        ("down", grpc.StatusCode.UNAVAILABLE, "502", "the backend refuses connections"),
        ("small", grpc.StatusCode.RESOURCE_EXHAUSTED, "413", "request body exceeds the limit of 10 bytes"),
    ],
)
def test_an_error_of_the_gateway(channel, gateway, service, code, status, details):
    error = failed(unary(channel, "Call", service), b"x" * 20)
    assert error.code() is code
    assert details is None or error.details() == details
    line = line_of(gateway, f"/{service}/Call")
    assert (line["status"], line["grpc"]) == (status, str(code.value[0]))


def test_a_limit(channel):
    failed(unary(channel, "Call", "limited"), b"x")  # the fixed response is no gRPC
    assert failed(unary(channel, "Call", "limited"), b"x").code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_token_in_the_metadata(channel):
    metadata = (("authorization", f"Bearer {signed(SECRET, 'HS256')}"),)
    error = failed(unary(channel, "Hello", "guarded"), b"x", metadata=metadata)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED  # of the backend: it has no such service


def test_a_backend_that_is_no_grpc_server(tmp_path):
    """A proxy behind the gateway answers in HTTP."""

    def script(peer, backend):
        while peer.read_request():
            peer.send("HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nbusy")

    ini = "[route:all]\nupstream = proxy\n[upstream:proxy]\nbackends = {url}\n"
    with Backend(script) as backend, H2C(ini.format(url=backend.url), tmp_path) as gateway:
        with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            error = failed(unary(channel), b"x")
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "Service Unavailable")


# --- backends


def test_an_unavailable_backend_is_followed_by_another_one(channel, gateway, greeter, second):
    second.is_available = False
    try:
        before = second.calls
        answers = [unary(channel, "Hello", "pair/greeter.Greeter")(b"you", timeout=10) for _ in range(6)]
        assert answers == [b"hello you"] * 6
        assert second.calls > before
        assert line_of(gateway, "/pair/greeter.Greeter/Hello")["grpc"] == "0"
        codes = {
            call.code()
            for call in (unary(channel, "Hello", "once/greeter.Greeter").future(b"x", timeout=10) for _ in range(6))
        }
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    finally:
        second.is_available = True


def test_the_health_service_decides(channel, gateway, second):
    def state():
        return [one["state"] for one in gateway.health()["upstreams"]["pair"]]

    eventually(lambda: state() == ["healthy", "healthy"], "two healthy backends")
    assert second.asked[-1] == b"\x0a\x0fgreeter.Greeter"
    second.health = NOT_SERVING
    try:
        eventually(lambda: state() == ["healthy", "unhealthy"], "an unhealthy backend")
        before = second.calls
        for _ in range(4):
            unary(channel, "Hello", "pair/greeter.Greeter")(b"you", timeout=10)
        assert second.calls == before
    finally:
        second.health = SERVING
    eventually(lambda: state() == ["healthy", "healthy"], "two healthy backends")


# --- processes


@pytest.mark.timeout(180)
def test_a_reload_under_load_loses_no_call(channel, gateway):
    """The client sees GOAWAY, and opens another connection to the next generation."""
    over = threading.Event()
    ends = []

    def load():
        while not over.is_set() or (len(ends) < 20_000 and ends[-1][0] is grpc.StatusCode.OK):
            futures = [unary(channel).future(b"x", timeout=20) for _ in range(16)]
            ends.extend((future.code(), future.details()) for future in futures)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            before = len(ends)
            gateway.reload()
            eventually(lambda before=before: len(ends) > before + 200, "calls after the reload")
    finally:
        over.set()
        thread.join()
    assert {end for end in ends if end[0] is not grpc.StatusCode.OK} == set()


def test_tls_on_both_sides(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
    with Greeter((key.read_bytes(), certificate.read_bytes())) as greeter:
        ini = TLS_INI.format(certificate=certificate, key=key, url=greeter.url, authority=authority.path)
        with TLS(ini, tmp_path) as gateway, grpc.secure_channel(f"localhost:{gateway.port}", credentials) as channel:
            assert unary(channel)(b"you", timeout=10) == b"hello you"
            line = line_of(gateway, "/greeter.Greeter/Hello")
    assert (line["protocol"], line["grpc"]) == ("HTTP/2.0", "0")
