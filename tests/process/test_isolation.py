"""What one client does costs the others nothing: memory, processor time, places and the good name of a backend."""

import json
import socket
import ssl
import statistics
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, Backend, answering, reply
from gproxy.testing.gateway import RunningGateway, Wire, eventually, free_port

INI = """
[server]
{server}
[gateway]
handlers = health
timeout = 10s
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
{route}
[upstream:one]
backends = {backends}
buffer_request = 0
{upstream}
"""


def ini(*backends, server="", route="", upstream=""):
    urls = ", ".join(backend.url for backend in backends)
    return INI.format(server=server, route=route, backends=urls, upstream=upstream)


# --- memory: TLS connections


@pytest.fixture
def ours(tmp_path):
    return Authority(tmp_path)


def server_context(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def growth(gateway, connect, times=1000):
    """Bytes that the worker's memory grows by for each connection, after as many as it takes to be warm."""
    worker = psutil.Process(gateway.workers[0])
    for _ in range(times // 3):
        connect()
    before = worker.memory_info().rss
    for _ in range(times):
        connect()
    return (worker.memory_info().rss - before) / times


@pytest.mark.timeout(180)
def test_tls_connections_to_backends_leave_no_memory_behind(tmp_path, ours):
    """Those that a client breaks off too: 5 KiB each would be seen."""
    act = reply(b"", "Connection: close")
    turn = count()

    def connect():
        with gateway.connect() as wire:
            wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            if next(turn) % 4:
                assert wire.read_response().status == 200

    with (
        Actor(act, tls=server_context(ours.issue("localhost"))) as backend,
        RunningGateway(ini(backend, upstream=f"tls_ca = {ours.path}"), tmp_path) as gateway,
    ):
        assert growth(gateway, connect) < 1024


@pytest.mark.timeout(180)
def test_tls_connections_of_clients_leave_no_memory_behind(tmp_path, ours):
    certificate, key = ours.issue("localhost")
    port = free_port()
    text = ini(backend := Actor(), route=f"[tls:one]\ncertificate = {certificate}\nkey = {key}\n")
    context = ssl.create_default_context(cafile=ours.path)
    turn = count()

    def connect():
        with socket.create_connection(("127.0.0.1", port)) as sock:
            with context.wrap_socket(sock, server_hostname="localhost") as secure:
                if next(turn) % 4:
                    secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")

    with backend, RunningGateway(text, tmp_path, "--bind", f"127.0.0.1:{port} tls") as gateway:
        assert growth(gateway, connect) < 1024


# --- processor time: paths and queries

ROUTES = "".join(f"[route:r{n}]\npath = /p/{n}\nquery = ab: {n}, cd: *\nupstream = one\n" for n in range(20))
ROUTES += "[route:cookie]\npath = /cookie\ncookies = ef: 1\nupstream = one\n"
ODD = {
    "separators, encoded and doubly": "/p/1" + "/%252f..%255c;" * 10,
    "some of each": "/p/1" + "%2f%252e%252e;x\\..%25252f%3f//" * 4,
    "separators": "/p/1" + "%2f..%5c;" * 1600,
    "levels": "/p/1/" + "%2525" * 3000,
    "percent signs": "/p/1/" + "%25" * 5000,
    "broken escapes": "/p/1/" + "%zz" * 5000,
    "letters": "/p/1/" + "%61" * 5000,
    "letters and a slash": "/p/1/" + "%61" * 5000 + "%2f",
    "parents": "/p/1" + "/.." * 5000,
    "dots": "/p/1" + "/." * 7500,
    "slashes": "/p/1" + "//" * 7500,
    "parameters": "/p/1" + "/;" * 7500,
    "segments": "/p/1" + "/a" * 7500,
    "segments and a slash": "/p/1" + "/a" * 5000 + "%2f",
    "a long segment and a slash": "/p/1/" + "a" * 15000 + "%2f",
    "a parameter many times": "/p/1?" + "%61&" * 4000,
    "a thousand parameters": "/p/1?" + "%61&" * 990,
    "a long value": "/p/1?ab=" + "%61" * 5000,
}


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    with Backend(answering()) as backend:
        text = ini(backend).replace("[route:all]\npath = /\nupstream = one\n", ROUTES)
        with RunningGateway(text, tmp_path_factory.mktemp("routed")) as gateway:
            yield gateway


def cost(gateway, target, *fields):
    """Nanoseconds of the worker's processor time for a request that is rejected; the median of some rounds."""
    clock = Path(f"/proc/{gateway.workers[0]}/schedstat")
    head = "".join(f"{field}\r\n" for field in ("Host: a", *fields))
    rounds = []
    for _ in range(7):
        before = int(clock.read_text().split()[0])
        for _ in range(20):
            with gateway.connect() as wire:
                wire.send(f"GET {target} HTTP/1.1\r\n{head}\r\n")
                assert wire.read_response().status in (307, 400, 404, 405, 417)
        rounds.append((int(clock.read_text().split()[0]) - before) / 20)
    return statistics.median(rounds)


@pytest.mark.parametrize("target", ODD.values(), ids=ODD)
def test_no_rejected_target_costs_ten_times_a_plain_one(routed, target):
    assert cost(routed, target) < 10 * cost(routed, "/p/1")


def test_neither_do_cookies(routed):
    assert cost(routed, "/cookie", "Cookie: " + "a=b;" * 7500) < 10 * cost(routed, "/p/1")


def test_a_request_with_too_many_parameters_says_so(routed):
    answer = routed.get("/p/1?" + "a&" * 1000)
    assert (answer.status, json.loads(answer.body)["detail"]) == (400, "the query has more than 1000 parameters")


# --- places: connections


def test_rejected_connections_hold_no_places(tmp_path):
    """Neither those of `max_connections` nor those of their address, as long as their clients stay."""
    options = "max_connections = 3\nmax_connections_per_address = 2"
    with (
        Backend(answering()) as backend,
        RunningGateway(ini(backend, server=options), tmp_path) as gateway,
        ExitStack() as stack,
    ):
        held = [stack.enter_context(gateway.connect()) for _ in range(2)]
        for wire in held:
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 200
        rejected = [stack.enter_context(gateway.connect()) for _ in range(10)]
        for wire in rejected:
            assert wire.read_response().status == 503  # and it does not close, so that the gateway goes on reading
        other = Wire(socket.create_connection(("127.0.0.1", gateway.port), source_address=("127.0.0.2", 0)))
        with other:
            other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.read_response().status == 200
        held[0].sock.close()
        eventually(lambda: gateway.get("/").status == 200, "room for one more of the first address")


def test_more_rejected_connections_than_can_close_slowly_are_closed_at_once(tmp_path):
    with (
        Backend(answering()) as backend,
        RunningGateway(ini(backend, server="max_connections = 1"), tmp_path) as gateway,
    ):
        with ExitStack() as stack:
            stack.enter_context(gateway.connect())
            wires = [stack.enter_context(gateway.connect()) for _ in range(300)]
            for wire in wires:
                assert wire.read_response().status == 503
            worker = psutil.Process(gateway.workers[0])
            assert len(worker.net_connections("tcp")) < 200
        eventually(lambda: gateway.get("/").status == 200, "room again")


def test_the_addresses_of_an_ipv6_network_are_one(tmp_path):
    """A client has a /64, as for rate limits (RFC 6177)."""
    port = free_port()
    options = "max_connections_per_address = 2\ntrusted_proxies = 127.0.0.1"
    text = ini(backend := Backend(answering()), server=options.replace("trusted_proxies = 127.0.0.1", ""))
    text = text.replace("[gateway]", "[gateway]\ntrusted_proxies = 127.0.0.1")

    def ask(stack, address):
        wire = stack.enter_context(Wire(socket.create_connection(("127.0.0.1", port))))
        wire.send(f"PROXY TCP6 {address} 2001:db8::1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return wire.read_response().status

    with backend, RunningGateway(text, tmp_path, "--bind", f"127.0.0.1:{port} proxy"), ExitStack() as stack:
        assert [ask(stack, f"2001:db8:0:1::{n}") for n in (1, 2, 3)] == [200, 200, 503]
        assert ask(stack, "2001:db8:0:2::1") == 200


# --- a backend's good name: uploads


def closes_on_slow_uploads(peer, backend):
    """Takes the head and a piece of the body, and has had enough."""
    request = peer.read_head()
    if request is None:
        return
    if request.line.startswith("POST"):
        peer.read_exactly(3)
        peer.close()
    else:
        backend.requests.append(request)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def facts(gateway):
    return gateway.health()["upstreams"]["one"]


@pytest.mark.parametrize("piece", [b"abc", b"3\r\nabc\r\n"], ids=["length", "chunked"])
def test_an_unfinished_upload_counts_against_no_backend(tmp_path, piece):
    options = "breaker = on\nbreaker_requests = 4\nmax_fails = 2\nretries = 0"
    framing = "Content-Length: 9" if piece == b"abc" else "Transfer-Encoding: chunked"
    with Backend(closes_on_slow_uploads) as one, Backend(closes_on_slow_uploads) as two:
        with RunningGateway(ini(one, two, upstream=options), tmp_path) as gateway:
            for _ in range(24):
                with gateway.connect() as wire:
                    wire.send(f"POST /slow HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + piece)
                    assert wire.read_response().status == 502
            assert gateway.line("/slow")["reason"] == "upload_unfinished"
            assert gateway.health()["admission"]["one"]["breaker"] == "closed"
            assert [backend["state"] for backend in facts(gateway)] == ["healthy"] * 2
            assert "ejected for" not in gateway.errors
            assert {gateway.get("/").status for _ in range(8)} == {200}


def test_a_backend_that_closes_on_a_complete_upload_is_to_blame(tmp_path):
    options = "max_fails = 2\nretries = 0"
    with Backend(closes_on_slow_uploads) as one, Backend(answering()) as two:
        with RunningGateway(ini(one, two, upstream=options), tmp_path) as gateway:
            for _ in range(4):
                with gateway.connect() as wire:
                    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
                    wire.read_response()
            gateway.wait_for_line(f"backend 127.0.0.1:{one.port} ejected for")


BREAKER = "breaker = on\nbreaker_requests = 4\nbreaker_open = 300ms\nmax_fails = 0\nretries = 0"


@pytest.fixture
def tripped(tmp_path):
    """A gateway whose breaker has opened and is due for a trial; the backend is well again."""
    with Actor(reply(status="503 No")) as backend, RunningGateway(ini(backend, upstream=BREAKER), tmp_path) as gateway:
        while gateway.get("/")["proxy-status"] is None:
            pass
        due = time.monotonic() + 0.3
        backend.act = reply()
        eventually(lambda: time.monotonic() > due, "time for a trial")
        yield gateway


def in_a_row(ask):
    """Wait until three requests in a row are answered with 200."""
    statuses = []
    eventually(lambda: statuses.append(ask().status) or statuses[-3:] == [200] * 3, "three in a row")


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
def test_an_upload_that_trickles_is_no_trial(tripped, size):
    with tripped.connect() as slow:
        slow.send(f"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\na")
        in_a_row(lambda: tripped.get("/"))
        eventually(lambda: tripped.health()["admission"]["one"]["breaker"] == "closed", "a closed breaker")
        slow.send("b" * (size - 1))
        assert slow.read_response().status == 200


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
def test_where_there_are_only_uploads_one_closes_the_breaker(tripped, size):
    """A small one is waited for; of large ones there is one a while that is not."""
    with tripped.connect() as slow:
        slow.send(f"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\na")

        def upload():
            with tripped.connect() as wire:
                wire.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
                wire.send("a" * size)
                return wire.read_response()

        in_a_row(upload)


# --- two who wait for one client

HANDLERS = """
import gevent

def wraps(request, next):
    response = next(request)
    response.body = map(bytes.upper, response.body)
    return response

def waits(request, next):
    response = next(request)
    gevent.sleep(0.2)
    return response
"""


def echo(peer, backend):
    request = peer.read_head()
    if request is None or not request["content-length"]:
        return
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    for _ in range(3):
        peer.send(peer.read_exactly(3))


@pytest.mark.parametrize("handlers", ["wraps, waits", "waits, wraps", "wraps"])
def test_an_upload_beside_its_response_goes_on_whatever_handlers_do(tmp_path, handlers):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    uses = "".join(f"[handler:{name}]\nuse = handlers:{name}\n" for name in ("wraps", "waits"))
    text = ini(backend := Backend(echo), route=f"handlers = {handlers}\n{uses}")
    with backend, RunningGateway(text, tmp_path) as gateway, gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        assert wire.read_until(b"3\r\nABC\r\n").startswith(b"HTTP/1.1 200 ")
        for piece in (b"def", b"ghi"):
            wire.send(piece)
            assert wire.read_until(piece.upper()).endswith(piece.upper())


def test_a_client_that_leaves_such_an_upload_is_noticed(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    text = ini(backend := Backend(echo), route="handlers = wraps\n[handler:wraps]\nuse = handlers:wraps\n")
    with backend, RunningGateway(text, tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send("POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            wire.read_until(b"ABC")
        gateway.wait_until_idle()
        assert gateway.line("/left")["reason"] == "client_gone"


# --- found in review: the same promises where they are harder to keep

LEFT_READING = """
import gevent
from gproxy import Response
from gproxy.http.errors import ClientGone

def read(body):
    try:
        body.read()
    except ClientGone:
        pass

def leaves_a_reader(request, next):
    gevent.spawn(read, request.body)
    gevent.sleep(0.05)
    return Response(202)

def reads_beside(request, next):
    copy = gevent.spawn(request.body.read)
    gevent.sleep(0.05)
    body, request.body = request.body, type(request.body)(b"replaced")
    response = next(request)
    copy.kill()
    return response
"""


def test_a_connection_whose_upload_a_handlers_greenlet_reads_gives_its_place_back(tmp_path):
    (tmp_path / "handlers.py").write_text(LEFT_READING)
    uses = "handlers = left\n[handler:left]\nuse = handlers:leaves_a_reader\n"
    text = ini(backend := Backend(answering()), server="max_connections = 3", route=uses)
    with backend, RunningGateway(text, tmp_path) as gateway:
        for _ in range(6):
            with gateway.connect() as wire:
                wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
                assert wire.read_response().status == 202
                wire.read_all()
        assert gateway.get("/").status == 202
        assert "Traceback" not in gateway.errors


def test_a_request_whose_upload_is_read_beside_may_queue(tmp_path):
    (tmp_path / "handlers.py").write_text(LEFT_READING)
    uses = (
        "handlers = beside\n[handler:beside]\nuse = handlers:reads_beside\n[route:held]\npath = /held\nupstream = one\n"
    )
    with Actor() as backend:
        release = threading.Event()

        def hold(peer, request):
            release.wait(10)
            reply()(peer, request)

        backend.act = hold
        text = ini(backend, route=uses, upstream="max_requests = 1\nqueue = 5\nqueue_timeout = 8s")
        with RunningGateway(text, tmp_path) as gateway, gateway.connect() as first, gateway.connect() as second:
            first.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            backend.wait_for_requests(1)
            second.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            eventually(lambda: gateway.health()["admission"]["one"]["queued"] == 1, "a queued request")
            release.set()
            assert first.read_response().status == 200
            assert second.read_response().status == 200


def keeps_alive_but_for_uploads(peer, backend):
    while (request := peer.read_head()) is not None:
        if request.line.startswith("POST"):
            peer.read_exactly(3)
            peer.close()
            return
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_an_unfinished_upload_over_a_pooled_connection_counts_neither(tmp_path):
    options = "breaker = on\nbreaker_requests = 4\nmax_fails = 2"
    with Backend(keeps_alive_but_for_uploads) as one, RunningGateway(ini(one, upstream=options), tmp_path) as gateway:
        for _ in range(8):
            assert gateway.get("/").status == 200
            with gateway.connect() as wire:
                wire.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
                assert wire.read_response().status == 502
        assert gateway.line("/slow")["reason"] == "upload_unfinished"
        assert gateway.health()["admission"]["one"]["breaker"] == "closed"


def test_a_gateway_behind_a_gateway_is_not_blamed_either(tmp_path):
    options = "breaker = on\nbreaker_requests = 4\nmax_fails = 2"
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    with Backend(closes_on_slow_uploads) as one, RunningGateway(ini(one), inner) as second:
        address = SimpleNamespace(url=f"http://127.0.0.1:{second.port}")
        with RunningGateway(ini(address, upstream=options), outer) as gateway:
            for _ in range(6):
                with gateway.connect() as wire:
                    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
                    assert wire.read_response().status == 502
            assert gateway.health()["admission"]["one"]["breaker"] == "closed"
            assert facts(gateway)[0]["state"] == "healthy"


def test_an_upload_that_trickles_does_not_keep_an_ejected_backend_out(tmp_path):
    options = "max_fails = 1\neject_time = 300ms\nretries = 0"
    with Actor() as one, Actor() as two:
        one.act = reply(status="503 No")
        text = ini(one, two, upstream=options).replace("timeout = 10s", "timeout = 60s")
        with RunningGateway(text, tmp_path) as gateway, ExitStack() as stack:
            eventually(lambda: gateway.get("/").status == 503, "an ejection")
            one.act = reply()
            due = time.monotonic() + 0.4
            eventually(lambda: time.monotonic() > due, "time for a trial")
            for _ in range(4):
                wire = stack.enter_context(gateway.connect())
                wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            eventually(lambda: gateway.get("/").status and facts(gateway)[0]["state"] == "healthy", "it is back")


CONDITIONS = "".join(
    f"[route:v{n}]\npath = /v\nquery = version: {n}\ncookies = canary: {n}\nupstream = one\nmethods = PUT\n"
    for n in range(5)
)
COSTLY = {
    "conditions of several routes": ("/v?version=" + "1" * 9000 + "&%61" * 990,),
    "Accept": ("/p/1", "Accept: N/a," + "*/*;q=0.1," * 2900),
    "Accept-Encoding": ("/p/1", "Accept-Encoding: " + "gzip;q=0.1, " * 2500),
    "Connection": ("/p/1", "Connection: " + ",".join(f"a{n}" for n in range(4000))),
    "TE": ("/p/1", "Connection: te", "TE: " + ",".join(f"a{n}" for n in range(4000))),
    "Upgrade": ("/p/1", "Connection: upgrade", "Upgrade: " + ",".join(f"a{n}" for n in range(4000))),
    "Expect": ("/p/1", "Expect: " + "100-continue," * 2300),
    "a redirect of a long path": ("/moved" + "/%61" * 3900 + "%2E",),
}


@pytest.fixture(scope="module")
def costly(tmp_path_factory):
    more = "[route:p]\npath = /p\nquery = ab: 1\nupstream = one\n[route:moved]\npath = /moved\nredirect = https://x.test{path}\nstrip_prefix = yes\n"
    with Backend(answering()) as backend:
        text = ini(backend).replace("[route:all]\npath = /\nupstream = one\n", CONDITIONS + more)
        text = text.replace("handlers = health", "handlers = compress, health") + "[handler:compress]\n"
        with RunningGateway(text, tmp_path_factory.mktemp("costly")) as gateway:
            yield gateway


@pytest.mark.parametrize("request_", COSTLY.values(), ids=COSTLY)
def test_nothing_else_costs_ten_times_as_much(costly, request_):
    assert cost(costly, *request_) < 10 * cost(costly, "/p/1")
