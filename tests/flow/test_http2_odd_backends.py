"""Backends of HTTP/2 that do what few backends do, in frames that the tests make."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import jwt
import odd_frames
import pytest
from http2_raw_backend import OK, RawBackend, data, fine, literals
from scenes import Scene

from gproxy.http.h2.events import HeadReceived, InterimReceived, PingAcknowledged, StreamReset, TrailersReceived
from gproxy.http.h2.frames import (
    CANCEL,
    ENABLE_CONNECT_PROTOCOL,
    GOAWAY,
    INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    RST_STREAM,
    goaway,
    headers_frames,
    ping,
    rst_stream,
    settings,
    window_update,
)
from gproxy.http.h2.never_indexed import NeverIndexed
from gproxy.http.headers import Headers
from gproxy.testing.gateway import PATIENCE, RunningGateway, eventually

INI = """
[gateway]
handlers = health
timeout = 4s
[handler:health]
cache = 0s
[route:all]
path = /
upstream = all
buffer_response = 0
[route:who]
path = /who
handlers = jwt
keep = Authorization
upstream = all
[handler:jwt]
secret = a-secret-of-at-least-thirty-two-bytes
forward = sub: X-User-ID
[upstream:all]
backends = {backend}
http2 = yes
max_fails = 0
retries = 0
buffer_request = 0
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory, h2c):
    with ExitStack() as stack:
        backend = stack.enter_context(RawBackend())
        ini = INI.replace("{backend}", backend.url)
        yield Scene(stack.enter_context(RunningGateway(ini, tmp_path_factory.mktemp("odd"))), {"backend": backend})


@pytest.fixture
def play(stage):
    stage.backend.reset()
    yield stage
    stage.backend.act = fine
    stage.gateway.wait_until_idle()
    assert stage.gateway.process.poll() is None


# RFC 7541 section 7.1.3: what came as never indexed leaves so.


def marked(fields):
    """The names that came as never indexed."""
    return {name for name, value in (one for one in fields if not one.indexable)}


def test_a_request_keeps_what_its_client_has_never_indexed(play, connect):
    client = connect()
    headers = Headers([("x-key", "a"), ("x-other", "b")])
    for keys in ((), (), (), ("x-key", ":path"), ()):  # at the fourth time both would be indexes
        headers.never_index(keys)
        stream = client.session.request("POST", "http", "gateway.test", "/never", headers, end=False)
        client.session.send_trailers(stream, [(NeverIndexed("x-sum") if keys else "x-sum", "6"), ("x-plain", "7")])
        client.send()
        assert client.response(stream) == (200, b"fine")
    link, last, _ = play.backend.requests[-1]
    assert play.backend.requests[0][0] is link
    assert [marked(link.requests[stream]) for stream in (last - 4, last - 2, last)] == [
        set(),
        {"x-key", ":path"},
        set(),
    ]
    eventually(lambda: last in link.trailers, "trailers")
    assert [marked(link.trailers[stream]) for stream in (last - 4, last - 2, last)] == [set(), {"x-sum"}, set()]


def test_secrets_of_a_client_enter_no_table_that_other_clients_use(play, connect):
    client = connect()
    token = jwt.encode({"sub": "ann", "exp": 1 << 31}, "a-secret-of-at-least-thirty-two-bytes", "HS256")
    fields = [("authorization", f"Bearer {token}"), ("cookie", "a=b"), ("x-other", "c")]
    for _ in range(4):
        assert client.response(client.request("/who", *fields)) == (200, b"fine")
        link, last, _ = play.backend.requests[-1]
        assert ("x-user-id", "ann") in link.requests[last]
        assert marked(link.requests[last]) == {"authorization", "cookie", "x-user-id"}


def test_a_response_keeps_what_its_backend_has_never_indexed(play, connect):
    def act(link, stream_id):
        def block(plain, *fields, end=False):
            first = link.encoder.encode(plain)
            rest = literals(*fields, first=0x10) if is_marked else link.encoder.encode(fields)
            return headers_frames(stream_id, first + rest, end=end)

        link.send(block([(":status", "103")], ("link", "</a>")), block(OK, ("x-key", "a")))
        link.send(data(stream_id, b"body"), block([("x-plain", "7")], ("x-sum", "6"), end=True))

    play.backend.act = act
    client = connect()
    for is_marked in (False, False, False, True, False):
        stream = client.request("/never")
        assert client.response(stream) == (200, b"body")
        interim, head, end = (client.of(stream, one)[0] for one in (InterimReceived, HeadReceived, TrailersReceived))
        assert interim.head.headers.never_indexed == ["link"] * is_marked
        assert head.head.headers.never_indexed == ["x-key"] * is_marked
        assert [type(name) is NeverIndexed for name, _ in end.pairs] == [False, is_marked]


# Responses without a body, and the end of their streams.

BODILESS = [("HEAD", 200, "5"), ("HEAD", 200, None), ("HEAD", 200, "0"), ("GET", 204, None), ("GET", 304, "5")]


def bodiless_head(status, length):
    return [(":status", str(status)), *([("content-length", length)] if length else [])]


@pytest.mark.parametrize("end", ["with the head", "at once", "late", "never", "with content"])
def test_a_response_without_a_body_waits_for_no_end(play, connect, end):
    go = threading.Event()

    def act(link, stream_id):
        method = dict(link.requests[stream_id])[":method"]
        link.send(link.head(stream_id, bodiless_head(*wanted[method]), end=end == "with the head"))
        if end == "at once":
            link.send(data(stream_id, end=True))
        elif end == "with content":
            link.send(data(stream_id, b"content", end=True))
        elif end == "late":
            threading.Thread(target=lambda: go.wait(PATIENCE) and link.send(data(stream_id, end=True))).start()

    play.backend.act = act
    client = connect()
    for method, status, length in BODILESS:
        wanted = {method: (status, length)}
        with play.gateway.connect() as wire:
            wire.send(f"{method} /end/{end[0]} HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response(head_only=True)
        assert (answer.status, answer["content-length"]) == (status, length)
        assert client.response(client.request("/end", method=method)) == (status, b"")
    go.set()
    links = {id(link): link for link, _, _ in play.backend.requests}
    assert len(links) == 1
    link, last, _ = play.backend.requests[-1]
    resets = {"never": [CANCEL], "with content": [PROTOCOL_ERROR]}.get(end, [])
    if resets:
        eventually(lambda: link.resets(last), "a reset")
    streams = [stream_id for _, stream_id, _ in play.backend.requests]
    assert [link.resets(stream_id) for stream_id in streams] == [resets] * len(streams)
    assert {line["reason"] for line in play.gateway.access() if line["path"].startswith("/end")} == {"-"}


def test_the_place_of_a_stream_that_has_only_to_end_goes_to_another_request(play, stopwatch):
    def act(link, stream_id):
        if dict(link.requests[stream_id])[":method"] == "HEAD":
            link.send(link.head(stream_id))
        else:
            link.answer(stream_id)

    play.backend.retire()
    play.backend.act, play.backend.greeting = act, settings([(MAX_CONCURRENT_STREAMS, 1)])
    with stopwatch:
        for _ in range(5):
            assert play.gateway.get("/place", method="HEAD").status == 200
            assert play.gateway.get("/place").body == b"fine"
    assert stopwatch.seconds < 1.0
    assert len(play.backend.links) == 1
    link = play.backend.links[0]
    assert [frame[2] for frame in link.of(RST_STREAM)] == [1, 5, 9, 13, 17]
    play.backend.retire()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_empty_response_whose_end_never_comes_reaches_the_client(play, connect, method, stopwatch):
    play.backend.act = lambda link, stream_id: link.send(link.head(stream_id, [*OK, ("content-length", "0")]))
    with stopwatch, play.gateway.connect() as wire:
        wire.send(f"{method} /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        answer = wire.read_response()
        assert (answer.status, answer["content-length"]) == (200, "0")
    assert stopwatch.seconds < 2.0


def test_trailers_behind_a_content_length_reach_clients_of_http2_only(play, connect):
    def act(link, stream_id):
        link.send(link.head(stream_id, [*OK, ("content-length", "4")]), data(stream_id, b"body"))
        link.send(link.head(stream_id, [("x-sum", "6")], end=True))

    play.backend.act = act
    client = connect()
    stream = client.request("/trailers")
    assert client.response(stream) == (200, b"body")
    assert client.of(stream, TrailersReceived)[0].pairs == [("x-sum", "6")]
    with play.gateway.connect() as wire:
        for _ in range(2):
            wire.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
            answer = wire.read_response()
            assert (answer.body, answer["content-length"], answer["transfer-encoding"]) == (b"body", "4", None)
            assert wire.buffer == b""


# A backend that ends each connection after a few requests, as a session of Node.js does that is closed.


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_backend_that_ends_each_connection_after_a_few_requests(play, method, each):
    def act(link, stream_id):
        if stream_id < 2 * each:
            link.answer(stream_id)
            if stream_id == 2 * each - 1:
                link.send(goaway(stream_id, NO_ERROR))

    play.backend.retire()
    play.backend.act = act
    length = "Content-Length: 0" if method == "POST" else "X-None: 0"
    for count in (40, 40):
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda n: play.gateway.get(f"/short/{n}", length, method=method), range(count)))
        assert [answer.status for answer in answers] == [200] * count
    assert len(play.backend.requests) < 80 + 60  # the first burst is mostly in vain
    play.backend.retire()


# RFC 9113 section 8.1: a backend may end the upload with RST_STREAM(NO_ERROR) once its response is complete.


@pytest.mark.parametrize(("when", "status"), [("together", 200), ("together", 413), ("apart", 200), ("beside", 200)])
def test_a_complete_response_outlives_the_reset_of_its_upload(play, connect, when, status):
    def act(link, stream_id):
        link.send(window_update(0, 1 << 20), link.head(stream_id, [(":status", str(status))]))
        if when == "beside":
            link.read_until(lambda: len(link.uploaded(stream_id)) > 30_000 or link.resets(stream_id))
        link.send(data(stream_id, b"complete", end=True))
        if when == "apart":
            link.send(ping(b"to and f"))
            link.read_until(lambda: link.of(PING))
        link.send(rst_stream(stream_id, NO_ERROR))

    play.backend.act = act
    with play.gateway.connect() as wire:
        wire.send(f"POST /upload/{when} HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
        wire.send(bytes(100_000))
        answer = wire.read_response()
        assert (answer.status, answer.body) == (status, b"complete")
    client = connect()
    stream = client.request("/upload", ("content-length", "300000"), method="POST", end=False)
    client.upload(stream, bytes(50_000), end=False)
    assert client.response(stream) == (status, b"complete")
    assert len({id(link) for link, _, _ in play.backend.requests}) == 1


@pytest.mark.parametrize(
    ("fields", "code"), [([], NO_ERROR), ([("content-length", "5")], NO_ERROR), ([("content-length", "4")], CANCEL)]
)
def test_a_reset_without_a_complete_response_is_a_failure(play, fields, code):
    play.backend.act = lambda link, stream_id: link.send(
        link.head(stream_id, [*OK, *fields]), data(stream_id, b"part"), rst_stream(stream_id, code)
    )
    with play.gateway.connect() as wire:
        wire.send("POST /part HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
        wire.send(bytes(100_000))
        answer = wire.read_response()
        assert answer.status == 502 or not answer.complete


def test_a_client_that_leaves_is_noticed_behind_what_is_unread_of_its_upload(play, connect):
    play.backend.act = lambda link, stream_id: link.send(link.head(stream_id, [(":status", "400")]))
    client = connect()
    stream = client.request("/behind", ("content-length", "300000"), method="POST", end=False)
    assert client.head(stream).status == 400  # ends the upload, but its own content does not come
    client.upload(stream, bytes(1000), end=False)
    client.session.ping(b"has come")
    client.send()
    client.read_until(lambda: any(isinstance(one, PingAcknowledged) for one in client.events))
    client.reset(stream)
    assert play.gateway.line("/behind")["reason"] == "client_gone"


@pytest.mark.parametrize(
    "close", [rst_stream, lambda stream_id, _: data(stream_id, b"x", end=True)], ids=["reset", "short"]
)
def test_all_that_came_before_a_response_breaks_off_reaches_the_client(play, connect, close):
    """Though the end came in the same packet, and before the client took any of it."""
    content = bytes(range(250)) * 400

    def act(link, stream_id):
        pieces = [data(stream_id, content[at : at + 10_000]) for at in range(0, len(content), 10_000)]
        link.send(link.head(stream_id, [*OK, ("content-length", "100002")]), *pieces, close(stream_id, INTERNAL_ERROR))

    play.backend.act = act
    client = connect(window=10_000 + 65_535)
    stream = client.request("/broken")
    assert client.response(stream) == (200, content)
    assert client.reset_code(stream) == INTERNAL_ERROR
    answer = play.gateway.get("/broken")
    assert (answer.complete, answer.body == content) == (False, True)


def test_an_error_without_content_ends_the_upload_though_its_stream_never_ends(play, connect):
    head = [(":status", "413"), ("content-length", "0")]
    play.backend.act = lambda link, stream_id: link.send(link.head(stream_id, head))
    client = connect()
    stream = client.request("/never", ("content-length", "300000"), method="POST", end=False)
    assert client.response(stream) == (413, b"")
    link, stream_id, _ = play.backend.requests[-1]
    eventually(lambda: link.resets(stream_id) == [CANCEL], "the reset of the upload")
    assert play.gateway.line("/never")["reason"] == "-"


def test_a_length_in_the_success_of_a_websocket_means_nothing(play, stopwatch):
    """RFC 9110 section 9.3.6 wants it to be ignored."""

    def act(link, stream_id):
        link.send(link.head(stream_id, [*OK, ("content-length", "0")]))
        link.read_until(lambda: link.uploaded(stream_id) == b"ping")
        link.send(data(stream_id, b"pong", end=True))

    play.backend.retire()
    play.backend.act, play.backend.greeting = act, settings([(ENABLE_CONNECT_PROTOCOL, 1)])
    with play.gateway.connect() as wire:
        wire.send("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        wire.send("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        with stopwatch:
            head = wire.read_until(b"\r\n\r\n").lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"content-length" not in head
        wire.send(b"ping")
        assert wire.read_exactly(4) == b"pong"
    assert stopwatch.seconds < 0.4
    play.backend.retire()


# Each odd frame, and each broken one.


def sends(pieces):
    return lambda link, stream_id: link.send(
        *(one if isinstance(one, bytes) else one(link, stream_id) for one in pieces)
    )


def ask(play, connect, pieces):
    """The answers to a client of each version, and the links and streams of these requests."""
    play.backend.retire()  # after many resets of ours, a connection takes no further request
    play.backend.act = sends(pieces)
    client = connect(window=1 << 20)
    client.session._decoder._size_limit = 1 << 20  # it takes any head
    with play.gateway.connect() as wire:
        wire.send("GET /odd HTTP/1.1\r\nHost: a\r\n\r\n")
        while (first := wire.read_response()).status in range(100, 200):
            pass
    stream = client.request("/odd")
    second = client.response(stream)
    requests = [(link, stream_id) for link, stream_id, _ in play.backend.requests]
    play.backend.act = fine
    assert play.gateway.get("/after").body == b"fine"
    return first, second, client.of(stream, StreamReset), requests


@pytest.mark.parametrize("name", odd_frames.LEGAL)
def test_odd_frames(play, connect, name):
    first, second, resets, requests = ask(play, connect, odd_frames.LEGAL[name])
    assert (first.status, first.body, second, resets) == (200, b"fine", (200, b"fine"), [])
    assert {link for link, _ in requests} == {play.backend.requests[-1][0]}
    assert requests[0][0].of(RST_STREAM) == requests[0][0].of(GOAWAY) == []


@pytest.mark.parametrize("name", odd_frames.MALFORMED)
def test_malformed_responses_fail_alone(play, connect, name):
    code, pieces = odd_frames.MALFORMED[name]
    first, second, resets, requests = ask(play, connect, pieces)
    assert (first.status, second[0], resets) == (502, 502, [])
    eventually(lambda: all(link.resets(stream_id) == [code] for link, stream_id in requests), "resets")
    assert {link for link, _ in requests} == {play.backend.requests[-1][0]}
    assert play.gateway.line("/odd")["reason"] == "backend_protocol"


@pytest.mark.parametrize("name", odd_frames.BROKEN_OFF)
def test_responses_that_become_malformed_break_off(play, connect, name):
    code, pieces = odd_frames.BROKEN_OFF[name]
    first, second, resets, requests = ask(play, connect, pieces)
    assert (first.status, first.complete, second[0]) == (200, False, 200) or first.status == second[0] == 502
    assert [one.code for one in resets] == [INTERNAL_ERROR] * (second[0] == 200)
    eventually(lambda: all(link.resets(stream_id) == [code] for link, stream_id in requests), "resets")
    assert {link for link, _ in requests} == {play.backend.requests[-1][0]}


@pytest.mark.parametrize("name", odd_frames.FATAL)
def test_faults_end_a_connection(play, connect, name):
    code, pieces = odd_frames.FATAL[name]
    first, second, resets, requests = ask(play, connect, pieces)
    assert (first.status, second[0], resets) == (502, 502, [])
    assert len({*(link for link, _ in requests), play.backend.requests[-1][0]}) == 3
    for link, _ in requests:
        eventually(lambda link=link: link.is_closed, "the end of the connection")
        assert link.goaways() == [code]
    assert play.gateway.line("/odd")["reason"] == "backend_reset"
