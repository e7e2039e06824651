"""Client certificates of OpenSSL: what backends and handlers get of them, and lists of those that are revoked."""

import base64
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager

import forked
import jwt
import pytest
from cryptography.x509.oid import NameOID

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

INI = """
[gateway]
handlers = health
[handler:health]
[route:r]
path = /
upstream = u
[upstream:u]
backends = {url}
[tls:a]
certificate = a.test.crt
key = a.test.key
client_ca = authority.pem
client_auth = required
"""
FORGED = ("Client-Cert: :AA==:", "CLIENT_CERT: :AA==:", "Client-Cert-Chain: :AA==:", "X-Forwarded-Client-Cert: Hash=0")


@pytest.fixture
def authority(tmp_path):
    made = Authority(tmp_path)
    made.issue("a.test")
    subject = [(NameOID.COMMON_NAME, "alice"), (NameOID.ORGANIZATION_NAME, "Example")]
    made.issue("alice@a.test", "spiffe://a.test/alice", file="alice", subject=subject)
    made.issue("bob.test", file="bob", subject=[(NameOID.COMMON_NAME, "bob")])
    return made


class Setup:
    """A gateway with a TLS port, and its backend."""

    def __init__(self, gateway, backend, tls_port):
        self.gateway = gateway
        self.backend = backend
        self.tls_port = tls_port

    def __getattr__(self, name):
        return getattr(self.gateway, name)


@contextmanager
def running(folder, *options):
    port = free_port()
    with Backend(answering(body=b"ok")) as backend:
        text = "\n".join([INI.replace("{url}", backend.url), *options, ""])
        with RunningGateway(text, folder, "--bind", f"127.0.0.1:{port} tls") as gateway:
            yield Setup(gateway, backend, port)


def connect(gateway, client=None):
    context = ssl.create_default_context(cafile=gateway.folder / "authority.pem")
    if client:
        context.load_cert_chain(gateway.folder / f"{client}.crt", gateway.folder / f"{client}.key")
    sock = socket.create_connection(("127.0.0.1", gateway.tls_port), PATIENCE)
    return Wire(context.wrap_socket(sock, server_hostname="a.test"))


def ask(gateway, client=None, *headers, path="/"):
    """The answer; None if the handshake fails."""
    lines = "".join(f"{header}\r\n" for header in headers)
    try:
        with connect(gateway, client) as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")
            answer = wire.read_response()
            return answer if answer.status else None
    except (ssl.SSLError, ConnectionError):
        return None


def test_the_backend_gets_the_names_of_the_certificate(tmp_path, authority):
    facts = "forward = cn: X-CN, dns: X-DNS, email: X-Email, uri: X-URI, xfcc: X-Forwarded-Client-Cert"
    with running(tmp_path, facts) as gateway:
        assert ask(gateway, "alice", "X-CN: root", "X_DNS: root", "X-DNS: root", *FORGED).status == 200
        (seen,) = gateway.backend.requests
        assert (seen["x-cn"], seen["x-dns"], seen["x-email"]) == ("alice", None, "alice@a.test")
        assert seen["x-uri"] == "spiffe://a.test/alice"
        command = ["openssl", "x509", "-in", tmp_path / "alice.crt", "-noout", "-fingerprint", "-sha256"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        fingerprint = said.strip().partition("=")[2].replace(":", "").lower()
        expected = f'Hash={fingerprint};Subject="O=Example,CN=alice";URI=spiffe://a.test/alice'
        assert seen["x-forwarded-client-cert"] == expected
        assert "root" not in seen.head.decode()
        assert "AA==" not in seen.head.decode()


def test_a_forged_certificate_in_a_header_never_arrives(tmp_path, authority):
    with running(tmp_path) as gateway:
        assert ask(gateway, "alice", *FORGED).status == 200
        assert gateway.get("/", *FORGED).status == 200
        assert len(gateway.backend.requests) == 2
        for seen in gateway.backend.requests:
            assert "client" not in seen.head.decode().lower()


def test_trusted_proxies_may_send_certificates(tmp_path, authority):
    trusting = INI.replace("handlers = health\n", "handlers = health\ntrusted_proxies = 127.0.0.1\n")
    with Backend(answering()) as backend, RunningGateway(trusting.replace("{url}", backend.url), tmp_path) as gateway:
        assert gateway.get("/", *FORGED).status == 200
        seen = backend.requests[-1]
        assert (seen["client-cert"], seen["x-forwarded-client-cert"]) == (":AA==:", "Hash=0")
        assert seen["client_cert"] is None


def test_a_revoked_certificate_is_rejected_in_the_handshake(tmp_path, authority):
    authority.revoke(tmp_path / "bob.crt")
    with running(tmp_path, "client_crl = authority.crl") as gateway:
        assert ask(gateway, "alice").status == 200
        assert ask(gateway, "bob") is None

        authority.revoke(tmp_path / "alice.crt")
        eventually(lambda: ask(gateway, "alice") is None, "the rejection of alice")
        gateway.wait_for_line("[tls:a] certificate reloaded")
        assert ask(gateway, "bob").status == 200

        (tmp_path / "authority.crl").write_text("not a list")
        gateway.wait_for_line("holds no readable revocation list in PEM form; keeping the previous certificate")
        assert (ask(gateway, "alice"), ask(gateway, "bob").status) == (None, 200)
        assert "Traceback" not in gateway.errors


def test_a_session_of_a_revoked_certificate_is_not_resumed(tmp_path, authority):
    """The next handshake of a client that has a ticket asks for its certificate again."""
    authority.revoke()
    with running(tmp_path, "client_crl = authority.crl") as gateway:
        context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
        context.load_cert_chain(tmp_path / "alice.crt", tmp_path / "alice.key")
        context.maximum_version = ssl.TLSVersion.TLSv1_2

        def connected(session=None):
            sock = socket.create_connection(("127.0.0.1", gateway.tls_port), PATIENCE)
            return context.wrap_socket(sock, server_hostname="a.test", session=session)

        with connected() as first:
            session = first.session
        with connected(session) as again:
            assert again.session_reused
        authority.revoke(tmp_path / "alice.crt")
        gateway.wait_for_line("[tls:a] certificate reloaded")
        with pytest.raises(ssl.SSLError, match=r"(?i)revoked"):
            connected(session)


def test_an_open_connection_ends_after_the_first_response_with_new_lists(tmp_path, authority):
    authority.revoke()
    with running(tmp_path, "client_crl = authority.crl") as gateway, connect(gateway, "alice") as wire:

        def asked():
            wire.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            return wire.read_response()["connection"]

        assert [asked(), asked()] == [None, None]
        authority.issue("a.test")  # a new certificate of the gateway ends nothing
        gateway.wait_for_line("[tls:a] certificate reloaded")
        assert asked() is None
        authority.revoke(tmp_path / "alice.crt")
        eventually(lambda: ask(gateway, "alice") is None, "the rejection of alice")
        assert asked() == "close"
        assert wire.read_all() == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_neither_connection_nor_session_outlives_the_certificate(tmp_path, authority, version):
    with running(tmp_path, "forward = cn: X-Client") as gateway:
        end = time.time() + 4
        authority.issue(file="short", subject=[(NameOID.COMMON_NAME, "short")], days=(-1, 4 / 86_400))
        context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
        context.load_cert_chain(tmp_path / "short.crt", tmp_path / "short.key")
        context.minimum_version = context.maximum_version = version

        def connected(session=None):
            sock = socket.create_connection(("127.0.0.1", gateway.tls_port), PATIENCE)
            return context.wrap_socket(sock, server_hostname="a.test", session=session)

        def asked(sock):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            return sock.recv(4096)[9:12]

        with connected() as first:
            assert asked(first) == b"200"
            session = first.session
            time.sleep(max(0, end - time.time()))  # X.509 has whole seconds, and no clock that a test could move
            assert asked(first) == b"421"
        with connected(session) as again:
            assert again.session_reused
            assert asked(again) == b"421"
        assert len(gateway.backend.requests) == 1


def test_an_outdated_list_rejects_all_and_the_log_has_the_reason(tmp_path, authority):
    authority.revoke(days=(-3, -1))
    with running(tmp_path, "client_crl = authority.crl") as gateway:
        assert ask(gateway, "alice") is None
        assert "client_crl: a list is outdated since" in gateway.wait_for_line("is outdated since")
        authority.revoke()
        eventually(lambda: ask(gateway, "alice") is not None, "the newer list")


RULES = """
[handler:mtls]
user = cn
forward = cn: X-Client, uri: X-Client-URI
[handler:allow]
allow = claim:email=alice@a.test
    by:mtls user:bob method:GET
[handler:jwt]
secret = correct horse battery staple for tests
forward = sub: X-User-ID
[handler:both]
use = allow
allow = mtls.user:alice user:carol
"""


@contextmanager
def identifying(folder, *handlers, trusted="", rules=RULES):
    names = ", ".join(("health", *handlers))
    ini = INI.replace("handlers = health\n", f"handlers = {names}\ntrusted_proxies = {trusted}\n")
    ini = ini.replace("client_auth = required", "client_auth = optional")
    port = free_port()
    with Backend(answering(body=b"ok")) as backend:
        text = "\n".join([ini.replace("{url}", backend.url), rules])
        with RunningGateway(text, folder, "--bind", f"127.0.0.1:{port} tls") as gateway:
            yield Setup(gateway, backend, port)


def test_facts_of_the_certificate_reach_headers_rules_and_the_log(tmp_path, authority):
    with identifying(tmp_path, "mtls", "allow") as gateway:
        assert ask(gateway, "alice", "X-Client: root", "X_Client: root").status == 200
        (seen,) = gateway.backend.requests
        assert (seen["x-client"], seen["x-client-uri"]) == ("alice", "spiffe://a.test/alice")
        assert "root" not in seen.head.decode()
        assert ask(gateway, "bob").status == 200
        answer = ask(gateway, None)
        assert (answer.status, answer["www-authenticate"]) == (403, None)
        assert b"a client certificate is required" in answer.body
        lines = [(line["status"], line["user"], line["auth"], line["reason"]) for line in gateway.access(3)]
        assert lines == [
            ("200", "alice", "mtls", "-"),
            ("200", "bob", "mtls", "-"),
            ("403", "-", "-", "auth_missing"),
        ]
        with connect(gateway, "bob") as wire:
            wire.send("DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert wire.read_response().status == 403


def test_a_subject_of_several_parts_reaches_the_backend(tmp_path, authority):
    rules = RULES.replace("cn: X-Client", "subject: X-Client, issuer: X-Issuer")
    with identifying(tmp_path, "mtls", rules=rules) as gateway:
        assert ask(gateway, "alice").status == 200
        (seen,) = gateway.backend.requests
        assert (seen["x-client"], seen["x-issuer"]) == ("O=Example,CN=alice", "CN=authority")


def test_a_trusted_proxy_passes_the_certificate_on(tmp_path, authority):
    der = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "alice.crt", "-outform", "der"], capture_output=True, check=True
    ).stdout
    field = f"Client-Cert: :{base64.b64encode(der).decode()}:"
    rules = RULES.replace("[handler:mtls]\n", "[handler:mtls]\nsources = client_cert\n")
    for trusted, status in (("127.0.0.1", 200), ("192.0.2.1", 403)):
        with identifying(tmp_path, "mtls", "allow", trusted=trusted, rules=rules) as gateway:
            assert gateway.get("/", field).status == status
            assert gateway.get("/").status == 403
            assert gateway.get("/", "Client-Cert: :AA==:").status == 403
            for seen in gateway.backend.requests:
                assert (seen["x-client"], seen["client-cert"]) == ("alice", None)
            (tmp_path / "log/access.log").unlink()


def test_no_certificate_in_a_header_is_an_internal_error_or_takes_long(tmp_path, authority):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -outform der -subj /CN=o"
    names = ["-addext", "subjectAltName=DER:30:07:A5:05:A1:03:0C:01:61"]
    der = subprocess.run([*command.split(), *names], cwd=tmp_path, capture_output=True, check=True).stdout
    version = der.index(b"\xa0\3\2\1\2") + 4
    odd = [base64.b64encode(one).decode() for one in (der, der[:version] + b"\x09" + der[version + 1 :])]
    rules = RULES.replace("user = cn", "user = cn\nsources = client_cert, xfcc")
    with identifying(tmp_path, "mtls", trusted="127.0.0.1", rules=rules) as gateway:
        assert [gateway.get("/", f"Client-Cert: :{one}:").status for one in odd] == [200, 403]
        started = time.monotonic()
        long = f'Cert="-----BEGIN CERTIFICATE-----{" " * 15_000}"'
        assert gateway.get("/", f"X-Forwarded-Client-Cert: {long}").status == 403
        assert time.monotonic() - started < 1
        assert "Traceback" not in gateway.errors


def test_the_element_of_the_nearest_proxy_counts(tmp_path, authority):
    rules = RULES.replace("user = cn", "user = uri\nsources = xfcc")
    with identifying(tmp_path, "mtls", trusted="127.0.0.1", rules=rules) as gateway:
        value = 'By=x;Hash=00;URI=spiffe://forged,By=y;Hash=11;Subject="CN=edge";URI=spiffe://real'
        assert gateway.get("/", f"X-Forwarded-Client-Cert: {value}").status == 200
        assert gateway.backend.requests[0]["x-client-uri"] == "spiffe://real"
        assert gateway.line("/")["user"] == "spiffe://real"


def token(**claims):
    given = {"sub": "carol", "exp": int(time.time()) + 600} | claims
    return f"Authorization: Bearer {jwt.encode(given, 'correct horse battery staple for tests', algorithm='HS256')}"


def test_certificate_and_token_are_both_demanded(tmp_path, authority):
    with identifying(tmp_path, "mtls", "jwt", "both") as gateway:
        assert ask(gateway, "alice", token()).status == 200
        (seen,) = gateway.backend.requests
        assert (seen["x-client"], seen["x-user-id"], seen["authorization"]) == ("alice", "carol", None)
        answers = [
            ask(gateway, "alice"),
            ask(gateway, None, token()),
            ask(gateway, "bob", token()),
            ask(gateway, "alice", token(sub="dave")),
            ask(gateway, "alice", token(exp=1)),
        ]
        assert [answer.status for answer in answers] == [401, 403, 403, 403, 401]
        assert len(gateway.backend.requests) == 1
        lines = gateway.access(6)
        assert [line["reason"] for line in lines] == [
            "-", "auth_missing", "auth_missing", "forbidden", "forbidden", "auth_invalid",
        ]  # fmt: skip
        assert (lines[0]["user"], lines[0]["auth"]) == ("carol", "jwt")


def test_check_warns_of_certificates_that_never_come(tmp_path, authority):
    ini = INI[: INI.index("[tls:a]")].replace("handlers = health", "handlers = health, mtls, edge")
    (tmp_path / "gproxy.ini").write_text(
        ini.replace("{url}", "http://localhost:1") + "[handler:mtls]\n[handler:edge]\nuse = mtls\nsources = xfcc\n"
    )
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0
    assert "no [tls:NAME] has client_auth, so no client has a certificate" in said
    assert "xfcc is read from trusted proxies only, and [gateway] trusted_proxies lists none" in said


def test_a_list_that_is_cut_off_does_not_end_the_reading_of_later_ones(tmp_path, authority):
    good = authority.revoke().read_bytes()
    with running(tmp_path, "client_crl = authority.crl") as gateway:
        (tmp_path / "authority.crl").write_bytes(good + good[:200])
        gateway.wait_for_line("has a broken part, perhaps a list that is cut off; keeping the previous certificate")
        authority.revoke(tmp_path / "alice.crt")
        eventually(lambda: ask(gateway, "alice") is None, "the rejection of alice")
        assert ask(gateway, "bob").status == 200
        assert "Traceback" not in gateway.errors


OPENSSL_CA = """
[ca]
default_ca = own
[own]
database = index
crlnumber = number
default_md = sha256
default_crl_days = 1
[delta]
deltaCRL = critical,DER:02:01:01
"""


def test_a_delta_list_is_reported_and_not_silently_ignored(tmp_path):
    """OpenSSL ignores delta lists: it would accept the certificates that they revoke."""
    Authority(tmp_path).issue("a.test")
    (tmp_path / "ca").write_text(OPENSSL_CA)
    (tmp_path / "index").touch()
    (tmp_path / "number").write_text("01\n")
    ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"req -x509 {ec} -keyout ca.key -out ca.pem -subj /CN=own",
        "ca -config ca -gencrl -keyfile ca.key -cert ca.pem -out complete",
        "ca -config ca -gencrl -keyfile ca.key -cert ca.pem -crlexts delta -out changes",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, capture_output=True, check=True)
    ini = INI.replace("authority.pem", "ca.pem").replace("{url}", "http://localhost:1") + "client_crl = lists\n"
    (tmp_path / "gproxy.ini").write_text(ini + "[server]\nbind = 127.0.0.1:1 tls\n")
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    for files, status in ((("complete",), 0), (("complete", "changes"), 2)):
        (tmp_path / "lists").write_text("".join((tmp_path / file).read_text() for file in files))
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done
    assert "client_crl: holds a delta list of CN=own; expected only complete lists" in done.stdout + done.stderr


def test_check_warns_of_authorities_with_which_every_handshake_fails(tmp_path):
    Authority(tmp_path).issue("a.test")
    ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"req -x509 {ec} -keyout root.key -out root.pem -subj /CN=root",
        f"req -new {ec} -keyout middle.key -out middle.csr -subj /CN=middle",
        "x509 -req -in middle.csr -CA root.pem -CAkey root.key -days -1 -out middle.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, capture_output=True, check=True)
    ini = INI.replace("authority.pem", "authorities").replace("{url}", "http://localhost:1")
    (tmp_path / "gproxy.ini").write_text(ini + "[server]\nbind = 127.0.0.1:1 tls\n")
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    said = []
    for files in (("root",), ("middle",), ("root", "middle")):
        (tmp_path / "authorities").write_text("".join((tmp_path / f"{file}.pem").read_text() for file in files))
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        said.append([line for line in (done.stdout + done.stderr).splitlines() if "client_ca: " in line])
    assert (len(said[0]), len(said[1]), len(said[2])) == (0, 2, 1)
    assert "client_ca: lacks CN=root, so handshakes with certificates of CN=middle fail" in said[1][0]
    assert "client_ca: CN=middle expired on 2" in said[2][0]
