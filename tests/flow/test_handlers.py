"""Users' handlers in a running gateway: what they may do, and what becomes of their mistakes."""

import gzip
import json
import signal
import threading
import time
from pathlib import Path

import jwt
import pytest

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually

BACKENDS = "one other helper"
SECRET = "0123456789abcdef0123456789abcdef"
NAMES = (
    "raises", "exits", "interrupts", "times_out", "returns_none", "returns_text", "twice", "drops", "drops_streaming",
    "upper", "replaces", "reads_response", "reads_body", "peeks", "buffers", "asks_helper", "sleeps", "stubborn",
    "stubborn_first", "swallows", "bad_header", "bad_generator", "first_piece", "denies", "closes", "bad_path",
    "lies_about_length", "replaces_request_body", "late_read", "bad_on_close", "no_body", "interim",
    "no_status", "odd_phrase", "bad_id", "relative", "assigns_status", "array", "arrays", "text_pieces", "retries_big",
    "echoes", "leaves_unread",
)  # fmt: skip
INI = (
    f"""
[server]
body_timeout = 2s
[gateway]
handlers = compress, health, rewriter, jwt
timeout = 1s
[handler:compress]
[handler:health]
cache = 0s
[handler:jwt]
algorithms = HS256
secret = {SECRET}
[handler:rewriter]
use = handlers:rewriter
[route:public]
path = /
skip = jwt
upstream = one
[route:private]
path = /private
upstream = other
"""
    + "".join(
        f"""
[handler:{name}]
use = handlers:{name}
[route:{name}]
path = /{name}
skip = jwt
handlers = {name}
upstream = one
"""
        for name in NAMES
    )
    + """
[upstream:one]
backends = {one}
max_fails = 0
[upstream:other]
backends = {other}
"""
)

HANDLERS = '''
import os, sys, time, urllib.request
import gevent
from gproxy import HTTPError, Response
from gproxy.http.body import Body

def rewriter(request, next):
    """Stands before jwt, on every route: takes what a header says for the new path."""
    path = request.headers.get("X-Go-To")
    if path:
        request.path = path
    host = request.headers.get("X-Go-Host")
    if host:
        request.host = host
    return next(request)

def raises(request, next):
    raise LookupError("the secret of the handler")

def exits(request, next):
    sys.exit("goodbye")

def interrupts(request, next):
    raise KeyboardInterrupt

def times_out(request, next):
    with gevent.Timeout(0.01):
        gevent.sleep(5)

def returns_none(request, next):
    next(request)

def returns_text(request, next):
    return Response(200, "text")

def twice(request, next):
    first = next(request)
    return next(request) if first.status >= 500 else first

def drops(request, next):
    next(request)
    return Response(200, b"mine")

drops_streaming = drops

def upper(request, next):
    response = next(request)
    response.body = map(bytes.upper, response.body)
    return response

def replaces(request, next):
    response = next(request)
    response.body = b"replaced"
    return response

def reads_response(request, next):
    response = next(request)
    response.headers["X-Length"] = str(len(response.read()))
    return response

def reads_body(request, next):
    request.body.read()
    return next(request)

def peeks(request, next):
    request.body.read(2)
    return next(request)

def buffers(request, next):
    request.headers["X-Seen"] = request.body.buffer(1_000_000).decode()[:100]
    return next(request)

def asks_helper(request, next):
    with urllib.request.urlopen(os.environ["HELPER"], timeout=5) as answer:
        request.headers["X-Helper"] = answer.read().decode()
    return next(request)

def leaves_unread(request, next):
    request.body.limit = 10
    with urllib.request.urlopen(os.environ["HELPER"], timeout=5) as answer:
        return Response(200, answer.read())

def sleeps(request, next):
    time.sleep(30)

def stubborn(request, next):
    """Swallows everything, and asks again."""
    while True:
        try:
            return next(request)
        except BaseException:
            pass

def stubborn_first(request, next):
    try:
        time.sleep(30)
    except BaseException:
        pass
    return next(request)

def swallows(request, next):
    try:
        return next(request)
    except BaseException as error:
        return Response(200, type(error).__name__.encode())

def bad_header(request, next):
    response = next(request)
    response.headers["X-Bad"] = "a\\r\\nX-Injected: b"
    return response

def bad_generator(request, next):
    def pieces():
        yield b"begun"
        raise LookupError("in the middle")
    return Response(200, pieces())

def first_piece(request, next):
    def pieces():
        raise SystemExit(3)
        yield b""
    return Response(200, pieces())

def denies(request, next):
    raise HTTPError(403, "not you", {"X-Why": "because"}, reason="not_you")

def closes(request, next):
    response = next(request)
    response.on_close(lambda: open(request.headers["X-Mark"], "a").write("outer\\n"))
    response.on_close(lambda: open(request.headers["X-Mark"], "a").write("inner\\n"))
    return response

def bad_on_close(request, next):
    response = next(request)
    response.on_close(lambda: 1 / 0)
    return response

def bad_path(request, next):
    request.path = "/x HTTP/1.1\\r\\nX-Injected: yes\\r\\nA: "
    return next(request)

def lies_about_length(request, next):
    return Response(200, iter([b"short"]), {"Content-Length": "100"})

def replaces_request_body(request, next):
    request.body = Body(request.body.read().upper())
    return next(request)

def late_read(request, next):
    response = next(request)
    request.body.read()
    return response

def no_body(request, next):
    return Response(200, None)

def interim(request, next):
    response = next(request)
    response.status = 100
    return response

def no_status(request, next):
    response = next(request)
    response.status = 1000
    return response

def odd_phrase(request, next):
    response = next(request)
    response.phrase = "a\\r\\nX-Injected: b"
    return response

def bad_id(request, next):
    request.id = "a\\r\\nX-Injected: b"
    return next(request)

def relative(request, next):
    request.path = "elsewhere"
    return next(request)

def assigns_status(request, next):
    response = next(request)
    response.status = 404
    return response

def array(request, next):
    return Response(200, bytearray(b"array"))

def arrays(request, next):
    return Response(200, iter([bytearray(b"ar"), memoryview(b"rays"), bytearray()]), [["X-Pair", "a list"]])

def text_pieces(request, next):
    return Response(200, iter(["text"]))

def retries_big(request, next):
    next(request)
    return next(request)

def echoes(request, next):
    return Response(200, iter(request.body))
'''


@pytest.fixture(scope="module", autouse=True)
def helper(tmp_path_factory):
    """A service that a handler asks, by the ordinary blocking means."""
    with Actor(reply(b"helped")) as actor:
        patch = pytest.MonkeyPatch()
        patch.setenv("HELPER", actor.url)
        yield actor
        patch.undo()


@pytest.fixture(scope="module")
def stage(helper, stage):
    return stage


def is_500(play, answer, path):
    """A problem+json that says nothing; the error log has the traceback under the request's id."""
    assert answer.status == 500
    facts = json.loads(answer.body)
    assert facts["request_id"] == answer["x-request-id"]
    assert "Traceback" not in repr(answer)
    assert "handlers" not in repr(answer)
    play.gateway.wait_for_line(f"{facts['request_id']} ")
    eventually(lambda: play.gateway.line(path)["id"] == facts["request_id"], "its access line")
    line = play.gateway.line(path)
    assert (line["status"], line["reason"]) == ("500", "handler_error")
    return True


def traceback_of(play, answer):
    """The error log from the request's id to the next line that is no part of the traceback."""
    lines = play.gateway.errors.splitlines()
    start = next(n for n, line in enumerate(lines) if answer["x-request-id"] in line and "ERROR" in line)
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith("  ")), len(lines))
    return "\n".join(lines[start:end])


def post(path, body=b"body", *headers):
    more = "".join(f"{header}\r\n" for header in headers)
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


# --- mistakes


@pytest.mark.parametrize(
    ("name", "trace"),
    [
        ("raises", "LookupError: the secret of the handler"),
        ("exits", "SystemExit: goodbye"),
        ("interrupts", "KeyboardInterrupt"),
        ("times_out", "Timeout"),
        ("returns_none", "handlers.py:30) returned None; expected a Response"),
        ("returns_text", "TypeError"),
        ("bad_header", "ValueError"),
        ("bad_path", "ValueError"),
        ("no_body", "TypeError"),
        ("interim", "ValueError"),
        ("no_status", "ValueError"),
        ("odd_phrase", "ValueError"),
        ("bad_id", "ValueError"),
        ("relative", "ValueError"),
    ],
)
def test_a_handlers_mistake_is_a_500_and_the_gateway_goes_on(play, name, trace):
    with play.gateway.connect() as wire:
        wire.send(f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = wire.read_response()
        assert is_500(play, answer, f"/{name}")
        play.gateway.wait_until_idle()
        assert trace in traceback_of(play, answer)
        wire.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"one"
    assert not any("x-injected" in dict(seen.fields) for seen in play.one.requests)


def test_the_traceback_shows_the_users_line(play):
    answer = play.gateway.get("/raises")
    assert is_500(play, answer, "/raises")
    play.gateway.wait_until_idle()
    trace = traceback_of(play, answer)
    assert 'handlers.py", line' in trace
    assert 'raise LookupError("the secret of the handler")' in trace


def test_an_error_is_compressed_by_the_handlers_around_it(play):
    """Errors are responses where they are raised, so the gateway's handlers see them."""
    assert play.gateway.get("/raises", "Accept-Encoding: gzip")["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize("name", ["bad_generator", "first_piece", "text_pieces", "lies_about_length"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_body_that_fails_is_broken_off(play, name, version):
    path = f"/{name}/{version}"
    answer = play.gateway.ask(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")
    assert not answer.complete
    line = play.gateway.line(path)
    assert line["reason"] == "handler_error"
    assert play.gateway.get("/fine").body == b"one"


def test_an_http_error_is_its_response(play):
    answer = play.gateway.get("/denies")
    assert (answer.status, answer["x-why"]) == (403, "because")
    assert json.loads(answer.body)["detail"] == "not you"
    assert play.gateway.line("/denies")["reason"] == "not_you"
    assert answer["x-request-id"] not in play.gateway.errors
    assert not play.one.requests


# --- what they do with responses


def test_next_may_be_called_twice(play):
    answers = iter([reply(b"bad", status="503 Busy"), reply(b"good")])
    play.one.act = lambda peer, request: next(answers)(peer, request)  # noqa: PLW0108 `next` for each call
    answer = play.gateway.ask(post("/twice"))
    assert (answer.status, answer.body) == (200, b"good")
    assert [seen.body for seen in play.one.requests] == [b"body", b"body"]
    assert play.gateway.line("/twice")["tries"] == "2"


def test_next_twice_forgets_why_it_failed_at_first(play):
    answers = iter([lambda peer, request: peer.reset(), reply(b"good")])
    play.one.act = lambda peer, request: next(answers)(peer, request)  # noqa: PLW0108 `next` for each call
    assert play.gateway.ask(post("/twice/reset")).status == 200
    line = play.gateway.line("/twice/reset")
    assert (line["status"], line["reason"], line["tries"]) == ("200", "-", "2")


def test_next_twice_with_a_body_that_is_gone_is_an_error_and_no_hang(play, stopwatch):
    """It is too large to be kept unasked; the backend must not wait for bytes that never come."""
    with stopwatch:
        answer = play.gateway.ask(post("/retries_big", bytes(500_000)))
    assert is_500(play, answer, "/retries_big")
    assert stopwatch.seconds < 0.9
    assert len(play.one.requests) == 1


def test_a_response_may_be_dropped(play):
    assert play.gateway.get("/drops").body == b"mine"
    play.gateway.wait_until_idle()


def test_a_streaming_response_may_be_dropped(play):
    left = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        peer.read_all()
        left.set()

    play.one.act = act
    assert play.gateway.get("/drops_streaming").body == b"mine"
    assert left.wait(5)


@pytest.mark.parametrize("size", [10, 500_000])
def test_a_body_is_wrapped_in_a_generator(play, size):
    play.one.act = reply(b"a" * size)
    answer = play.gateway.get("/upper")
    assert (answer.body, answer.complete) == (b"A" * size, True)
    assert answer["content-length"] is None


def test_a_wrapped_body_is_compressed_on_the_way(play):
    play.one.act = reply(b"a" * 500_000, "Content-Type: text/plain")
    answer = play.gateway.get("/upper", "Accept-Encoding: gzip")
    assert answer["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == b"A" * 500_000


def test_head_of_a_wrapped_body(play):
    play.one.act = lambda peer, request: peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    with play.gateway.connect() as wire:
        wire.send("HEAD /upper HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response(head_only=True).status == 200
        wire.send("GET /denies HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().status == 403


@pytest.mark.parametrize("size", [10, 500_000])
def test_a_body_is_replaced(play, size):
    play.one.act = reply(b"a" * size)
    answer = play.gateway.get("/replaces")
    assert (answer.body, answer["content-length"]) == (b"replaced", "8")


def test_another_status_comes_with_its_own_phrase(play):
    with play.gateway.connect() as wire:
        wire.send("GET /assigns_status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert wire.read_all().startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_body_may_be_an_array_of_bytes(play):
    answer = play.gateway.get("/array")
    assert (answer.body, answer["content-length"]) == (b"array", "5")
    answer = play.gateway.get("/arrays")
    assert (answer.body, answer["x-pair"]) == (b"arrays", "a list")


def test_a_body_is_read_whole(play):
    play.one.act = reply(b"a" * 500_000)
    answer = play.gateway.get("/reads_response")
    assert (len(answer.body), answer["x-length"]) == (500_000, "500000")


def test_a_backend_that_breaks_off_while_a_handler_reads_is_502(play):
    """The head is not out yet, so the client can be told; and it is the backend's fault, not the handler's."""

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        peer.close()

    play.one.act = act
    answer = play.gateway.get("/reads_response/broken")
    assert answer.status == 502
    assert answer["proxy-status"] == "gproxy; error=connection_terminated"
    assert json.loads(answer.body)["status"] == 502
    line = play.gateway.line("/reads_response/broken")
    assert (line["status"], line["reason"]) == ("502", "backend_reset")
    warning = play.gateway.wait_for_line("GET /reads_response/broken: ")
    assert "WARNING" in warning
    assert f"backend 127.0.0.1:{play.one.port} broke off" in warning


def test_a_backend_that_trickles_while_a_handler_reads_is_504(play, stopwatch):
    gone = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        peer.read_all()
        gone.set()

    play.one.act = act
    with stopwatch:
        assert play.gateway.get("/reads_response/slow").status == 504
    assert 1.0 <= stopwatch.seconds < 1.3
    assert gone.wait(5)
    assert play.gateway.line("/reads_response/slow")["reason"] == "backend_timeout"


def test_callbacks_run_after_the_last_byte_newest_first(play, tmp_path):
    mark = tmp_path / "mark"
    play.gateway.get("/closes", f"X-Mark: {mark}")
    play.gateway.line("/closes")
    assert mark.read_text() == "inner\nouter\n"


def test_callbacks_run_when_the_client_leaves(play, tmp_path):
    mark = tmp_path / "mark"

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        peer.read_all()

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(f"GET /closes/left HTTP/1.1\r\nHost: a\r\nX-Mark: {mark}\r\n\r\n")
        wire.read_until(b"begun")
    assert play.gateway.line("/closes/left")["reason"] == "client_gone"
    assert mark.read_text() == "inner\nouter\n"


def test_a_callback_that_raises_harms_nobody(play):
    play.one.act = reply(b"x" * 500_000)
    with play.gateway.connect() as wire:
        for _ in range(2):
            wire.send("GET /bad_on_close HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().complete
    play.gateway.wait_for_line("on_close callback failed")


# --- what they do with the request's body


@pytest.mark.parametrize("name", ["reads_body", "peeks"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_read_and_not_kept_is_an_error_and_no_hang(play, stopwatch, name, framing):
    """Sent on without its beginning it would be another body; the log says what to do instead."""
    path = f"/{name}/{framing}"
    raw = post(path)
    if framing == "chunked":
        raw = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n".encode()
    with stopwatch:
        answer = play.gateway.ask(raw)
    assert stopwatch.seconds < 0.9
    assert is_500(play, answer, path)
    assert "request.body.buffer(limit)" in traceback_of(play, answer)
    assert not play.one.requests


def test_reading_a_body_that_is_not_there_is_no_mistake(play):
    assert play.gateway.get("/reads_body").body == b"one"


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
def test_a_buffered_body_is_read_and_sent_on(play, framing):
    path = f"/buffers/{framing}"
    with play.gateway.connect() as wire:
        if framing == "chunked":
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        elif framing == "expect":
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            assert wire.read_response().status == 100
            wire.send("body")
        else:
            wire.send(post(path))
        assert wire.read_response().status == 200
    (seen,) = play.one.requests
    assert (seen.body, seen["x-seen"], seen["content-length"]) == (b"body", "body", "4")
    assert seen["expect"] is None


def test_no_100_follows_the_head_of_the_response(play, protocol):
    with play.gateway.connect() as wire:
        wire.send("POST /echoes HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        wire.send("body")
        assert wire.read_until(b"0\r\n\r\n") == b"4\r\nbody\r\n0\r\n\r\n"
        assert protocol == "http2" or wire.is_closed()


def test_a_body_beyond_the_buffers_limit_is_413(play):
    answer = play.gateway.ask(post("/buffers/large", bytes(1_000_001)))
    assert answer.status == 413
    assert not play.one.requests


def test_a_body_that_nobody_reads_may_be_longer_than_its_limit(play, helper):
    """What is left of it comes while the handler works, and fails no response."""
    go, asked = threading.Event(), threading.Event()

    def act(peer, request):
        asked.set()
        go.wait(10)
        reply(b"unread")(peer, request)

    helper.act = act
    with play.gateway.connect() as wire:
        wire.send("POST /leaves_unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert asked.wait(5)
        wire.send(f"1f4\r\n{'x' * 500}\r\n0\r\n\r\n")
        assert play.gateway.get("/fine").status == 200  # the gateway has received the rest before
        go.set()
        answer = wire.read_response()
        assert (answer.status, answer.body) == (200, b"unread")
    line = play.gateway.line("/leaves_unread")
    assert (line["status"], line["reason"]) == ("200", "-")


def test_a_requests_body_is_replaced(play):
    assert play.gateway.ask(post("/replaces_request_body")).status == 200
    (seen,) = play.one.requests
    assert (seen.body, seen["content-length"]) == (b"BODY", "4")


def test_a_body_read_after_next_is_empty(play):
    assert play.gateway.ask(post("/late_read")).body == b"one"


# --- time


def test_blocking_calls_hold_nobody_up(play, helper):
    """While a handler waits for urllib's answer, other requests are served."""
    go, asked = threading.Event(), threading.Event()

    def act(peer, request):
        asked.set()
        go.wait(10)
        reply(b"helped")(peer, request)

    helper.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /asks_helper HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(5)
        assert play.gateway.get("/fine").body == b"one"
        go.set()
        assert wire.read_response().status == 200
    assert play.one.requests[-1]["x-helper"] == "helped"


def test_a_handler_that_sleeps_meets_the_deadline(play, stopwatch):
    with stopwatch:
        answer = play.gateway.get("/sleeps")
    assert 1.0 <= stopwatch.seconds < 1.3
    assert answer.status == 504
    line = play.gateway.line("/sleeps")
    assert (line["status"], line["backend"]) == ("504", "-")
    assert "handlers.py:" in play.gateway.wait_for_line(f"{line['id']} GET /sleeps: a handler did not finish in time")


@pytest.mark.parametrize("name", ["stubborn", "stubborn_first"])
def test_a_handler_that_swallows_the_deadline_gains_no_time(play, stopwatch, name):
    """It asks the backend again, which hangs again: there is no time left for that."""
    play.one.act = lambda peer, request: (peer.read_all(), peer.close())
    with stopwatch:
        answer = play.gateway.get(f"/{name}")
    assert answer.status == 504
    assert 1.0 <= stopwatch.seconds < 1.5


def test_a_handler_that_swallows_everything_still_answers(play):
    play.one.act = lambda peer, request: (peer.read_all(), peer.close())
    with play.gateway.connect() as wire:
        wire.send("GET /swallows HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().status in (200, 504)
        play.one.act = reply(b"fine")
        wire.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"fine"


def test_a_client_that_leaves_a_handler_that_swallows_everything(play):
    asked, left = threading.Event(), threading.Event()
    play.one.act = lambda peer, request: (asked.set(), peer.read_all(), left.set())
    with play.gateway.connect() as wire:
        wire.send("GET /swallows/left HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(5)
    assert left.wait(5)
    assert play.gateway.get("/denies").status == 403


# --- rewriting


def token():
    return jwt.encode({"sub": "alice", "role": "admin", "exp": int(time.time()) + 60}, SECRET)


def test_a_rewritten_path_does_not_slip_past_a_handler(play):
    """The first match skips jwt, the rewritten one does not."""
    answer = play.gateway.get("/public", "X-Go-To: /private/data")
    assert answer.status == 401
    assert answer["www-authenticate"].startswith("Bearer")
    assert not play.other.requests
    assert not play.one.requests
    assert play.gateway.line("/public")["route"] == "private"


@pytest.mark.parametrize("path", ["/private/../private/x", "//private", "/%70rivate", "/x/../private"])
def test_no_spelling_slips_past_either(play, path):
    assert play.gateway.get("/public", f"X-Go-To: {path}").status in (400, 401)
    assert not play.other.requests


def test_a_rewritten_path_with_a_token_arrives(play):
    answer = play.gateway.get("/public/2", "X-Go-To: /private/data", f"Authorization: Bearer {token()}")
    assert answer.body == b"other"
    (seen,) = play.other.requests
    assert seen.line == "GET /private/data HTTP/1.1"
    assert seen["authorization"] is None


def test_a_path_rewritten_out_of_a_protected_route(play):
    """jwt has run already by then, or does not have to."""
    assert play.gateway.get("/private", "X-Go-To: /elsewhere").status in (200, 401)
    assert not play.other.requests


def test_a_rewrite_to_nowhere_in_particular_runs_that_routes_handlers(play):
    answer = play.gateway.get("/public/3", "X-Go-To: /denies")
    assert answer.status == 403
    assert play.gateway.line("/public/3")["route"] == "denies"


# --- the examples that we ship

EXAMPLES = """
[gateway]
handlers = maintenance, tenant
[handler:tenant]
use = handlers:tenant
[handler:maintenance]
use = handlers:Maintenance
flag = {tmp}/down
retry_after = 2m
[route:all]
upstream = one
[upstream:one]
backends = {one}
"""


def test_the_shipped_examples_from_the_settings_folder(tmp_path):
    """`use = handlers:name` finds handlers.py beside the settings, whatever the working directory is."""
    shipped = Path(__file__).parents[2] / "etc" / "handlers.py"
    (tmp_path / "handlers.py").write_text(shipped.read_text())
    with Actor(reply(b"ok")) as one, RunningGateway(EXAMPLES.replace("{one}", one.url), tmp_path) as gateway:
        get = "GET / HTTP/1.1\r\nHost: {}\r\nX-Tenant: forged\r\n\r\n"
        answer = gateway.ask(get.format("shop.example.com"))
        assert (answer.status, answer["x-served-by"]) == (200, f"127.0.0.1:{one.port}")
        assert one.requests[0]["x-tenant"] == "shop"
        nobody = gateway.ask(get.format("other.example.com"))
        assert (nobody.status, json.loads(nobody.body)["detail"]) == (404, "unknown host")
        (tmp_path / "down").touch()
        closed = gateway.ask(get.format("shop.example.com"))
        assert (closed.status, closed["retry-after"]) == (503, "120")
        (tmp_path / "down").unlink()
        assert gateway.ask(get.format("shop.example.com")).status == 200
        reasons = [line["reason"] for line in gateway.access(4)]
        assert reasons == ["-", "no_tenant", "maintenance", "-"]
        assert len(one.requests) == 2


def test_what_a_handler_keeps_in_a_context_variable_is_gone_with_the_connection(tmp_path, protocol):
    """Whatever greenlet serves the next client: it must not find what was known of this one. A stream is a client."""
    (tmp_path / "remembers.py").write_text(
        "from contextvars import ContextVar\nfrom gproxy import Response\nWHO = ContextVar('WHO', default='nobody')\n"
        "def who(request, next):\n    before = WHO.get()\n    WHO.set('somebody')\n    return Response(200, before.encode())\n"
    )
    ini = "[handler:who]\nuse = remembers:who\n[route:all]\nhandlers = who\nupstream = one\n[upstream:one]\nbackends = http://127.0.0.1:1\n"
    with RunningGateway(ini, tmp_path) as gateway:
        for _ in range(5):
            with gateway.connect() as wire:
                wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert wire.read_response().body == b"nobody"
                wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert wire.read_response().body == (b"somebody" if protocol == "http1" else b"nobody")
                assert not wire.read_more()


EVENTS = """
import gevent, logging
from gevent.event import Event
from gproxy import Response

log = logging.getLogger(__name__)

def pieces():
    yield b"data: 1\\n\\n"
    gevent.sleep(1)
    yield b"data: 2\\n\\n"
    Event().wait()

def events(request, next):
    response = Response(200, pieces(), {"Content-Type": "text/event-stream"})
    response.on_close(lambda: log.info("%s has ended", request.id))
    return next(request) if request.path == "/bounded" else response

def plain(request, next):
    return Response(200, pieces())

class Unready:
    def open(self, runtime):
        int("seven")
    def __call__(self, request, next):
        return next(request)
"""
EVENTS_INI = """
[gateway]
timeout = 300ms
handlers = events
[handler:events]
use = streams:events
[route:endless]
path = /endless
stream = yes
respond = 204
[route:events]
path = /events
tunnel_timeout = 400ms
respond = 204
[route:bounded]
path = /bounded
respond = 204
handlers = plain
[handler:plain]
use = streams:plain
"""


def test_a_handlers_own_stream_has_the_limits_of_a_backends(tmp_path):
    """And a client that leaves it is noticed, though nothing is sent that it could refuse."""
    (tmp_path / "streams.py").write_text(EVENTS)
    with RunningGateway(EVENTS_INI, tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send("GET /bounded HTTP/1.1\r\nHost: a\r\n\r\n")
            assert not wire.read_response().complete
        assert gateway.line("/bounded")["reason"] == "deadline_mid_body"
        gateway.wait_for_line("response broken off after 0.3 s without data (timeout of [gateway])")
        assert not gateway.get("/events").complete
        assert gateway.line("/events")["reason"] == "tunnel_idle"
        gateway.wait_for_line("response broken off after 0.4 s without data (tunnel_timeout of [route:events])")
        with gateway.connect() as wire:
            wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"data: 2" in wire.read_until(b"data: 2")
        line = gateway.line("/endless")
        assert (line["status"], line["reason"]) == ("499", "client_gone")
        assert " INFO streams[" in gateway.wait_for_line(f"] {line['id']} has ended")


def test_a_request_that_comes_during_a_handlers_own_stream_is_answered_after_it(tmp_path):
    (tmp_path / "streams.py").write_text(EVENTS.replace("    Event().wait()\n", ""))
    with RunningGateway(EVENTS_INI, tmp_path) as gateway, gateway.connect() as wire:
        wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read_until(b"data: 1")
        wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_until(b"\r\n0\r\n\r\n").endswith(b"data: 2\n\n\r\n0\r\n\r\n")
        answer = wire.read_response()
        assert (answer.body, answer.complete) == (b"data: 1\n\ndata: 2\n\n", True)


def test_a_handler_that_cannot_be_opened_is_told_with_its_line(tmp_path):
    (tmp_path / "streams.py").write_text(EVENTS)
    gateway = RunningGateway(EVENTS_INI.replace("streams:events", "streams:Unready"), tmp_path)
    with pytest.raises(AssertionError, match=r"\[handler:events\] invalid literal .*streams.py:\d+\)"), gateway:
        pass


JOBS = """
import gevent

class Jobs:
    def open(self, runtime):
        runtime.spawn(self.work)
    def work(self):
        raise LookupError("in the background")
    def __call__(self, request, next):
        return next(request)
"""


def test_a_job_that_fails_in_the_background_has_a_line_in_the_log(tmp_path):
    (tmp_path / "jobs.py").write_text(JOBS)
    ini = "[gateway]\nhandlers = jobs\n[handler:jobs]\nuse = jobs:Jobs\n[route:a]\nrespond = 204\n"
    with RunningGateway(ini, tmp_path) as gateway:
        line = gateway.wait_for_line("Jobs.work")
        assert " ERROR gproxy[" in line
        assert "] <Greenlet" in line
        gateway.wait_for_line("  LookupError: in the background")
        assert gateway.get("/").status == 204


CLOSING = """
from gproxy import Response

class Fails:
    def close(self):
        raise LookupError("at the end")
    def __call__(self, request, next):
        return Response(200, b"mine")

class Leaves(Fails):
    def close(self):
        raise SystemExit("leaving")

class Closes(Fails):
    def close(self):
        open("closed", "w").write("yes")
"""


def test_a_close_that_fails_keeps_nobody_from_closing(tmp_path):
    (tmp_path / "closing.py").write_text(CLOSING)
    sections = "".join(f"[handler:{name}]\nuse = closing:{name}\n" for name in ("Fails", "Leaves", "Closes"))
    ini = f"[gateway]\nhandlers = Fails, Leaves, Closes\n[route:a]\nrespond = 200\n{sections}"
    with RunningGateway(ini, tmp_path) as gateway:
        assert gateway.get("/").body == b"mine"
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        gateway.wait_for_line("[handler:Fails]: close failed")
        gateway.wait_for_line("LookupError: at the end")
        gateway.wait_for_line("[handler:Leaves]: close failed")
        gateway.wait_for_line("nothing was cut")
    assert (tmp_path / "closed").read_text() == "yes"


SHARING = """
from gevent.event import AsyncResult, Event
from gproxy import Response

under_way = {}

def shared(request, next):
    if request.path in under_way:
        return Response(200, under_way[request.path].get())
    mine = under_way[request.path] = AsyncResult()
    try:
        response = next(request)
        mine.set(response.read())
        return response
    except BaseException as error:
        mine.set_exception(error)
        raise
    finally:
        del under_way[request.path]
"""
SHARING_INI = """
[gateway]
handlers = health
[handler:shared]
use = sharing:shared
[route:shared]
handlers = shared
upstream = one
[upstream:one]
backends = {url}
"""


def test_a_client_that_leaves_takes_nobody_with_it_who_waits_for_the_same(tmp_path):
    """What its leaving has raised is passed on to another client's request, whose client is still there."""
    (tmp_path / "sharing.py").write_text(SHARING)
    with (
        Actor(lambda peer, request: peer.read_all()) as one,
        RunningGateway(SHARING_INI.format(url=one.url), tmp_path) as gateway,
    ):
        with gateway.connect() as second:
            with gateway.connect() as first:
                first.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                one.wait_for_requests(1)
                second.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                time.sleep(0.2)
            assert second.read_response().status == 500
            gateway.wait_for_line("ClientGone")
        assert sorted(line["status"] for line in gateway.access(2)) == ["499", "500"]
