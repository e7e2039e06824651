"""Backends that speak HTTP/2: shared connections, and what each event of a stream or a connection leads to."""

import re
import socket
import ssl
import threading
from contextlib import ExitStack

import pytest
from http2_backend import HTTP2Backend, hello
from scenes import Scene

from gproxy.http.websocket import accept_of
from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually

REFUSED_STREAM, CANCEL = 7, 8
INI = """
[gateway]
handlers = health
timeout = 3s
[handler:health]
cache = 0s
[route:plain]
path = /
upstream = plain
buffer_response = 0
[route:waits]
path = /limited
upstream = limited
timeout = 600ms
[route:short]
path = /tight/short
upstream = tight
timeout = 500ms
"""
#: For each upstream: its backends, `http2` and what else it has. All but plain have a route of their name.
UPSTREAMS = {
    "plain": ("{plain}", "yes", "buffer_request = 0"),
    "tls": ("{tls}", "yes"),
    "pair": ("{first}, {second}", "yes", "balance = first"),
    "limited": ("{limited}", "yes", "http2_connections = 2"),
    "auto": ("{tls}", "auto"),
    "old": ("{old}", "auto"),
    "only": ("{old}", "yes", "retries = 0"),
    "wrong": ("{wrong}", "yes", "retries = 0"),
    "tight": ("{tight}", "yes", "buffer_request = 0"),
    "socket": ("{socket}", "yes"),
    "both": ("{both}", "auto"),
    "strict": ("{strict}", "yes"),
}
#: What else a route has, and a path that is not its name.
ROUTES = {"limited": "path = /held", "socket": "path = /socket\nupgrades = websocket, tcp"}


def context(certificate, *protocols):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificate)
    made.set_alpn_protocols(protocols)
    return made


def websocket(sock):
    """A connection of HTTP/1.1 that becomes a WebSocket and sends back what comes."""
    wire = Wire(sock)
    head = wire.read_until(b"\r\n\r\n").decode()
    assert "\r\nUpgrade: websocket\r\n" in head
    accept = accept_of(re.search(r"(?i)\r\nsec-websocket-key: (.*?)\r\n", head)[1])
    wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    wire.send(f"Sec-WebSocket-Accept: {'' if '/unproved' in head else accept}\r\n\r\n")
    wire.send(wire.read_exactly(4))
    wire.read_all()


def settings():
    """The settings, in which {NAME} is the URL of a backend."""
    sections = [INI]
    for name, (backends, http2, *more) in UPSTREAMS.items():
        lines = [f"[upstream:{name}]", f"backends = {backends}", f"http2 = {http2}", "max_fails = 0", *more]
        if name != "plain":
            lines += [f"[route:{name}]", f"upstream = {name}", ROUTES.get(name, f"path = /{name}")]
        sections.append("\n".join(lines))
    return "\n".join(sections)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("http2")
    authority = Authority(folder)
    certificate = authority.issue("localhost")
    with ExitStack() as stack:
        backends = {
            "plain": stack.enter_context(HTTP2Backend()),
            "tls": stack.enter_context(HTTP2Backend(context=context(certificate, "h2", "http/1.1"))),
            "first": stack.enter_context(HTTP2Backend()),
            "second": stack.enter_context(HTTP2Backend()),
            "strict": stack.enter_context(HTTP2Backend(max_head=8192)),
            "limited": stack.enter_context(HTTP2Backend(streams=3)),
            "tight": stack.enter_context(HTTP2Backend(window=0)),
            "socket": stack.enter_context(HTTP2Backend(connect=True)),
            "both": stack.enter_context(HTTP2Backend(context=context(certificate, "h2", "http/1.1"), script=websocket)),
            "old": stack.enter_context(Actor(tls=context(certificate, "http/1.1"))),
            "wrong": stack.enter_context(Actor()),
        }
        ini = settings()
        for name, backend in backends.items():
            ini = ini.replace("{%s}" % name, backend.url.replace("https://127.0.0.1", "https://localhost"))
        gateway = stack.enter_context(RunningGateway(ini, folder, environ={"SSL_CERT_FILE": str(authority.path)}))
        yield Scene(gateway, backends)


@pytest.fixture
def play(stage):
    for backend in stage.backends.values():
        if isinstance(backend, HTTP2Backend):
            backend.requests.clear()
            backend.errors.clear()
            backend.act, backend.most_streams = hello, 0
        else:
            backend.act = reply(b"old")
            backend.requests.clear()
    yield stage
    stage.gateway.wait_until_idle()
    assert stage.gateway.process.poll() is None
    backends = [backend for backend in stage.backends.values() if isinstance(backend, HTTP2Backend)]
    assert [error for backend in backends for error in backend.errors] == []


def together(count, ask):
    """Ask from so many threads at the same time; return the answers."""
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(ask(n))) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("path", ["/", "/tls", "/auto"])
def test_one_connection_carries_all_requests(play, path):
    backend = play.plain if path == "/" else play.tls
    play.gateway.get(path)
    before = len(backend.links)
    held = threading.Barrier(10)

    def act(exchange):
        held.wait(5)
        exchange.answer(exchange.path.encode())

    backend.act = act
    answers = together(10, lambda n: play.gateway.get(f"{path}?{n}"))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 10
    assert len(backend.links) == before
    assert backend.most_streams == 10


def test_the_fields_of_a_request(play):
    play.gateway.get("/a?b=c", "Cookie: a=b", "X-Own: Value", "TE: trailers", "Connection: te, x-hop", "X-Hop: 1")
    fields = play.plain.requests[0].headers
    assert [fields[name] for name in (":method", ":scheme", ":authority", ":path")] == [
        "GET",
        "http",
        "gateway.test",
        "/a?b=c",
    ]
    assert (fields["cookie"], fields["x-own"], fields["te"]) == ("a=b", "Value", "trailers")
    assert not {"host", "connection", "x-hop", "transfer-encoding"} & set(fields)
    assert fields["via"].split()[1].startswith("gproxy-")


def test_the_scheme_and_the_host_over_tls(play):
    play.gateway.get("/tls")
    assert play.tls.requests[0].headers[":scheme"] == "https"


@pytest.mark.parametrize(("method", "status", "length"), [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, "5")])
def test_responses_without_a_body(play, method, status, length):
    def act(exchange):
        exchange.head(status, *([("content-length", length)] if length else []), end=True)

    play.plain.act = act
    with play.gateway.connect() as wire:
        for _ in range(2):
            wire.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response(head_only=True)
            assert (answer.status, answer["content-length"]) == (status, length)


def test_a_client_gets_an_empty_response_with_its_end(play):
    """It leaves once the response is complete by its length: it has not gone before its end."""
    go = threading.Event()

    def act(exchange):
        exchange.head(302, ("content-length", "0"), ("location", "/x"))
        go.wait(0.1)
        exchange.data(b"", end=True)

    play.plain.act = act
    assert play.gateway.get("/empty")["location"] == "/x"
    line = play.gateway.line("/empty")
    assert (line["status"], line["reason"]) == ("302", "-")


def test_a_body_without_length_and_trailers(play):
    def act(exchange):
        exchange.head(200)
        exchange.data(b"one")
        exchange.data(b"two")
        exchange.finish(("x-sum", "7"), ("content-length", "9"))

    play.plain.act = act
    with play.gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        assert wire.read_until(b"\r\n0\r\n").count(b"one") == 1
        assert wire.read_until(b"\r\n\r\n").lower() == b"x-sum: 7\r\n\r\n"


def test_interim_responses_go_on(play):
    def act(exchange):
        exchange.interim(103, ("link", "</a.css>"))
        exchange.answer(b"ok")

    play.plain.act = act
    with play.gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 103 ")
        assert wire.read_response().body == b"ok"


@pytest.mark.parametrize("path", ["/", "/tls"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_bodies_both_ways(play, path, framing):
    backend = play.plain if path == "/" else play.tls
    up = b"".join(b"%08d" % n for n in range(100_000))
    backend.act = lambda exchange: exchange.answer(exchange.whole()[::-1])
    with play.gateway.connect() as wire:
        if framing == "length":
            wire.send(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(up), up))
        else:
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            wire.send(b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(up), up))
        answer = wire.read_response()
    assert answer.body == up[::-1]
    assert backend.requests[0].headers.get("content-length") == (str(len(up)) if framing == "length" else None)


def test_trailers_of_a_request(play):
    play.gateway.ask(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"
    )
    exchange = play.plain.requests[0]
    assert (exchange.whole(), exchange.trailers) == (b"abc", [("x-sum", "6")])


def test_expect_continue(play):
    def act(exchange):
        exchange.interim(100)
        exchange.answer(exchange.whole())

    play.plain.act = act
    with play.gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        wire.send("abc")
        assert wire.read_response().body == b"abc"


def test_expect_continue_that_is_rejected(play):
    play.plain.act = lambda exchange: exchange.answer(b"no", 417)
    with play.gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert wire.read_response().status == 417
    eventually(lambda: play.plain.requests[0].reset_code == CANCEL, "reset")


def test_a_response_beside_the_upload(play):
    def act(exchange):
        exchange.head(200)
        while piece := exchange.piece():
            exchange.data(piece)
        exchange.data(b"", end=True)

    play.plain.act = act
    with play.gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b"200 OK" in wire.read_until(b"\r\n\r\n")
        for word in (b"ping", b"pong"):
            wire.send(b"4\r\n%b\r\n" % word)
            assert word in wire.read_until(word + b"\r\n")
        wire.send("0\r\n\r\n")
        assert wire.read_until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")


def test_an_early_error_ends_the_upload(play):
    play.plain.act = lambda exchange: exchange.answer(b"too large", 413)
    with play.gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert wire.read_response().status == 413
    eventually(lambda: play.plain.requests[0].reset_code == CANCEL, "reset")


def upload(wire, path, size=100_000):
    wire.send(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), size, b"x" * size))


def test_a_response_to_an_upload_for_which_the_backend_has_no_window(play):
    play.tight.act = lambda exchange: exchange.answer(b"too large", 413)
    with play.gateway.connect() as wire:
        upload(wire, "/tight")
        answer = wire.read_response()
        assert (answer.status, answer.body) == (413, b"too large")
    eventually(lambda: play.tight.requests[0].reset_code == CANCEL, "reset")


def test_the_rest_of_an_upload_goes_on_beside_the_response_once_there_is_a_window(play):
    def act(exchange):
        exchange.head(200)
        exchange.data(b"begun ")
        exchange.open(100_000)
        exchange.data(b"%d" % len(exchange.whole()), end=True)

    play.tight.act = act
    with play.gateway.connect() as wire:
        upload(wire, "/tight", 60_000)
        assert wire.read_response().body == b"begun 60000"


def test_an_upload_for_which_the_backend_gives_no_window_runs_into_the_deadline(play):
    play.tight.act = lambda _: None
    with play.gateway.connect() as wire:
        upload(wire, "/tight/short")
        assert wire.read_response().status == 504
    eventually(lambda: play.tight.requests[0].reset_code == CANCEL, "reset")


def test_each_piece_that_the_backend_takes_starts_the_deadline_anew(play, stopwatch):
    def act(exchange):
        for _ in range(8):
            exchange.has_ended.wait(0.2)
            exchange.open(5_000)
        exchange.answer(b"%d" % len(exchange.whole()))
        exchange.link.do(lambda connection: connection.increment_flow_control_window(40_000))

    play.tight.act = act
    play.tight.gives_window = False
    with play.gateway.connect() as wire, stopwatch:
        upload(wire, "/tight/short", 40_000)
        answer = wire.read_response()
        assert answer.body == b"40000"
    play.tight.gives_window = True
    assert stopwatch.seconds > 1.0  # twice the timeout


def test_a_client_that_leaves_while_its_upload_has_no_window(play, stopwatch):
    play.tight.act = lambda _: None
    with play.gateway.connect() as wire:
        upload(wire, "/tight")
        eventually(lambda: play.tight.requests, "the request")
        wire.reset()
    with stopwatch:
        eventually(lambda: play.tight.requests[0].reset_code == CANCEL, "reset")
    assert stopwatch.seconds < 2.0  # not by the timeout
    assert play.gateway.line("/tight")["reason"] == "client_gone"


# The table of events.


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/", "/tls", "/pair"])
def test_a_refused_stream_is_repeated_whatever_the_method(play, path, method):
    backends = {"/": [play.plain], "/tls": [play.tls], "/pair": [play.first, play.second]}[path]
    refused = []

    def act(exchange):
        if not refused:
            refused.append(exchange)
            exchange.reset(REFUSED_STREAM)
        else:
            exchange.answer(exchange.whole() or b"again")

    for backend in backends:
        backend.act = act
    with play.gateway.connect() as wire:
        body = "Content-Length: 4\r\n\r\nbody" if method == "POST" else "\r\n"
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{body}")
        answer = wire.read_response()
    assert (answer.status, answer.body) == (200, b"body" if method == "POST" else b"again")
    assert sum(len(backend.requests) for backend in backends) == 2


def test_a_backend_that_always_refuses_is_asked_a_few_times(play):
    play.plain.act = lambda exchange: exchange.reset(REFUSED_STREAM)
    answer = play.gateway.get("/always", method="POST")
    assert (answer.status, len(play.plain.requests)) == (502, 4)
    assert play.gateway.line("/always")["reason"] == "backend_reset"


@pytest.mark.parametrize("path", ["/", "/tls"])
def test_goaway_below_a_request_repeats_it_on_another_connection(play, path):
    backend = play.plain if path == "/" else play.tls
    play.gateway.get(path)
    before = len(backend.links)
    backend.requests.clear()

    def act(exchange):
        if len(backend.requests) == 1:
            exchange.go_away(exchange.id - 2)
        else:
            exchange.answer(b"again")

    backend.act = act
    assert play.gateway.get(path, "Content-Length: 0", method="POST").body == b"again"
    assert len(backend.links) == before + 1
    assert len(backend.requests) == 2


def test_goaway_lets_streams_finish_and_takes_no_new_ones(play):
    play.gateway.get("/")
    before, begun, go_on = len(play.plain.links), threading.Event(), threading.Event()

    def act(exchange):
        if exchange.path == "/first":
            exchange.head(200)
            exchange.data(b"begun ")
            exchange.go_away(exchange.id)
            begun.set()
            go_on.wait(5)
            exchange.link.h2.state_machine.state = type(exchange.link.h2.state_machine.state).SERVER_OPEN
            exchange.data(b"done", end=True)
        else:
            exchange.answer(b"second")

    play.plain.act = act
    answers = []
    thread = threading.Thread(target=lambda: answers.append(play.gateway.get("/first")))
    thread.start()
    assert begun.wait(5)
    assert play.gateway.get("/second").body == b"second"
    assert len(play.plain.links) == before + 1
    go_on.set()
    thread.join()
    assert b"begun" in answers[0].body and b"done" in answers[0].body


@pytest.mark.parametrize("end", ["reset", "cut"])
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
def test_a_reset_before_the_head_is_repeated_only_where_that_is_safe(play, end, method, status):
    play.first.act = lambda exchange: exchange.reset(2) if end == "reset" else exchange.cut()
    path = f"/pair/{method}/{end}"
    answer = play.gateway.get(path, "Content-Length: 0", method=method)
    assert answer.status == status
    assert (len(play.first.requests), len(play.second.requests)) == (1, 1 if status == 200 else 0)
    assert play.gateway.line(path)["reason"] == ("-" if status == 200 else "backend_reset")


@pytest.mark.parametrize("end", ["reset", "cut", "short"])
def test_a_reset_after_the_head_is_a_broken_body(play, end):
    def act(exchange):
        exchange.head(200, ("content-length", "100"))
        exchange.data(b"begun", end=end == "short")
        if end == "reset":
            exchange.reset(2)
        elif end == "cut":
            exchange.cut()

    play.plain.act = act
    answer = play.gateway.get("/broken")
    assert not answer.complete
    assert len(play.plain.requests) == 1
    assert play.gateway.line("/broken")["reason"] == "backend_reset"


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_client_that_leaves_cancels_the_stream_alone(play, when):
    play.gateway.get("/")
    play.plain.requests.clear()
    before, arrived = len(play.plain.links), threading.Event()

    def act(exchange):
        if exchange.path == "/left":
            if when == "within":
                exchange.head(200)
                exchange.data(b"begun")
            arrived.set()
        else:
            exchange.answer(b"other")

    play.plain.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
        assert arrived.wait(5)
        if when == "within":
            wire.read_until(b"begun")
        wire.reset()
    eventually(lambda: play.plain.requests[0].reset_code == CANCEL, "cancel")
    assert play.gateway.get("/other").body == b"other"
    assert len(play.plain.links) == before


def test_a_deadline_cancels_the_stream(play):
    play.limited.act = lambda _: None
    assert play.gateway.get("/limited").status == 504
    eventually(lambda: play.limited.requests[0].reset_code == CANCEL, "cancel")


def test_a_head_that_the_backend_does_not_take_fails_alone(play):
    """The package h2 ends the connection for it, as Netty does, and the other requests with it."""
    asked, go = threading.Event(), threading.Event()

    def act(exchange):
        asked.set()
        go.wait(PATIENCE)
        exchange.answer(b"held")

    play.strict.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /strict HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(PATIENCE)
        answer = play.gateway.get("/strict/long", f"X-Long: {'x' * 8000}")
        assert (answer.status, play.gateway.line("/strict/long")["reason"]) == (431, "header_too_large")
        go.set()
        assert wire.read_response().body == b"held"
    assert play.gateway.get("/strict", f"X-Long: {'x' * 7000}").status == 200
    assert len(play.strict.links) == 1


def test_the_limit_of_streams_is_never_exceeded(play):
    """Three streams on each of two connections: the others wait, in time or not."""
    held = threading.Event()

    def act(exchange):
        held.wait(0.1)
        exchange.answer(b"done")

    play.limited.act = act
    answers = together(18, lambda n: play.gateway.get(f"/held/{n}"))
    assert [answer.status for answer in answers] == [200] * 18
    assert play.limited.most_streams <= 3
    assert len({id(link) for link in play.limited.links}) <= 2


def test_a_request_that_waits_for_a_stream_in_vain_ends_with_its_deadline_or_its_client(play):
    go_on = threading.Event()

    def act(exchange):
        go_on.wait(5)
        exchange.answer(b"done")

    play.limited.act = act
    held = []
    threads = [threading.Thread(target=lambda: held.append(play.gateway.get("/held"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(play.limited.requests) == 6, "six requests")
    assert play.gateway.get("/limited/late").status == 504
    assert play.gateway.line("/limited/late")["reason"] == "backend_timeout"
    with play.gateway.connect() as wire:
        wire.send("GET /held/left HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: sum(play.gateway.active()) == 7, "seven requests under way")
        wire.reset()
    assert play.gateway.line("/held/left")["reason"] == "client_gone"
    go_on.set()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in held] == [200] * 6
    assert len(play.limited.requests) == 6


def test_a_slow_client_stalls_no_other_stream(play):
    big = b"x" * 3_000_000

    play.plain.act = lambda exchange: exchange.answer(big if exchange.path == "/big" else b"small")
    with play.gateway.connect() as wire:
        wire.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        for _ in range(5):
            assert play.gateway.get("/small").body == b"small"
        wire.reset()


def test_malformed_heads_fail_alone(play):
    def act(exchange):
        if exchange.path == "/bad":
            exchange.head(200, ("Upper", "case"), ("connection", "close"))
        else:
            exchange.answer(b"good")

    play.gateway.get("/")
    before = len(play.plain.links)
    play.plain.act = act
    assert play.gateway.get("/bad").status == 502
    assert play.gateway.line("/bad")["reason"] == "backend_protocol"
    assert play.gateway.get("/good").body == b"good"
    assert len(play.plain.links) == before


def test_auto_with_a_backend_that_chooses_http1(play):
    answers = together(5, lambda n: play.gateway.get(f"/old/{n}"))
    assert [answer.body for answer in answers] == [b"old"] * 5
    before = play.old.connections
    assert play.gateway.get("/old").body == b"old"
    assert play.old.connections == before


def test_yes_with_a_backend_that_does_not_choose_http2(play):
    assert play.gateway.get("/only").status == 502
    assert play.gateway.line("/only")["reason"] == "tls_protocol_error"
    assert play.old.requests == []


def test_a_plain_backend_that_does_not_speak_http2(play):
    assert play.gateway.get("/wrong").status == 502
    assert play.gateway.line("/wrong")["reason"] == "backend_protocol"


# WebSockets (RFC 8441), and other upgrades.

HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def echo(exchange):
    """Send back what comes."""
    exchange.head(200, ("sec-websocket-protocol", "chat"))
    while piece := exchange.piece():
        exchange.data(piece)
    exchange.data(b"", end=True)


def test_a_websocket_over_a_stream(play):
    play.socket.act = echo
    with play.gateway.connect() as wire:
        wire.send(HANDSHAKE.format("/socket/1"))
        head = wire.read_until(b"\r\n\r\n").lower()
        assert head.startswith(b"http/1.1 101 ")
        if type(wire) is Wire:  # the client speaks HTTP/1.1
            assert b"upgrade: websocket\r\n" in head
            assert b"connection: upgrade\r\n" in head
            assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head
        assert b"sec-websocket-protocol: chat\r\n" in head
        for word in (b"ping", b"pong"):
            wire.send(word)
            assert wire.read_exactly(4) == word
    exchange = play.socket.requests[0]
    pseudo = [exchange.headers[name] for name in (":method", ":protocol", ":path", ":scheme")]
    assert pseudo == ["CONNECT", "websocket", "/socket/1", "http"]
    assert "sec-websocket-key" not in exchange.headers
    assert exchange.headers["sec-websocket-version"] == "13"
    assert play.gateway.line("/socket/1")["status"] == "101"


def test_a_websocket_whose_backend_closes_first(play):
    def act(exchange):
        exchange.head(200)
        exchange.data(b"bye", end=True)

    play.socket.act = act
    with play.gateway.connect() as wire:
        wire.send(HANDSHAKE.format("/socket/2"))
        assert wire.read_until(b"bye").endswith(b"bye")
        wire.send(b"bye, too")
        eventually(lambda: play.socket.requests[0].body == b"bye, too", "the last words")


def test_a_client_that_leaves_a_websocket_resets_the_stream(play):
    play.socket.act = echo
    with play.gateway.connect() as wire:
        wire.send(HANDSHAKE.format("/socket/3"))
        wire.read_until(b"\r\n\r\n")
        wire.reset()
    eventually(
        lambda: play.socket.requests[0].reset_code == CANCEL or play.socket.requests[0].has_ended.is_set(), "end"
    )


def test_a_websocket_that_is_rejected(play):
    play.socket.act = lambda exchange: exchange.answer(b"not you", 403)
    with play.gateway.connect() as wire:
        wire.send(HANDSHAKE.format("/socket/4"))
        answer = wire.read_response()
        assert (answer.status, answer.body) == (403, b"not you")


@pytest.mark.parametrize("path", ["/plain", "/socket/tcp"])
def test_upgrades_that_the_backend_does_not_accept_over_http2(play, path):
    with Wire(socket.create_connection(("127.0.0.1", play.gateway.port), PATIENCE)) as wire:  # of HTTP/1.1
        handshake = HANDSHAKE.format(path)
        wire.send(handshake if path == "/plain" else handshake.replace("websocket", "tcp"))
        assert wire.read_response().status == 502
    assert play.gateway.line(path)["reason"] == "backend_protocol"


def test_auto_gives_a_websocket_a_connection_of_http1(play):
    """This backend offers both protocols, and no extended CONNECT."""
    play.gateway.get("/both")
    links = len(play.both.links)
    with play.gateway.connect() as wire:
        wire.send(HANDSHAKE.format("/both"))
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        wire.send(b"ping")
        assert wire.read_exactly(4) == b"ping"
    assert play.gateway.get("/both").body == b"hello"
    assert len(play.both.links) == links


def test_a_backend_of_http1_that_does_not_prove_a_websocket(play):
    """A client of HTTP/1.1 sees that itself; for one of HTTP/2, the gateway has made the key."""
    with play.gateway.connect() as wire:
        wire.send(HANDSHAKE.format("/both/unproved"))
        expected = b"HTTP/1.1 101 " if type(wire) is Wire else b"HTTP/1.1 502 "
        assert wire.read_until(b"\r\n\r\n").startswith(expected)
