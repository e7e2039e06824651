"""https:// backends: the same promises over TLS, where readable does not mean that HTTP has something to say."""

import datetime as dt
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scenes import Scene

from gproxy.testing.backends import Actor, Backend, reply
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[gateway]
handlers = health
timeout = 2s
[handler:health]
cache = 0s
[route:tls]
path = /
upstream = tls
[route:wrong]
path = /wrong
upstream = wrong
[upstream:tls]
backends = {tls}
buffer_request = 0
max_fails = 0
[upstream:wrong]
backends = {wrong}
max_fails = 0
"""


def certificate(folder, name):
    """A self-signed certificate and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        signed.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def server_context(path, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture(scope="module", params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def stage(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    good, bad = certificate(folder, "localhost"), certificate(folder, "elsewhere.test")
    with (
        Actor(tls=server_context(good, request.param)) as tls,
        Actor(tls=server_context(bad, request.param)) as wrong,
        RunningGateway(
            INI.replace("{tls}", tls.url).replace("{wrong}", wrong.url), folder, environ={"SSL_CERT_FILE": str(good)}
        ) as gateway,
    ):
        tls.name, wrong.name = "tls", "wrong"
        yield Scene(gateway, {"tls": tls, "wrong": wrong})


def test_many_requests_over_one_connection(play):
    play.gateway.get("/warm")
    before = play.tls.connections
    with play.gateway.connect() as wire:
        for n in range(20):
            wire.send(f"POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{n:02}")
            assert wire.read_response().body == b"tls"
    assert play.tls.connections == before
    assert [seen.body for seen in play.tls.requests[1:]] == [b"%02d" % n for n in range(20)]
    assert play.gateway.line("/0")["backend"] == f"localhost:{play.tls.port}"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_that_comes_in_pieces(play, framing):
    """On a fresh connection too, where TLS 1.3 tickets arrive in the middle: they are no answer."""
    heard = [threading.Event() for _ in range(4)]

    def act(peer, request):
        if framing == "chunked":
            peer.read_body(request)
        else:
            for event in heard:
                request.body += peer.read_exactly(4)
                event.set()
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        peer.close()

    play.tls.act = act
    pause = threading.Event()
    for _ in range(3):
        for event in heard:
            event.clear()
        with play.gateway.connect() as wire:
            head = "Content-Length: 16" if framing == "length" else "Transfer-Encoding: chunked"
            wire.send(f"POST /pieces HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n")
            for event in heard:
                if framing == "length":
                    wire.send("body")
                    assert event.wait(5)
                else:
                    wire.send("4\r\nbody\r\n")
                    pause.wait(0.02)
            if framing == "chunked":
                wire.send("0\r\n\r\n")
            assert wire.read_response().body == b"done"
        assert play.tls.requests[-1].body == b"body" * 4


def test_large_bodies_both_ways(play):
    up = b"".join(b"%08d" % n for n in range(200_000))

    def act(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(up), request.body[::-1]))

    play.tls.act = act
    with play.gateway.connect() as wire:
        wire.send(b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(up), up))
        answer = wire.read_response()
    assert answer.complete
    assert answer.body == up[::-1]


def test_events_arrive_one_by_one(play):
    steps = [threading.Event() for _ in range(5)]

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for n, step in enumerate(steps):
            peer.send(f"data: {n}\n\n")
            assert step.wait(5)
        peer.close()

    play.tls.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        for n, step in enumerate(steps):
            assert wire.read_until(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % n
            step.set()
        assert wire.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_expect_continue(play):
    play.tls.act = lambda peer, request: (
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"),
        peer.read_all(),
        peer.close(),
    )
    with play.gateway.connect() as wire:
        wire.send("PUT /expect HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.read_response().status == 401


def test_a_backend_that_hangs(play, stopwatch):
    play.tls.act = lambda peer, request: (peer.read_all(), peer.close())
    with stopwatch:
        assert play.gateway.get("/hang").status == 504
    assert 2.0 <= stopwatch.seconds < 2.4


def test_a_client_that_leaves(play):
    asked, left = threading.Event(), threading.Event()
    play.tls.act = lambda peer, request: (asked.set(), peer.read_all(), left.set(), peer.close())
    with play.gateway.connect() as wire:
        wire.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(5)
    assert left.wait(1.5)
    assert play.gateway.line("/left")["status"] == "499"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pooled_connection_that_was_closed_meanwhile(play, method):
    for n in range(3):
        play.tls.act = lambda peer, request: (reply(b"x")(peer, request), peer.close())
        answer = play.gateway.get(f"/closed/{n}", method=method)
        assert (answer.status, answer.body) == (200, b"x")
        eventually(lambda: play.tls.open == 0, "closed at the backend")


def test_a_body_that_breaks_off(play):
    play.tls.act = lambda peer, request: (
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"),
        peer.close(),
    )
    answer = play.gateway.get("/broken")
    assert not answer.complete
    assert play.gateway.line("/broken")["reason"] == "backend_reset"


def test_a_certificate_for_somebody_else(play):
    answer = play.gateway.get("/wrong")
    assert answer.status == 502
    assert answer["proxy-status"] == "gproxy; error=tls_certificate_error"
    assert b"elsewhere" not in answer.body
    assert b"localhost" not in answer.body
    assert not play.wrong.requests


def test_bytes_after_a_response_are_never_the_next_ones_answer(play):
    """They stand in the same TLS record as its end, where no socket tells of them."""
    evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\no")
        go.wait(5)
        peer.send("kay" + evil)

    play.tls.act = act
    with play.gateway.connect() as wire:
        for _ in range(3):
            go.clear()
            wire.send("GET /split HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.read_until(b"\r\n\r\n")
            go.set()
            assert wire.read_exactly(4) == b"okay"


def plain(peer, backend):
    """Answers TLS's greeting as nginx does on a plain port."""
    peer.read_more()
    peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def silent(peer, backend):
    peer.read_all()


def trickling(peer, backend):
    """The longest record there is, byte by byte."""
    pause = threading.Event()
    try:
        peer.send(b"\x16\x03\x03\x40\x00")
        while not pause.wait(0.05):
            peer.send(b"\x02")
    except OSError:
        pass


def leaving(peer, backend):
    peer.read_more()
    peer.reset()


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        (plain, 502, "tls_protocol_error"),
        (leaving, 502, "tls_protocol_error"),
        (silent, 504, "connection_timeout"),
        (trickling, 504, "connection_timeout"),
    ],
)
def test_a_handshake_that_fails(tmp_path, script, status, error):
    with Backend(script) as backend:
        url = f"https://localhost:{backend.port}"
        ini = f"[route:r]\nupstream = u\n[upstream:u]\nbackends = {url}\nconnect_timeout = 300ms\n"
        with RunningGateway(ini, tmp_path) as gateway:
            answer = gateway.get("/")
            assert (answer.status, answer["proxy-status"]) == (status, f"gproxy; error={error}")
            assert float(gateway.line("/")["duration"]) < 0.6
