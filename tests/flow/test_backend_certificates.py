"""TLS to backends: whom we trust, what we ask for, who we are; and what the client and the log hear when it fails."""

import ssl

import pytest
from http2_backend import HTTP2Backend

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.upstream.http1.tls_session import CAN_RESUME

INI = """
[gateway]
handlers = health
[handler:health]
cache = 0s
[route:r]
upstream = u
[upstream:u]
backends = %s
retries = 0
max_fails = 0
"""
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def ours(tmp_path):
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path):
    return Authority(tmp_path, "theirs")


def context(certificate, version=None, client_ca=None):
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(*certificate)
    if version is not None:
        found.minimum_version = found.maximum_version = version
    if client_ca is not None:
        found.load_verify_locations(client_ca)
        found.verify_mode = ssl.CERT_REQUIRED
    return found


def ask(backend, folder, options, url=None):
    """The answer, the access line and the error log of one request."""
    with RunningGateway(INI % (url or backend.url) + options, folder) as gateway:
        answer = gateway.get("/")
        gateway.wait_until_idle()
        line = gateway.line("/")
    return answer, line, gateway.errors  # all of them, now that it has ended


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backend_signed_by_our_own_authority(tmp_path, ours, version):
    with Actor(tls=context(ours.issue("localhost"), version)) as backend:
        answer, line, _ = ask(backend, tmp_path, f"tls_ca = {ours.path}")
    assert (answer.status, line["backend"]) == (200, f"localhost:{backend.port}")


def test_an_address_is_verified_as_one(tmp_path, ours):
    with Actor(tls=context(ours.issue("127.0.0.1"))) as backend:
        answer, _, _ = ask(backend, tmp_path, f"tls_ca = {ours.path}", f"https://127.0.0.1:{backend.port}")
    assert answer.status == 200


@pytest.mark.parametrize("name", ["elsewhere.test", "api.internal"])
def test_the_name_to_ask_for_and_to_verify(tmp_path, ours, name):
    """A backend that serves several hosts picks its certificate by SNI."""
    asked = []
    default, internal = context(ours.issue("other.test")), context(ours.issue("api.internal"))

    def choose(sock, wanted, _):
        asked.append(wanted)
        sock.context = internal if wanted == "api.internal" else default

    default.sni_callback = choose
    with Actor(tls=default) as backend:
        answer, _, errors = ask(backend, tmp_path, f"tls_ca = {ours.path}\ntls_name = {name}")
    assert asked == [name]
    assert answer.status == (200 if name == "api.internal" else 502)
    assert ("certificate is not valid for 'elsewhere.test'" in errors) == (name == "elsewhere.test")


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        (lambda ours, theirs: ours.issue("localhost", days=(-2, -1)), "certificate has expired"),
        (lambda ours, theirs: ours.issue("elsewhere.test"), "certificate is not valid for 'localhost'"),
        (lambda ours, theirs: theirs.issue("localhost"), "unknown CA: unable to get local issuer certificate"),
    ],
    ids=["expired", "name", "authority"],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_that_is_not_valid(tmp_path, ours, theirs, certificate, said, version):
    with Actor(tls=context(certificate(ours, theirs), version)) as backend:
        answer, line, errors = ask(backend, tmp_path, f"tls_ca = {ours.path}")
        assert not backend.requests
        eventually(lambda: not backend.open, "the connection closed")
    assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=tls_certificate_error")
    assert line["reason"] == "tls_certificate_error"
    assert said in errors
    assert b"localhost" not in answer.body


def test_without_an_authority_of_our_own_the_systems_count(tmp_path, ours):
    with Actor(tls=context(ours.issue("localhost"))) as backend:
        answer, _, errors = ask(backend, tmp_path, "")
    assert (answer.status, "unknown CA" in errors) == (502, True)


def test_verification_is_off_only_with_a_warning(tmp_path, theirs):
    with Actor(tls=context(theirs.issue("elsewhere.test"))) as backend:
        answer, _, errors = ask(backend, tmp_path, "tls_verify = no")
    assert answer.status == 200
    assert "[upstream:u] tls_verify: certificates are not verified" in errors


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["ours", "theirs", "none"])
def test_a_backend_that_wants_to_know_who_we_are(tmp_path, ours, theirs, version, kind):
    client = {"ours": ours, "theirs": theirs}.get(kind)
    options = f"tls_ca = {ours.path}\n"
    if client is not None:
        options += "tls_cert = {}\ntls_key = {}\n".format(*client.issue("gateway"))
    with Actor(tls=context(ours.issue("localhost"), version, ours.path)) as backend:
        answer, line, errors = ask(backend, tmp_path, options)
        assert len(backend.requests) == (kind == "ours")
    if kind == "ours":
        assert answer.status == 200
    else:
        assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=tls_alert_received")
        assert line["reason"] == "tls_alert_received"
        assert "TLS alert: " in errors


def test_the_key_in_the_certificates_file(tmp_path, ours):
    certificate, key = ours.issue("gateway")
    certificate.write_text(certificate.read_text() + key.read_text())
    with Actor(tls=context(ours.issue("localhost"), client_ca=ours.path)) as backend:
        answer, _, _ = ask(backend, tmp_path, f"tls_ca = {ours.path}\ntls_cert = {certificate}")
    assert answer.status == 200


def test_a_backend_whose_tls_is_too_old(tmp_path, ours):
    with Actor(tls=context(ours.issue("localhost"), ssl.TLSVersion.TLSv1_2)) as backend:
        answer, line, _ = ask(backend, tmp_path, f"tls_ca = {ours.path}\ntls_min_version = 1.3")
    assert answer.status == 502
    assert line["reason"] in ("tls_alert_received", "tls_protocol_error")


def test_probes_verify_too(tmp_path, ours, theirs):
    with Actor(tls=context(theirs.issue("localhost"))) as backend:
        options = f"tls_ca = {ours.path}\nhealth_path = /up\nfall = 1"
        with RunningGateway(INI % backend.url + options, tmp_path) as gateway:
            assert "tls_certificate_error" in gateway.wait_for_line("fails its health checks")
            assert gateway.health()["upstreams"]["u"][0]["state"] == "unhealthy"


def test_certificates_without_key_identifiers_will_do(tmp_path):
    """On every Python; many private authorities issue them (RFC 5280 section 4.2.1 wants key identifiers)."""
    private = Authority(tmp_path, "private", key_identifiers=False)
    certificate, key = private.issue("gateway")
    with Actor(tls=context(private.issue("localhost"), client_ca=private.path)) as backend:
        options = f"tls_ca = {private.path}\ntls_cert = {certificate}\ntls_key = {key}"
        answer, _, _ = ask(backend, tmp_path, options)
    assert answer.status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_further_connection_resumes_the_session(tmp_path, ours, version):
    """Only after one whose certificate was verified; a backend that does not remember is no trouble."""
    resumed = []

    def act(peer, request):
        resumed.append(peer.sock.session_reused)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.close()

    first, second = (context(ours.issue("localhost"), version) for _ in range(2))
    with Actor(act, tls=first) as backend:
        with RunningGateway(INI % backend.url + f"tls_ca = {ours.path}", tmp_path) as gateway:
            assert [gateway.get("/").status for _ in range(3)] == [200] * 3
            backend._tls = second
            assert [gateway.get("/").status for _ in range(3)] == [200] * 3
    assert resumed == ([False, True, True] if CAN_RESUME else [False] * 3) * 2


def test_a_further_connection_of_http2_resumes_the_session(tmp_path, ours):
    resumed = []

    def act(exchange):
        resumed.append(exchange.link.sock.session_reused)
        exchange.answer(b"fine")
        exchange.go_away(exchange.id)

    tls = context(ours.issue("localhost"))
    tls.set_alpn_protocols(["h2"])
    with HTTP2Backend(act, context=tls) as backend:
        url = backend.url.replace("127.0.0.1", "localhost")
        with RunningGateway(INI % url + f"tls_ca = {ours.path}\nhttp2 = yes", tmp_path) as gateway:
            assert [gateway.get("/").status for _ in range(3)] == [200] * 3
    assert resumed == [False, CAN_RESUME, CAN_RESUME]


def test_a_session_is_no_way_around_verification(tmp_path, ours, theirs):
    """Another machine behind the same name, which nobody has vouched for."""
    with Actor(tls=context(ours.issue("localhost"))) as backend:
        backend.act = lambda peer, request: (peer.send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n"), peer.close())
        with RunningGateway(INI % backend.url + f"tls_ca = {ours.path}", tmp_path) as gateway:
            assert gateway.get("/").status == 204
            backend._tls = context(theirs.issue("localhost"))
            assert gateway.get("/")["proxy-status"] == "gproxy; error=tls_certificate_error"
