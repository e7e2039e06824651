"""Backends that refuse, reset, lie, talk nonsense: what the client sees, what is tried again, who is left out."""

import json
import socket
import threading
from contextlib import ExitStack

import pytest

from gproxy.testing.backends import Backend, reply
from gproxy.testing.gateway import RunningGateway, eventually, free_port

BACKENDS = "one two left right trial backup_a backup_b probed last grpc"
DEAD = free_port()
INI = f"""
[gateway]
handlers = health
timeout = 5s
[handler:health]
cache = 0s
[route:one]
path = /
upstream = one
buffer_request = 0
[route:half]
path = /half
upstream = half
[route:dead]
path = /dead
upstream = dead
[route:down]
path = /down
upstream = down
[route:eject]
path = /eject
upstream = eject
[route:alone]
path = /alone
upstream = alone
[route:both]
path = /both
upstream = both
[route:probed]
path = /probed
upstream = probed
[route:grpc]
path = /grpc
upstream = grpc
[upstream:grpc]
backends = {{grpc}}
[upstream:one]
backends = {{one}}
max_fails = 0
[upstream:half]
backends = http://127.0.0.1:{DEAD}, {{two}}
max_fails = 0
[upstream:dead]
backends = http://127.0.0.1:{DEAD}, http://localhost:{DEAD}
max_fails = 0
[upstream:down]
backends = http://127.0.0.1:{DEAD}, {{two}} down
max_fails = 0
[upstream:eject]
backends = {{left}}, {{right}}
max_fails = 2
fail_window = 500ms
eject_time = 500ms
[upstream:alone]
backends = {{last}}
max_fails = 1
[upstream:both]
backends = {{backup_a}}, {{backup_b}}
max_fails = 1
[upstream:probed]
backends = {{probed}}, {{trial}}
health_path = /alive
health_interval = 100ms
health_timeout = 300ms
rise = 2
fall = 2
"""


def is_clean_problem(answer, status, error):
    """A problem+json with the right Proxy-Status, and nothing in it of addresses, code or version."""
    facts = json.loads(answer.body)
    assert (facts["status"], answer.status) == (status, status)
    assert facts["request_id"] == answer["x-request-id"]
    assert answer["proxy-status"] == f"gproxy; error={error}"
    assert answer["content-type"] == "application/problem+json"
    shown = repr(answer).lower()
    for secret in ("127.0.0.1", "localhost", "traceback", "urllib", ".py", "python", str(DEAD)):
        assert secret not in shown
    return True


def test_a_refused_connection_is_tried_on_the_other_backend(play):
    answers = [play.gateway.get(f"/half/{n}") for n in range(4)]
    assert [(a.status, a.body) for a in answers] == [(200, b"two")] * 4
    lines = [play.gateway.line(f"/half/{n}") for n in range(4)]
    assert sorted(line["tries"] for line in lines) == ["1", "1", "2", "2"]
    assert {line["backend"] for line in lines} == {f"127.0.0.1:{play.two.port}"}
    assert {line["reason"] for line in lines} == {"-"}


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_upload_is_tried_on_the_other_backend(play, size, chunked):
    """Nothing of the body was used up by a connection that never was, so POST is safe as well."""
    body = b"x" * size
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    raw = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body
    for turn in range(2):
        head = f"POST /half/{turn} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode()
        assert play.gateway.ask(head + raw).body == b"two"
    assert [seen.body for seen in play.two.requests] == [body, body]


def test_both_refuse(play):
    answer = play.gateway.get("/dead")
    assert is_clean_problem(answer, 502, "connection_refused")
    line = play.gateway.line("/dead")
    assert (line["status"], line["reason"], line["tries"]) == ("502", "connect_refused", "2")


def test_a_refusal_with_nobody_else_to_ask_keeps_its_name(play):
    """The other backend is marked down: that is no reason to say 503."""
    answer = play.gateway.get("/down")
    assert is_clean_problem(answer, 502, "connection_refused")
    assert play.gateway.line("/down")["reason"] == "connect_refused"
    assert not play.two.requests


def test_an_error_is_plain_text_for_who_takes_no_json(play):
    answer = play.gateway.get("/dead", "Accept: text/plain")
    assert answer["content-type"].startswith("text/plain")
    assert answer["x-request-id"] in answer.body.decode()


RESETS = {
    "before-the-head": b"",
    "in-the-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "in-the-status-line": b"HTT",
}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("when", RESETS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_breaks_off_before_the_head_is_whole(play, how, when, method):
    def act(peer, request):
        if RESETS[when]:
            peer.send(RESETS[when])
        getattr(peer, how)()

    play.one.act = act
    path = f"/{method}/{when}/{how}"
    answer = play.gateway.get(path, method=method)
    assert is_clean_problem(answer, 502, "connection_terminated")
    line = play.gateway.line(path)
    assert (line["status"], line["reason"], line["tries"]) == ("502", "backend_reset", "1")
    assert len(play.one.requests) == 1


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Length: 100\r\n\r\nsome",
        b"Content-Length: 100\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\nsome",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("client", ["1.1", "1.0", "1.0 keep-alive"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_that_breaks_off_never_looks_complete(play, how, raw, client, method):
    """Also for an HTTP/1.0 client that reads until the end of the connection, and in answer to half an upload."""
    heard = threading.Event()

    def act(peer, request):
        head, end, body = raw.partition(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\n" + head + end)
        heard.wait(5)
        peer.send(body)
        getattr(peer, how)()

    play.one.act = act
    version, _, keep = client.partition(" ")
    more = f"Connection: {keep}\r\n" if keep else ""
    upload = "Content-Length: 10\r\n\r\nhalf" if method == "POST" else "\r\n"
    with play.gateway.connect() as wire:
        wire.send(f"{method} /broken/body HTTP/{version}\r\nHost: a\r\n{more}{upload}")
        head = wire.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        heard.set()
        rest = wire.read_all()
    if b"chunked" in head:
        assert b"0\r\n\r\n" not in rest
    elif b"content-length: 100" in head.lower():
        assert len(rest) < 100
    else:
        assert wire.was_reset
    play.gateway.wait_until_idle()
    line = play.gateway.line("/broken/body")
    assert line["reason"] == "backend_reset"


def test_bodies_that_break_off_do_not_flood_the_error_log(tmp_path):
    def short(peer, _):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
        peer.close()

    with (
        Backend(short) as backend,
        RunningGateway(f"[route:r]\nupstream = u\n[upstream:u]\nbackends = {backend.url}\n", tmp_path) as gateway,
    ):
        for _ in range(30):
            assert not gateway.get("/").complete
        name = f"backend 127.0.0.1:{backend.port}: response broken off: "
        assert gateway.errors.count(name) == 1
        assert gateway.wait_for_line(" GET /: ").endswith(
            f" GET /: {name}closed before the end of the body; missing bytes: 5\n"
        )
        assert gateway.wait_for_line(" more within ").endswith(f" {name}backend_reset: 29 more within 10 s\n")


def test_the_reset_reaches_http10_clients_as_such(play):
    """Bytes of a body without a length, then the backend breaks its chunks off: no clean end for the client."""
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
        go.wait(5)
        peer.close()

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /http10 HTTP/1.0\r\n\r\n")
        assert wire.read_until(b"some").endswith(b"\r\n\r\nsome")
        go.set()
        assert wire.read_all() == b""
        assert wire.was_reset


GARBAGE = {
    "no-http": b"220 smtp.example.com ESMTP\r\n\r\n",
    "binary": bytes(range(256)),
    "http09": b"<html>hello</html>\r\n\r\n",
    "http2": b"HTTP/2 200\r\n\r\n",
    "no-status": b"HTTP/1.1 OK\r\n\r\n",
    "long-status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-lf-within": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
    "bare-cr": b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "no-colon": b"HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n",
    "blank-before-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "signed-length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
    "list-length": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nab",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad-chunk-at-once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "switching-unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "interim-garbage": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 OK\r\n\r\n",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_an_answer_that_is_no_http(play, what):
    left = threading.Event()

    def act(peer, request):
        peer.send(GARBAGE[what])
        peer.read_all()
        left.set()

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(f"GET /{what} HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = wire.read_response()
        if answer.status == 103:
            answer = wire.read_response()
        assert is_clean_problem(answer, 502, "http_protocol_error")
        assert left.wait(5)
        play.one.act = reply(b"fine")
        wire.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"fine"
    line = play.gateway.line(f"/{what}")
    assert (line["status"], line["reason"], line["tries"]) == ("502", "backend_protocol", "1")


def test_a_grpc_server_is_named_in_the_log_and_a_grpc_client_gets_an_answer(play):
    play.grpc.act = lambda peer, request: peer.send(b"\0\0\x12\4\0\0\0\0\0" + bytes(18))
    with play.gateway.connect() as wire:
        wire.send("POST /grpc HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert is_clean_problem(wire.read_response(), 502, "http_protocol_error")
    eventually(lambda: "an HTTP/2 frame: http2 = yes speaks HTTP/2 to backends" in play.gateway.errors, "the warning")
    with play.gateway.connect() as wire:
        wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = wire.read_response()
    assert (answer.status, "HTTP/2, and so gRPC, needs TLS" in json.loads(answer.body)["detail"]) == (505, True)


def test_a_head_of_ten_megabytes(play):
    left = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\n")
        try:
            for n in range(10_000):
                peer.send(f"X-{n}: {'a' * 1000}\r\n")
            peer.send("Content-Length: 0\r\n\r\n")
        except OSError:
            pass
        left.set()

    play.one.act = act
    answer = play.gateway.get("/huge-head")
    assert is_clean_problem(answer, 502, "http_protocol_error")
    assert left.wait(5)
    assert play.gateway.line("/huge-head")["reason"] == "backend_protocol"


def test_bytes_after_a_response_are_never_the_next_ones_answer(play):
    """Response splitting at the backend: the connection is not used again."""
    play.one.act = lambda peer, request: peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    )
    before = play.one.connections
    with play.gateway.connect() as wire:
        for _ in range(3):
            wire.send("GET /split HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().body == b"ok"
    assert play.one.connections - before >= 2


# --- pooled connections


def test_a_pooled_connection_that_was_closed_meanwhile_is_not_used(play):
    with play.gateway.connect() as wire:
        for method in ("GET", "POST", "PUT"):
            closed = threading.Event()

            def act(peer, request, closed=closed):
                reply(b"x")(peer, request)
                peer.close()
                closed.set()

            play.one.act = act
            wire.send(f"{method} /pooled HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert wire.read_response().status == 200
            assert closed.wait(5)
    assert len(play.one.requests) == 3


def closing_on_second(closes):
    """Answers a connection's first request and closes it on receipt of the second; other connections just answer."""
    first = []

    def act(peer, request):
        peer.read_body(request)
        if not first:
            first.append(peer)
        elif peer is first[0] and peer not in closes:
            closes.append(peer)
            peer.close()
            return
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    return act


@pytest.mark.parametrize(("method", "status", "tries"), [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)])
def test_a_pooled_connection_that_closes_on_receipt(play, method, status, tries):
    """Idempotent requests are sent again over another connection, others must not be."""
    play.two.act = reply(b"x", "Connection: close")
    play.gateway.get("/half/flush")
    play.gateway.get("/half/flush")
    closes = []
    play.one.act = reply(b"x", "Connection: close")
    play.gateway.get("/flush")
    eventually(lambda: play.one.open == 0, "no pooled connection")
    play.one.requests.clear()
    play.one.act = closing_on_second(closes)
    with play.gateway.connect() as wire:
        body = "" if method == "GET" else "Content-Length: 4\r\n"
        for n in range(2):
            wire.send(f"{method} /stale/{method}/{n} HTTP/1.1\r\nHost: a\r\n{body}\r\n" + ("body" if body else ""))
            answer = wire.read_response()
            if n == 0:
                assert answer.status == 200
    assert answer.status == status
    if status == 502:
        assert is_clean_problem(answer, 502, "connection_terminated")
    assert len(closes) == 1
    line = play.gateway.line(f"/stale/{method}/1")
    assert (line["status"], line["tries"]) == (str(status), str(tries))
    assert line["reason"] == ("-" if status == 200 else "backend_reset")
    assert len(play.one.requests) == 1 + tries
    if method == "PUT":
        assert [seen.body for seen in play.one.requests] == [b"body"] * 3


def test_a_pooled_connection_that_closes_behind_an_interim_response(play):
    """That is no stale one: the backend had the request, and has begun to answer."""

    def act(peer, request):
        if "/begun" in request.line:
            peer.send("HTTP/1.1 103 Early Hints\r\n\r\n")
            peer.close()
        else:
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    play.one.act = act
    assert play.gateway.get("/first").status == 200
    with play.gateway.connect() as wire:
        wire.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [wire.read_response().status for _ in range(2)] == [103, 502]
    line = play.gateway.line("/begun")
    assert (line["status"], line["tries"], line["reason"]) == ("502", "1", "backend_reset")
    assert len(play.one.requests) == 2


# --- passive and active health


def state(play, upstream):
    return [backend["state"] for backend in play.gateway.health()["upstreams"][upstream]]


def reset(peer, request):
    peer.reset()


def test_a_failing_backend_is_left_out_and_comes_back(play):
    play.left.act = reset
    assert [play.gateway.get("/eject").body for _ in range(4)] == [b"right"] * 4  # what it resets is tried elsewhere
    assert play.gateway.get("/eject", "Content-Length: 0", method="POST").status == 200
    assert state(play, "eject") == ["unhealthy", "healthy"]
    facts = play.gateway.health()
    assert facts["status"] == "up"
    (out, _) = facts["upstreams"]["eject"]
    assert out["why"] == "backend_reset"
    assert 0 < out["next_try_in"] <= 1.1
    play.gateway.wait_for_line(f"upstream eject: backend 127.0.0.1:{play.left.port} ejected for")
    play.left.requests.clear()
    assert {play.gateway.get("/eject").body for _ in range(6)} == {b"right"}
    assert not play.left.requests
    play.left.act = reply(b"left")
    eventually(lambda: play.gateway.get("/eject").body == b"left", "the backend's return")
    assert state(play, "eject") == ["healthy", "healthy"]
    assert sorted(play.gateway.get("/eject").body for _ in range(4)) == [b"left", b"left", b"right", b"right"]


def test_on_trial_one_failure_is_enough(play):
    play.right.act = reset
    for _ in range(4):
        assert play.gateway.get("/eject").body == b"left"
    assert state(play, "eject") == ["healthy", "unhealthy"]
    before = len(play.right.requests)
    eventually(lambda: play.gateway.get("/eject").body == b"left" and len(play.right.requests) > before, "the trial")
    assert state(play, "eject") == ["healthy", "unhealthy"]
    play.right.act = reply(b"right")
    eventually(lambda: play.gateway.get("/eject").body == b"right", "the backend's return")


def test_the_only_backend_is_never_left_out(play):
    play.last.act = reset
    assert [play.gateway.get("/alone").status for _ in range(5)] == [502] * 5
    assert len(play.last.requests) == 5
    play.last.act = reply(b"back")
    assert play.gateway.get("/alone").body == b"back"


def test_the_last_healthy_backend_is_never_left_out(play):
    play.backup_a.act = play.backup_b.act = reset
    assert [play.gateway.get("/both").status for _ in range(6)] == [502] * 6
    backends = play.gateway.health()["upstreams"]["both"]
    assert [backend["state"] for backend in backends] == ["unhealthy"] * 2  # and said so
    assert sorted("next_try_in" in backend for backend in backends) == [False, True]


def test_a_client_that_leaves_is_no_failure_of_the_backend(play):
    asked = threading.Event()
    left = threading.Event()

    def act(peer, request):
        asked.set()
        peer.read_all()
        left.set()

    play.last.act = act
    before = play.gateway.health()["upstreams"]["alone"][0]["failures"]
    with play.gateway.connect() as wire:
        wire.send("GET /alone HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(5)
    assert left.wait(5)
    assert play.gateway.health()["upstreams"]["alone"][0]["failures"] == before


def test_probes_take_a_backend_out_and_bring_it_back(play):
    sick = threading.Event()

    def act(peer, request):
        alive = "/alive" in request.line
        reply(b"probed", status="503 Sick" if alive and sick.is_set() else "200 OK")(peer, request)

    play.probed.act = act
    eventually(lambda: state(play, "probed") == ["healthy", "healthy"], "both up")
    sick.set()
    eventually(lambda: state(play, "probed") == ["unhealthy", "healthy"], "one down")
    assert play.gateway.health()["upstreams"]["probed"][0]["why"] == "status 503"
    assert {play.gateway.get("/probed").body for _ in range(4)} == {b"trial"}
    play.gateway.wait_for_line("fails its health checks: status 503")
    sick.clear()
    eventually(lambda: state(play, "probed") == ["healthy", "healthy"], "both up again")
    assert {play.gateway.get("/probed").body for _ in range(4)} == {b"trial", b"probed"}
    play.gateway.wait_for_line("passes its health checks again")
    probe = next(seen for seen in play.probed.requests if "/alive" in seen.line)
    assert probe["host"] == f"127.0.0.1:{play.probed.port}"


def test_a_backend_that_does_not_listen_fails_its_probes(play):
    """Down while its port is closed, up once somebody listens there again."""
    act = play.probed.act

    def silent(peer, request):
        peer.close()

    play.probed.act = silent
    eventually(lambda: state(play, "probed")[0] == "unhealthy", "down")
    play.probed.act = act
    eventually(lambda: state(play, "probed")[0] == "healthy", "up")


def test_a_backend_that_hangs_fails_its_probes(play):
    act = play.probed.act
    play.probed.act = lambda peer, request: (peer.read_all(), peer.close())
    eventually(lambda: state(play, "probed")[0] == "unhealthy", "down")
    assert play.gateway.health()["upstreams"]["probed"][0]["why"] == "timeout"
    play.probed.act = act
    eventually(lambda: state(play, "probed")[0] == "healthy", "up")


def test_a_backend_that_restarts_is_found_again(tmp_path):
    """Real restarts: its port is closed for a while, then another process listens there."""
    from gproxy.testing.backends import answering
    from gproxy.testing.gateway import RunningGateway

    first = Backend(answering(body=b"first"))
    ini = f"[route:r]\nupstream = u\n[upstream:u]\nbackends = {first.url}\n"
    with RunningGateway(ini, tmp_path) as gateway:
        with first:
            assert gateway.get("/").body == b"first"
        eventually(lambda: first.open == 0, "closed")
        assert gateway.get("/").status == 502
        with socket.create_server(("127.0.0.1", first.port)) as listener:
            asked = []

            def serve():
                sock, _ = listener.accept()
                with sock:
                    asked.append(sock.recv(65536))
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")

            thread = threading.Thread(target=serve)
            thread.start()
            assert gateway.get("/").body == b"second"
            thread.join()


def test_an_upload_that_waits_for_100_is_tried_on_the_other_backend(play):
    """The client is told to go on by whoever takes its body."""
    for turn in range(2):
        with play.gateway.connect() as wire:
            head = f"PUT /half/expect/{turn} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            play.two.act = lambda peer, request: (
                peer.send("HTTP/1.1 100 Continue\r\n\r\n"),
                reply(b"ok")(peer, request),
            )
            wire.send(head)
            assert wire.read_response().status == 100
            wire.send("body")
            assert wire.read_response().body == b"ok"
    assert [(seen.body, seen["expect"]) for seen in play.two.requests] == [(b"body", "100-continue")] * 2


def mixed(peer, request):
    """A backend that does each of the things above to somebody."""
    what = request.line.split("/")[2].split(" ")[0]
    if what == "reset":
        peer.reset()
    elif what == "half":
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        peer.close()
    elif what == "garbage":
        peer.send("garbage\r\n\r\n")
        peer.close()
    elif what == "hang":
        peer.read_all()
        peer.close()
    else:
        reply(what.encode() * 1000)(peer, request)


def test_in_a_crowd_everybody_gets_what_is_theirs_and_every_lease_comes_back(play):
    play.one.act = mixed
    expected = {"fine": 200, "well": 200, "reset": 502, "half": 200, "garbage": 502}
    wrong = []

    def visitor(start):
        try:
            with ExitStack() as stack:
                wire = stack.enter_context(play.gateway.connect())
                for n in range(20):
                    what = [*expected][(start + n) % len(expected)]
                    wire.send(f"GET /crowd/{what} HTTP/1.1\r\nHost: a\r\n\r\n")
                    answer = wire.read_response()
                    good = what.encode() * 1000
                    if answer.status != expected[what] or (what in ("fine", "well") and answer.body != good):
                        wrong.append((what, answer))
                    if what == "half":
                        assert not answer.complete
                        wire = stack.enter_context(play.gateway.connect())
                wire.send("GET /crowd/hang HTTP/1.1\r\nHost: a\r\n\r\n")
        except Exception as error:  # noqa: BLE001 reported below
            wrong.append((start, error))

    visitors = [threading.Thread(target=visitor, args=(n,)) for n in range(20)]
    for thread in visitors:
        thread.start()
    for thread in visitors:
        thread.join()
    assert not wrong
    play.gateway.wait_until_idle()
    reasons = [(line["path"], line["reason"]) for line in play.gateway.access() if line["path"].startswith("/crowd/")]
    for what, reason in (("fine", "-"), ("reset", "backend_reset"), ("half", "backend_reset"), ("hang", "client_gone")):
        assert {why for path, why in reasons if path == f"/crowd/{what}"} <= {reason}
    assert len([path for path, _ in reasons if path != "/crowd/hang"]) == 400
