"""TLS to backends: whom we trust, what we ask for, who we are; and what the client and the log hear when it fails."""

import re
import ssl
from contextlib import ExitStack

import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.upstream.http1.tls_session import CAN_RESUME

INI = """
[gateway]
handlers = health
[handler:health]
cache = 0s
"""
UPSTREAM = """
[route:{name}]
path = /{name}
upstream = {name}
[upstream:{name}]
backends = {url}
retries = 0
max_fails = 0
"""
#: What an upstream is told of TLS, by its kind, and how many tests want one of their own.
KINDS = {
    "ours": ("tls_ca = {ours}", 13),
    "address": ("tls_ca = {ours}", 1),
    "elsewhere.test": ("tls_ca = {ours}\ntls_name = elsewhere.test", 1),
    "api.internal": ("tls_ca = {ours}\ntls_name = api.internal", 1),
    "system": ("", 1),
    "unverified": ("tls_verify = no", 1),
    "known": ("tls_ca = {ours}\ntls_cert = {known}.crt\ntls_key = {known}.key", 2),
    "unknown": ("tls_ca = {ours}\ntls_cert = {unknown}.crt\ntls_key = {unknown}.key", 2),
    "one_file": ("tls_ca = {ours}\ntls_cert = {one_file}", 1),
    "new": ("tls_ca = {ours}\ntls_min_version = 1.3", 1),
    "probed": ("tls_ca = {ours}\nhealth_path = /up\nfall = 1", 1),
    "private": ("tls_ca = {private}\ntls_cert = {private_known}.crt\ntls_key = {private_known}.key", 1),
}
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Authorities:
    """Whom the gateway trusts, whom it does not, and one without key identifiers; certificates of the gateway."""

    def __init__(self, folder):
        self.ours, self.theirs = Authority(folder, "ours"), Authority(folder, "theirs")
        self.private = Authority(folder, "private", key_identifiers=False)
        self.files = {"ours": self.ours.path, "private": self.private.path, "one_file": folder / "one_file.pem"}
        for name, authority in (("known", self.ours), ("unknown", self.theirs), ("private_known", self.private)):
            certificate, key = authority.issue("gateway", file=name)
            self.files[name] = certificate.with_suffix("")
            if name == "known":
                self.files["one_file"].write_text(certificate.read_text() + key.read_text())


class Upstream:
    """An upstream of the gateway that one test uses, and its backend."""

    def __init__(self, gateway, name, backend):
        self.gateway, self.name, self.backend = gateway, name, backend
        self.path = f"/{name}"

    def serve(self, tls):
        """Let the backend accept connections with this context from now on."""
        self.backend._tls = tls
        return self.backend

    def get(self):
        return self.gateway.get(self.path)

    def ask(self):
        """The answer and the access line of one request."""
        answer = self.get()
        self.gateway.wait_until_idle()
        return answer, self.gateway.line(self.path)

    def hears(self, text):
        """Wait for a line of the error log that names the upstream and has this text."""
        eventually(lambda: any(text in line for line in self.errors()), f"{text!r} in the error log")
        return True

    def errors(self):
        """The lines of the error log about the upstream."""
        name = re.compile(rf"\b{re.escape(self.name)}\b")
        return [line for line in self.gateway.errors.splitlines() if name.search(line)]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    return Authorities(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="module")
def free(authorities, tmp_path_factory):
    """The upstreams that no test has used, by kind: a connection or a session of another test must not be there."""
    free = {}
    with ExitStack() as stack:
        text, made = INI, []
        probed = context(authorities.theirs.issue("localhost"))
        for kind, (options, count) in KINDS.items():
            for number in range(count):
                name = f"{kind}-{number}"
                backend = stack.enter_context(Actor(tls=probed))
                url = f"https://127.0.0.1:{backend.port}" if kind == "address" else backend.url
                text += UPSTREAM.format(name=name, url=url) + options.format(**authorities.files)
                made.append((kind, name, backend))
        gateway = stack.enter_context(RunningGateway(text, tmp_path_factory.mktemp("gateway")))
        for kind, name, backend in made:
            free.setdefault(kind, []).append(Upstream(gateway, name, backend))
        yield free


@pytest.fixture
def upstream(free):
    """A function that returns an upstream of a kind, which is the test's alone; at the end no lease may be left."""
    taken = []

    def take(kind="ours"):
        taken.append(free[kind].pop())
        return taken[-1]

    yield take
    for one in taken:
        one.gateway.wait_until_idle()
        assert one.gateway.process.poll() is None


@pytest.fixture
def ours(authorities):
    return authorities.ours


@pytest.fixture
def theirs(authorities):
    return authorities.theirs


def context(certificate, version=None, client_ca=None):
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(*certificate)
    if version is not None:
        found.minimum_version = found.maximum_version = version
    if client_ca is not None:
        found.load_verify_locations(client_ca)
        found.verify_mode = ssl.CERT_REQUIRED
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backend_signed_by_our_own_authority(upstream, ours, version):
    own = upstream()
    backend = own.serve(context(ours.issue("localhost"), version))
    answer, line = own.ask()
    assert (answer.status, line["backend"]) == (200, f"localhost:{backend.port}")


def test_an_address_is_verified_as_one(upstream, ours):
    own = upstream("address")
    own.serve(context(ours.issue("127.0.0.1")))
    assert own.get().status == 200


@pytest.mark.parametrize("name", ["elsewhere.test", "api.internal"])
def test_the_name_to_ask_for_and_to_verify(upstream, ours, name):
    """A backend that serves several hosts picks its certificate by SNI."""
    asked = []
    default, internal = context(ours.issue("other.test")), context(ours.issue("api.internal"))

    def choose(sock, wanted, _):
        asked.append(wanted)
        sock.context = internal if wanted == "api.internal" else default

    default.sni_callback = choose
    own = upstream(name)
    own.serve(default)
    answer, _ = own.ask()
    assert asked == [name]
    assert answer.status == (200 if name == "api.internal" else 502)
    assert name == "api.internal" or own.hears("certificate is not valid for 'elsewhere.test'")


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
def test_a_certificate_that_is_not_valid(upstream, ours, theirs, certificate, said, version):
    own = upstream()
    backend = own.serve(context(certificate(ours, theirs), version))
    answer, line = own.ask()
    assert not backend.requests
    eventually(lambda: not backend.open, "the connection closed")
    assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=tls_certificate_error")
    assert line["reason"] == "tls_certificate_error"
    assert own.hears(said)
    assert b"localhost" not in answer.body


def test_without_an_authority_of_our_own_the_systems_count(upstream, ours):
    own = upstream("system")
    own.serve(context(ours.issue("localhost")))
    answer, _ = own.ask()
    assert (answer.status, own.hears("unknown CA")) == (502, True)


def test_verification_is_off_only_with_a_warning(upstream, theirs):
    own = upstream("unverified")
    own.serve(context(theirs.issue("elsewhere.test")))
    assert own.get().status == 200
    assert f"[upstream:{own.name}] tls_verify: certificates are not verified" in own.gateway.errors


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["known", "unknown", "ours"])
def test_a_backend_that_wants_to_know_who_we_are(upstream, ours, version, kind):
    own = upstream(kind)
    backend = own.serve(context(ours.issue("localhost"), version, ours.path))
    answer, line = own.ask()
    assert len(backend.requests) == (kind == "known")
    if kind == "known":
        assert answer.status == 200
    else:
        assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=tls_alert_received")
        assert line["reason"] == "tls_alert_received"
        assert own.hears("TLS alert: ")


def test_the_key_in_the_certificates_file(upstream, ours):
    own = upstream("one_file")
    own.serve(context(ours.issue("localhost"), client_ca=ours.path))
    assert own.get().status == 200


def test_a_backend_whose_tls_is_too_old(upstream, ours):
    own = upstream("new")
    own.serve(context(ours.issue("localhost"), ssl.TLSVersion.TLSv1_2))
    answer, line = own.ask()
    assert answer.status == 502
    assert line["reason"] in ("tls_alert_received", "tls_protocol_error")


def test_probes_verify_too(upstream):
    own = upstream("probed")
    assert own.hears("fails its health checks")
    assert any("tls_certificate_error" in line for line in own.errors())
    assert own.gateway.health()["upstreams"][own.name][0]["state"] == "unhealthy"


def test_certificates_without_key_identifiers_will_do(upstream, authorities):
    """On every Python; many private authorities issue them (RFC 5280 section 4.2.1 wants key identifiers)."""
    private = authorities.private
    own = upstream("private")
    own.serve(context(private.issue("localhost"), client_ca=private.path))
    assert own.get().status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_further_connection_resumes_the_session(upstream, ours, version):
    """Only after one whose certificate was verified; a backend that does not remember is no trouble."""
    resumed = []

    def act(peer, request):
        resumed.append(peer.sock.session_reused)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.close()

    first, second = (context(ours.issue("localhost"), version) for _ in range(2))
    own = upstream()
    own.serve(first).act = act
    assert [own.get().status for _ in range(3)] == [200] * 3
    own.serve(second)
    assert [own.get().status for _ in range(3)] == [200] * 3
    assert resumed == ([False, True, True] if CAN_RESUME else [False] * 3) * 2


def test_a_session_is_no_way_around_verification(upstream, ours, theirs):
    """Another machine behind the same name, which nobody has vouched for."""
    own = upstream()
    backend = own.serve(context(ours.issue("localhost")))
    backend.act = lambda peer, request: (peer.send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n"), peer.close())
    assert own.get().status == 204
    own.serve(context(theirs.issue("localhost")))
    assert own.get()["proxy-status"] == "gproxy; error=tls_certificate_error"
