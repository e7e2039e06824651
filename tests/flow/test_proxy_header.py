"""Who the client is, as a load balancer says it before anything else."""

import socket
import ssl
import subprocess
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from scenes import scene

from gproxy.testing.authority import Authority
from gproxy.testing.gateway import PATIENCE, Wire, eventually, free_port

INI = """
[server]
head_timeout = 1s
[gateway]
trusted_proxies = 127.0.0.1, 10.0.0.0/8
[route:all]
path = /
upstream = plain
[upstream:plain]
backends = {plain}
[tls:a]
certificate = a.test.crt
key = a.test.key
[log]
level = debug
"""
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f" + bytes([192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 3, 4]) + b"\x04\x00\x00"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
GET = b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxy")
    Authority(folder).issue("a.test")
    ports = SimpleNamespace(plain=free_port(), tls=free_port(), unix=folder / "g.sock")
    binds = (f"127.0.0.1:{ports.plain} proxy", f"127.0.0.1:{ports.tls} proxy tls", f"unix:{ports.unix} proxy")
    arguments = [word for bind in binds for word in ("--bind", bind)]
    with scene(INI, "plain", folder, arguments=arguments) as found:
        found.ports, found.folder = ports, folder
        yield found


@pytest.fixture
def play(stage):
    stage.reset()
    yield stage
    assert stage.gateway.process.poll() is None


def plain(play, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", play.ports.plain), PATIENCE, source_address=(source, 0))


def encrypted(play, header):
    sock = socket.create_connection(("127.0.0.1", play.ports.tls), PATIENCE)
    sock.sendall(header)
    context = ssl.create_default_context(cafile=play.folder / "authority.pem")
    return Wire(context.wrap_socket(sock, server_hostname="a.test"))


@pytest.mark.parametrize(
    ("header", "client"),
    [(V1, "192.0.2.7"), (V2, "192.0.2.7"), (LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")],
)
@pytest.mark.parametrize("together", [True, False])
def test_the_client_is_who_it_says(play, header, client, together):
    with Wire(plain(play)) as wire:
        if together:
            wire.send(header + GET % 1 + GET % 2)
        else:
            for byte in header:
                wire.send(bytes([byte]))
            wire.send(GET % 1)
            wire.send(GET % 2)
        assert [wire.read_response().status for _ in range(2)] == [200, 200]
    assert [seen["x-forwarded-for"] for seen in play.plain.requests] == [client] * 2
    eventually(lambda: play.gateway.line("/2")["client"] == client, "the access line")


@pytest.mark.parametrize("header", [V1, V2])
def test_with_tls_behind_it(play, header):
    with encrypted(play, header) as wire:
        for n in (3, 4):
            wire.send(GET % n)
            assert wire.read_response().status == 200
    seen = play.plain.requests[-1]
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("192.0.2.7", "https")


def test_header_and_client_hello_in_one_packet(play):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=play.folder / "authority.pem")
    tls = context.wrap_bio(incoming, outgoing, server_hostname="a.test")
    with socket.create_connection(("127.0.0.1", play.ports.tls), PATIENCE) as sock:
        header = V1
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(header + outgoing.read())
                header = b""
                incoming.write(sock.recv(65536))
        tls.write(GET % 5)
        sock.sendall(outgoing.read())
        assert play.gateway.line("/5")["client"] == "192.0.2.7"


def test_over_a_unix_socket(play):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(play.ports.unix))
        with Wire(sock) as wire:
            wire.send(V2 + GET % 6)
            assert wire.read_response().status == 200
    assert play.plain.requests[0]["x-forwarded-for"] == "192.0.2.7"


def test_forwarded_for_counts_by_whom_the_header_names(play):
    """The one behind the load balancer is a proxy of ours (10.…) or is not (192.…)."""
    said = b"GET /7 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    for peer, forwarded in ((b"10.1.1.1", "203.0.113.9, 10.1.1.1"), (b"192.0.2.7", "192.0.2.7")):
        with Wire(plain(play)) as wire:
            wire.send(V1.replace(b"192.0.2.7", peer) + said)
            assert wire.read_response().status == 200
        assert play.plain.requests[-1]["x-forwarded-for"] == forwarded


@pytest.mark.parametrize(
    "raw",
    [GET % 8, b"PROXY TCP4 x y 1 2\r\n" + GET % 8, b"\x16\x03\x01\0\1", V2.replace(b"\x21\x11", b"\x41\x11") + GET % 8],
)
def test_without_a_good_header_nobody_is_served(play, raw):
    for port in (play.ports.plain, play.ports.tls):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock, Wire(sock) as wire:
            wire.send(raw)
            assert wire.read_all() == b""
    assert not play.plain.requests
    play.gateway.wait_for_line("127.0.0.1: invalid PROXY header: ")


def test_complaints_do_not_fill_the_log(play):
    for _ in range(20):
        with Wire(plain(play)) as wire:
            wire.send(b"nonsense")
            assert wire.read_all() == b""
    warnings = [
        line for line in play.gateway.errors.splitlines() if " WARNING " in line and "invalid PROXY header" in line
    ]
    assert len(warnings) <= 3  # one for each listener


@pytest.mark.parametrize("raw", [V1 + GET % 9, V2 + GET % 9])
def test_others_may_not_say_it(play, raw):
    with Wire(plain(play, source="127.0.0.2")) as wire:
        try:
            wire.send(raw)
            assert wire.read_all() == b""
        except OSError:
            pass
    assert not play.plain.requests
    play.gateway.wait_for_line("127.0.0.2: connection rejected: not one of the trusted_proxies")


@pytest.mark.parametrize("sent", [b"", b"PROXY ", V2[:20], V1[:-1]])
def test_a_slow_header_is_cut(play, stopwatch, sent):
    with stopwatch, Wire(plain(play)) as wire:
        wire.send(sent)
        assert wire.read_all() == b""
    assert 0.9 < stopwatch.seconds < 4


def test_a_header_is_no_request_on_an_ordinary_port(play):
    assert play.gateway.ask(V1 + GET % 10).status == 400
    assert not play.plain.requests


@pytest.mark.parametrize("secure", [False, True])
def test_curl(play, secure):
    port = play.ports.tls if secure else play.ports.plain
    url = f"http{'s' * secure}://a.test:{port}/curl"
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "--max-time",
            "10",
            "--haproxy-protocol",
            "--cacert",
            str(play.folder / "authority.pem"),
            "--resolve",
            f"a.test:{port}:127.0.0.1",
            url,
        ],
        capture_output=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr) == (b"plain", b"")


def test_each_client_has_its_own_limit(tmp_path):
    port = free_port()
    ini = INI.replace("[gateway]", "max_connections_per_address = 1\n[gateway]")
    Authority(tmp_path).issue("a.test")
    with ExitStack() as stack:
        stack.enter_context(scene(ini, "plain", tmp_path, arguments=("--bind", f"127.0.0.1:{port} proxy")))
        statuses = []
        for header in (V1, V1.replace(b"192.0.2.7", b"192.0.2.8"), V1):
            wire = stack.enter_context(Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)))
            wire.send(header + GET % 1)
            statuses.append(wire.read_response().status)
        assert statuses == [200, 200, 503]
