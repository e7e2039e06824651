"""https:// from the clients' side: what holds for plain connections holds for these."""

import asyncio
import socket
import ssl
import subprocess
import threading
from types import SimpleNamespace

import pytest
from cryptography.x509.oid import NameOID
from scenes import scene
from websockets.asyncio.client import connect
from websockets.sync.server import serve

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering, reply
from gproxy.testing.gateway import PATIENCE, Wire, eventually, free_port

INI = """
[server]
head_timeout = 1s
body_timeout = 1s
write_timeout = 1s
max_connections_per_address = 100
[gateway]
handlers = health, compress
timeout = 2s
[handler:health]
cache = 0s
[handler:compress]
[route:plain]
path = /
upstream = plain
[route:large]
path = /large
upstream = plain
timeout = 30s
[route:seen]
path = /seen
upstream = plain
handlers = seen
[handler:seen]
use = tls_seen:seen
[route:sockets]
path = /ws
upstream = sockets
[upstream:plain]
backends = {plain}
max_fails = 0
[upstream:sockets]
backends = {sockets}
[tls:a]
certificate = a.test.crt
key = a.test.key
hsts = 365d
[tls:b]
certificate = any.b.test.crt
key = any.b.test.key
hosts = *.b.test, b.test
min_version = TLSv1.3
[tls:admin]
certificate = admin.test.crt
key = admin.test.key
client_ca = authority.pem
client_auth = required
forward = subject: X-Client-Subject, fingerprint: X-Client-Fingerprint
[tls:maybe]
certificate = maybe.test.crt
key = maybe.test.key
client_ca = authority.pem
client_auth = optional
forward = subject: X-Client-Subject
ciphers = none
[log]
level = debug
"""
HANDLER = """
from gproxy import Response

def seen(request, next):
    tls = request.received.tls
    if tls is None:
        return Response(200, request.scheme.encode())
    return Response(200, f"{request.scheme} {tls.version} {tls.cipher} {tls.server_name} {tls.client}".encode())
"""
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def echo(socket):
    for message in socket:
        socket.send(message)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    for name in ("a.test", "*.b.test", "admin.test", "maybe.test"):
        authority.issue(name)
    authority.issue(
        file="client", subject=[(NameOID.COMMON_NAME, "alice"), (NameOID.ORGANIZATION_NAME, "Ex, Inc.\r\nX: y")]
    )
    Authority(folder, "stranger").issue("mallory", file="mallory")
    (folder / "tls_seen.py").write_text(HANDLER)
    server = serve(echo, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = free_port()
    ini = INI.replace("{sockets}", f"http://127.0.0.1:{server.socket.getsockname()[1]}")
    with scene(ini, "plain", folder, arguments=("--bind", f"127.0.0.1:{port} tls")) as found:
        found.tls = SimpleNamespace(port=port, folder=folder)
        yield found
    server.shutdown()
    thread.join()


def context(play, version=None, client=None):
    made = ssl.create_default_context(cafile=play.tls.folder / "authority.pem")
    if version:
        made.minimum_version = made.maximum_version = version
    if client:
        made.load_cert_chain(play.tls.folder / f"{client}.crt", play.tls.folder / f"{client}.key")
    return made


def tcp(play):
    return socket.create_connection(("127.0.0.1", play.tls.port), PATIENCE)


def secure(play, name="a.test", **options):
    return Wire(context(play, **options).wrap_socket(tcp(play), server_hostname=name))


def get(play, path, *headers, name="a.test", host="", **options):
    lines = "".join(f"{header}\r\n" for header in headers)
    with secure(play, name, **options) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {host or name}\r\n{lines}\r\n")
        return wire.read_response()


CBC = "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"


def test_tls_1_2_has_only_authenticated_encryption(play):
    old = context(play, ssl.TLSVersion.TLSv1_2)
    old.set_ciphers(CBC)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"), tcp(play) as sock:
        old.wrap_socket(sock, server_hostname="a.test")
    for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"):
        old.set_ciphers(cipher)
        with tcp(play) as sock, old.wrap_socket(sock, server_hostname="a.test") as secured:
            assert secured.cipher()[0] == cipher
    old.set_ciphers(CBC)
    with tcp(play) as sock, old.wrap_socket(sock, server_hostname="maybe.test") as secured:
        assert secured.cipher()[0] in CBC.split(":")


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_many_requests_over_one_connection(play, version):
    with secure(play, version=version) as wire:
        for n in range(20):
            wire.send(f"POST /{n} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n{n:02}")
            assert wire.read_response().body == b"plain"
    assert [seen.body for seen in play.plain.requests] == [b"%02d" % n for n in range(20)]
    seen = play.plain.requests[0]
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("https", "a.test")
    assert play.gateway.line("/0")["client"] == "127.0.0.1"


def test_pipelined_requests_in_one_record(play):
    with secure(play) as wire:
        wire.send("".join(f"GET /pipe/{n} HTTP/1.1\r\nHost: a.test\r\n\r\n" for n in range(500)))
        assert [wire.read_response().status for _ in range(500)] == [200] * 500
    assert [seen.line for seen in play.plain.requests] == [f"GET /pipe/{n} HTTP/1.1" for n in range(500)]


def test_a_head_in_many_records(play):
    with secure(play) as wire:
        for byte in b"GET /bytes HTTP/1.1\r\nHost: a.test\r\n\r\n":
            wire.send(bytes([byte]))
        assert wire.read_response().status == 200


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_ten_megabytes_both_ways(play, version, framing):
    up = b"".join(b"%08d" % n for n in range(1_250_000))
    head = f"Content-Length: {len(up)}" if framing == "length" else "Transfer-Encoding: chunked"

    def act(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(up), request.body[::-1]))

    play.plain.act = act
    with secure(play, version=version) as wire:
        wire.send(f"POST /large HTTP/1.1\r\nHost: a.test\r\n{head}\r\n\r\n")
        wire.send(up if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(up), up))
        answer = wire.read_response()
        assert answer.complete
        assert answer.body == up[::-1]
        play.plain.act = reply(b"after")
        wire.send("GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert wire.read_response().body == b"after"


def test_a_client_that_does_not_read(play):
    play.plain.act = reply(bytes(50_000_000))
    with secure(play) as wire:
        wire.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert play.gateway.line("/slow")["reason"] == "client_timeout"
        assert not wire.read_response().complete


def test_events_arrive_one_by_one(play):
    steps = [threading.Event() for _ in range(5)]

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for n, step in enumerate(steps):
            peer.send(f"data: {n}\n\n")
            assert step.wait(5)
        peer.close()

    play.plain.act = act
    with secure(play) as wire:
        wire.send("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        for n, step in enumerate(steps):
            assert wire.read_until(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % n
            step.set()
        assert wire.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_the_end_is_said(play, version):
    """A response that ends with the connection is complete only if close_notify says so (RFC 9112 section 9.8)."""
    play.plain.act = lambda peer, request: (peer.send("HTTP/1.1 200 OK\r\n\r\nuntil the end"), peer.close())
    with secure(play, version=version) as wire:
        wire.sock.suppress_ragged_eofs = False
        wire.send("GET /end HTTP/1.0\r\nHost: a.test\r\n\r\n")
        assert wire.read_response().body == b"until the end"  # a missing one would raise SSLEOFError


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_cut_response_has_no_end(play, version):
    play.plain.act = lambda peer, request: (
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"),
        peer.close(),
    )
    with secure(play, version=version) as wire:
        wire.sock.suppress_ragged_eofs = False
        wire.send("GET /cut HTTP/1.0\r\nHost: a.test\r\n\r\n")
        answer = wire.read_response()
        assert not answer.complete
    play.plain.act = lambda peer, request: (
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"),
        peer.close(),
    )
    with secure(play, version=version) as wire:
        wire.sock.suppress_ragged_eofs = False
        wire.send("GET /cut HTTP/1.0\r\nHost: a.test\r\n\r\n")
        try:
            wire.read_all()
        except (ssl.SSLEOFError, OSError):
            return
        assert wire.was_reset


def test_a_refusal_is_read_to_its_end(play):
    with secure(play) as wire:
        wire.sock.suppress_ragged_eofs = False
        wire.send("GET /refused HTTP/1.1\r\nHost: a.test\r\nContent-Length: x\r\n\r\n" + "x" * 100_000)
        assert wire.read_response().status == 400
        assert wire.read_all() == b""


@pytest.mark.parametrize("how", ["close_notify", "end", "reset"])
def test_a_client_that_leaves(play, how):
    asked, left = threading.Event(), threading.Event()
    play.plain.act = lambda peer, request: (asked.set(), peer.read_all(), left.set(), peer.close())
    wire = secure(play)
    wire.send(f"GET /left/{how} HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert asked.wait(5)
    if how == "close_notify":
        wire.sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            wire.sock.unwrap()
    elif how == "end":
        wire.sock.shutdown(socket.SHUT_RDWR)
    else:
        wire.reset()
    assert left.wait(1.5)
    assert play.gateway.line(f"/left/{how}")["status"] == "499"
    wire.sock.close()


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_the_end_behind_a_large_request_is_heard(play, version):
    """It comes in the same bytes as the last of several records, and the socket stays open."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(play, version).wrap_bio(incoming, outgoing, server_hostname="a.test")
    left = threading.Event()
    play.plain.act = lambda peer, request: (peer.read_body(request), peer.read_all(), left.set(), peer.close())
    with tcp(play) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(b"POST /notify HTTP/1.1\r\nHost: a.test\r\nContent-Length: 40000\r\n\r\n" + bytes(40_000))
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())
        assert left.wait(1.5)
        assert play.gateway.line("/notify")["status"] == "499"


def test_a_request_that_comes_early_is_no_leaving(play):
    asked, go = threading.Event(), threading.Event()
    play.plain.act = lambda peer, request: (asked.set(), go.wait(5), reply(b"done")(peer, request))
    with secure(play) as wire:
        wire.send("GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert asked.wait(5)
        wire.send("GET /second HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert not threading.Event().wait(0.1)
        go.set()
        assert [wire.read_response().body for _ in range(2)] == [b"done"] * 2


def openssl(play, *arguments, stdin=b""):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{play.tls.port}", "-servername", "a.test", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_new_key_is_no_request_and_no_leaving(play):
    """RFC 8446 section 4.6.3: s_client's K asks for one in return, in the middle of an exchange."""
    asked, go = threading.Event(), threading.Event()
    play.plain.act = lambda peer, request: (asked.set(), go.wait(5), reply(b"with a new key")(peer, request))
    with openssl(play, "-crlf") as client:
        client.stdin.write(b"GET /key HTTP/1.1\nHost: a.test\n\n")
        client.stdin.flush()
        assert asked.wait(5)
        client.stdin.write(b"K\n")
        client.stdin.flush()
        assert not threading.Event().wait(0.2)
        go.set()
        assert play.gateway.line("/key")["status"] == "200"
        client.stdin.write(b"GET /again HTTP/1.1\nHost: a.test\nConnection: close\n\n")
        client.stdin.flush()
        assert play.gateway.line("/again")["status"] == "200"
        said = client.communicate(timeout=10)[0]
    assert said.count(b"HTTP/1.1 200 OK") == 2, said
    assert b"KEYUPDATE" in said


def test_no_renegotiation(play):
    with openssl(play, "-tls1_2", "-crlf") as client:
        client.stdin.write(b"R\n")
        client.stdin.flush()
        assert b"no renegotiation" in client.communicate(timeout=10)[0]
    assert get(play, "/").status == 200


def test_openssl_agrees(play):
    said = openssl(
        play, "-alpn", "h2,http/1.1", "-verify_return_error", "-CAfile", str(play.tls.folder / "authority.pem")
    ).communicate(b"Q\n", 10)[0]
    assert b"Verify return code: 0 (ok)" in said
    assert b"ALPN protocol: h2" in said


def test_a_client_that_speaks_no_http(play):
    said = openssl(play, "-alpn", "imap").communicate(b"Q\n", 10)[0]
    assert b"no application protocol" in said
    play.gateway.wait_for_line("TLS handshake failed: client offers only 'imap' by ALPN")


def curl(play, *arguments, host="a.test"):
    return subprocess.run(
        [
            "curl",
            "-sS",
            "-i",
            "--max-time",
            "10",
            "--cacert",
            str(play.tls.folder / "authority.pem"),
            "--resolve",
            f"*:{play.tls.port}:127.0.0.1",
            f"https://{host}:{play.tls.port}/curl",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_curl(play):
    assert curl(play).stdout.startswith("HTTP/2 200")
    assert curl(play, "--http1.1").stdout.startswith("HTTP/1.1 200 OK")
    assert curl(play, host="x.b.test").stdout.startswith("HTTP/2 200")
    assert "protocol version" in curl(play, "--tls-max", "1.2", host="x.b.test").stderr
    assert play.plain.requests[0]["x-forwarded-proto"] == "https"


def test_tls_1_1_is_refused(play):
    """As an old client asks for it: no current OpenSSL offers it any more."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test").do_handshake()
    hello = bytearray(outgoing.read())
    assert hello[9:11] == b"\3\3"
    hello[9:11] = b"\3\2"
    with tcp(play) as sock:
        sock.sendall(hello)
        alert = sock.recv(7)
    assert (alert[0], alert[5:]) == (21, b"\2\x46")  # fatal, protocol_version


@pytest.mark.parametrize(
    ("name", "common_name"),
    [
        ("a.test", "a.test"),
        ("x.b.test", "*.b.test"),
        ("b.test", "*.b.test"),
        ("x.y.b.test", "a.test"),
        ("other", "a.test"),
        (None, "a.test"),
    ],
)
def test_the_name_chooses_the_certificate(play, name, common_name):
    asking = context(play)
    asking.check_hostname = False
    with asking.wrap_socket(tcp(play), server_hostname=name) as sock:
        assert sock.getpeercert()["subject"] == ((("commonName", common_name),),)


def test_https_is_insisted_on(play):
    assert get(play, "/")["strict-transport-security"] == "max-age=31536000"
    assert get(play, "/", name="x.b.test")["strict-transport-security"] is None
    assert play.gateway.get("/")["strict-transport-security"] is None
    with secure(play) as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        answer = wire.read_response()
    assert (answer.status, answer["strict-transport-security"]) == (400, "max-age=31536000")
    play.plain.act = reply(b"", "Strict-Transport-Security: max-age=1; preload")
    assert get(play, "/")["strict-transport-security"] == "max-age=1; preload"


def test_a_client_certificate_tells_who_it_is(play):
    der = ssl.PEM_cert_to_DER_cert((play.tls.folder / "client.crt").read_text())
    import hashlib

    assert get(play, "/who", name="admin.test", client="client").status == 200
    play.plain.requests.clear()
    answer = get(
        play, "/who", "X-Client-Subject: CN=root", "X_Client_Fingerprint: 0", name="admin.test", client="client"
    )
    assert answer.status == 200
    (seen,) = play.plain.requests
    assert seen["x-client-subject"] == "O=Ex\\, Inc.\\0D\\0AX: y,CN=alice"
    assert seen["x-client-fingerprint"] == hashlib.sha256(der).hexdigest()
    assert (seen["x_client_fingerprint"], seen["x"]) == (None, None)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("client", [None, "mallory"])
@pytest.mark.parametrize("name", ["admin.test", "maybe.test"])
def test_a_client_certificate_that_is_missing_or_wrong(play, version, client, name):
    if name == "maybe.test" and client is None:
        assert get(play, "/maybe", "X-Client-Subject: CN=root", name=name, version=version).status == 200
        assert play.plain.requests[0]["x-client-subject"] is None
        return
    asking = context(play, version, client)
    assert status_over(play, asking, name) == "refused"  # in TLS 1.3 the client learns of it when it reads
    assert not play.plain.requests


def status_over(play, asking, name, **options):
    try:
        with Wire(asking.wrap_socket(tcp(play), server_hostname=name, **options)) as wire:
            wire.send(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")
            return wire.read_response().status
    except OSError:
        return "refused"


def test_who_somebody_else_is_does_not_stick(play):
    """The same header lines from the same address, on connections of different clients."""
    for client in ("client", None, "client", None):
        with secure(play, "maybe.test", client=client) as wire:
            for n in (1, 2):
                wire.send(f"GET /stick/{n} HTTP/1.1\r\nHost: maybe.test\r\n\r\n")
                assert wire.read_response().status == 200
    subjects = [seen["x-client-subject"] for seen in play.plain.requests]
    assert [bool(subject) for subject in subjects] == [True, True, False, False] * 2


def test_handlers_see_it(play):
    assert play.gateway.get("/seen").body == b"http"
    version, suite = ssl.TLSVersion.TLSv1_3, "TLS_AES_256_GCM_SHA384"
    assert get(play, "/seen", version=version).body == f"https TLSv1.3 {suite} a.test None".encode()
    body = get(play, "/seen", name="maybe.test", version=version, client="client").body.decode()
    assert body == f"https TLSv1.3 {suite} maybe.test <ClientCertificate O=Ex\\, Inc.\\0D\\0AX: y,CN=alice>"


def test_who_a_client_is_cannot_be_claimed_anywhere(play):
    get(play, "/", "X-Client-Subject: CN=root")
    play.gateway.get("/", "X-Client-Subject: CN=root")
    assert [seen["x-client-subject"] for seen in play.plain.requests] == [None, None]


@pytest.mark.parametrize(
    ("name", "host", "client", "status"),
    [
        ("a.test", "admin.test", None, 421),
        ("a.test", "ADMIN.test.:443", None, 421),
        ("a.test", "maybe.test", None, 421),
        ("a.test", "x.b.test", None, 421),
        ("other.test", "admin.test", None, 421),
        ("maybe.test", "admin.test", "client", 421),
        ("admin.test", "a.test", "client", 421),
        ("admin.test", "unknown.test", "client", 421),
        ("admin.test", "admin.test:8443", "client", 200),
        ("a.test", "unknown.test", None, 200),
        ("x.b.test", "y.b.test", None, 200),
    ],
)
def test_a_host_that_asks_for_more_has_connections_of_its_own(play, name, host, client, status):
    with secure_unchecked(play, name, client) as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
        assert wire.read_response().status == status
    with secure_unchecked(play, name, client) as wire:
        wire.send(f"GET http://{host}/ HTTP/1.1\r\nHost: {name}\r\n\r\n")
        assert wire.read_response().status == status
    assert len(play.plain.requests) == (2 if status == 200 else 0)


def secure_unchecked(play, name, client):
    asking = context(play, client=client)
    asking.check_hostname = False
    return Wire(asking.wrap_socket(tcp(play), server_hostname=name))


def test_a_guarded_host_is_not_served_on_a_plain_port(play):
    assert play.gateway.get("/plain", "X: y").status == 200
    answer = play.gateway.ask("GET / HTTP/1.1\r\nHost: admin.test\r\n\r\n")
    assert (answer.status, len(play.plain.requests)) == (421, 1)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_sessions_are_resumed_but_never_at_another_host(play, version):
    """Else a session begun where nobody asks for a certificate would open the door where somebody does."""
    asking = context(play, version)
    asking.check_hostname = False
    with asking.wrap_socket(tcp(play), server_hostname="a.test") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        while sock.recv(65536):
            pass
        session = sock.session
    with asking.wrap_socket(tcp(play), server_hostname="a.test", session=session) as sock:
        assert sock.session_reused
    assert status_over(play, asking, "a.test", session=session) == 200
    assert status_over(play, asking, "admin.test", session=session) == "refused"


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PATCH /x HTTP/1.1\r\n"])
def test_plain_http_on_the_tls_port(play, raw):
    with Wire(tcp(play)) as wire:
        wire.send(raw)
        answer = wire.read_response()
        assert (answer.status, answer["connection"]) == (400, "close")
        assert b"plain HTTP request on an https port" in answer.body
        assert wire.is_closed()
    assert not play.plain.requests


@pytest.mark.parametrize(
    "raw", [b"\0\1\2\3", b"\x16\x03\x01\x00\x05\x02hello", b"\x80\x2e\x01\x03\x01" + bytes(44), b"\x16\x03\x01\xff\xff"]
)
def test_what_is_no_tls(play, raw):
    with Wire(tcp(play)) as wire:
        wire.send(raw)
        assert wire.read_all() in (b"", b"\x15\x03\x03\x00\x02\x02\x32")
    assert "Traceback" not in play.gateway.errors


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x01\x00\x01"])
def test_a_slow_handshake_is_cut(play, sent, stopwatch):
    with stopwatch, Wire(tcp(play)) as wire:
        wire.send(sent)
        assert wire.read_all() == b""
    assert 0.9 < stopwatch.seconds < 4
    play.gateway.wait_for_line("handshake timeout")


def test_a_handshake_that_stops_in_the_middle_is_cut(play, stopwatch):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(play).wrap_bio(incoming, outgoing, server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with stopwatch, Wire(tcp(play)) as wire:
        wire.send(outgoing.read())
        assert wire.read_all()
    assert 0.9 < stopwatch.seconds < 4


def test_others_are_served_during_slow_handshakes(play):
    waiting = [tcp(play) for _ in range(50)]
    for sock in waiting:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert get(play, "/meanwhile").status == 200
    for sock in waiting:
        sock.close()


def test_a_broken_record_ends_the_connection(play):
    asked, left = threading.Event(), threading.Event()
    play.plain.act = lambda peer, request: (asked.set(), peer.read_all(), left.set(), peer.close())
    with secure(play) as wire:
        wire.send("GET /broken HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert asked.wait(5)
        with socket.socket(fileno=wire.sock.detach()) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert left.wait(1.5)
            assert raw.recv(65536)  # an alert
    assert play.gateway.line("/broken")["status"] == "499"


def test_websockets(play):
    async def talk():
        url = f"wss://a.test:{play.tls.port}/ws"
        async with connect(url, host="127.0.0.1", ssl=context(play), server_hostname="a.test", compression=None) as ws:
            for size in (0, 1, 125, 70_000, 900_000):
                await ws.send(b"x" * size)
                assert len(await ws.recv()) == size

    asyncio.run(asyncio.wait_for(talk(), PATIENCE))
    eventually(lambda: not sum(play.gateway.active()), "the lease back")


def test_a_half_closed_tunnel_still_hears_the_answer(stage):
    stage.plain.act = lambda peer, request: (
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        peer.send(peer.read_all()[::-1]),
        peer.close(),
    )
    with secure(stage) as wire:
        wire.sock.suppress_ragged_eofs = False
        wire.send("GET /half HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc")
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        socket.socket.shutdown(wire.sock, socket.SHUT_WR)
        assert wire.read_all() == b"cba"


def test_expect_continue(play):
    play.plain.act = lambda peer, request: (
        peer.send("HTTP/1.1 100 Continue\r\n\r\n"),
        reply(b"got it")(peer, request),
    )
    with secure(play) as wire:
        wire.send("PUT /expect HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.read_response().status == 100
        wire.send("body")
        assert wire.read_response().body == b"got it"
    assert play.plain.requests[0].body == b"body"


def test_a_slow_upload_is_cut(play):
    with secure(play) as wire:
        wire.send("POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc")
        assert wire.read_response().status == 408


@pytest.mark.parametrize("option", ["max_connections", "max_connections_per_address"])
def test_a_full_house_makes_no_handshake(tmp_path, option):
    authority = Authority(tmp_path)
    authority.issue("a.test")
    port = free_port()
    ini = (
        f"[server]\n{option} = 1\n[route:r]\nupstream = u\n[upstream:u]\nbackends = {{plain}}\n"
        "[tls:a]\ncertificate = a.test.crt\nkey = a.test.key\n"
    )
    with scene(ini, "plain", tmp_path, arguments=("--bind", f"127.0.0.1:{port} tls")) as found:
        found.tls = SimpleNamespace(port=port, folder=tmp_path)
        with tcp(found):  # it shakes no hands, and counts
            assert get_or_none(found) is None
            with tcp(found) as other:
                assert other.recv(1) == b""  # nor is it told anything in plain words
        eventually(lambda: get_or_none(found) == 200, "room again")


def get_or_none(found):
    try:
        return get(found, "/").status
    except OSError:
        return None


def test_a_key_that_others_can_read_is_told(tmp_path):
    authority = Authority(tmp_path)
    _, key = authority.issue("a.test")
    key.chmod(0o644)
    ini = "[route:r]\nupstream = u\n[upstream:u]\nbackends = {plain}\n[tls:a]\ncertificate = a.test.crt\nkey = a.test.key\n"
    with (
        Backend(answering()),
        scene(ini, "plain", tmp_path, arguments=("--bind", f"127.0.0.1:{free_port()} tls")) as found,
    ):
        found.gateway.wait_for_line("key: a.test.key is readable by every user; run chmod 600")
