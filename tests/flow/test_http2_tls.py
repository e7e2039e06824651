"""HTTP/2 over TLS: each request of a connection is checked by its host, and has the identity of the certificate."""

import socket
import ssl

import pytest
from http2_streams import StreamClient
from scenes import scene

from gproxy.testing.authority import Authority
from gproxy.testing.gateway import PATIENCE, free_port

INI = """
[gateway]
handlers = health
[handler:health]
[route:all]
path = /
upstream = one
[upstream:one]
backends = {one}
[tls:a]
certificate = a.test.crt
key = a.test.key
hsts = 1d
[tls:admin]
certificate = admin.test.crt
key = admin.test.key
client_ca = authority.pem
client_auth = required
forward = subject: X-Client-Subject
[tls:old]
certificate = old.test.crt
key = old.test.key
ciphers = none
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    for name in ("a.test", "admin.test", "alice", "old.test"):
        authority.issue(name)
    port = free_port()
    with scene(INI, "one", folder, arguments=("--bind", f"127.0.0.1:{port} tls")) as found:
        found.folder, found.port = folder, port
        yield found


@pytest.fixture
def connect(play):
    made = []

    def connect(name, client=None, protocols=("h2", "http/1.1"), cipher=""):
        asking = ssl.create_default_context(cafile=play.folder / "authority.pem")
        asking.set_alpn_protocols(protocols)
        if cipher:
            asking.maximum_version = ssl.TLSVersion.TLSv1_2
            asking.set_ciphers(cipher)
        if client:
            asking.load_cert_chain(play.folder / f"{client}.crt", play.folder / f"{client}.key")
        sock = asking.wrap_socket(socket.create_connection(("127.0.0.1", play.port), PATIENCE), server_hostname=name)
        assert sock.selected_alpn_protocol() == "h2"
        made.append(StreamClient(play.port, sock=sock))
        return made[-1]

    yield connect
    for one in made:
        one.__exit__()


def test_each_request_of_a_connection_is_checked_by_its_host(play, connect):
    client = connect("a.test")
    hosts = {"a.test": 200, "admin.test": 421, "unknown.test": 200, "ADMIN.test:443": 421}
    for host, status in [*hosts.items(), *hosts.items()]:
        assert client.response(client.request("/", host=host))[0] == status
    assert {seen["host"] for seen in play.one.requests} == {"a.test", "unknown.test"}


def test_each_request_has_the_identity_of_the_certificate_and_no_other(play, connect):
    client = connect("admin.test", "alice")
    for _ in range(2):
        assert client.response(client.request("/", ("x-client-subject", "CN=root"), host="admin.test"))[0] == 200
    assert [seen["x-client-subject"] for seen in play.one.requests] == ["CN=alice"] * 2
    other = connect("a.test")
    assert other.response(other.request("/", ("x-client-subject", "CN=root"), host="a.test"))[0] == 200
    assert play.one.requests[-1]["x-client-subject"] is None


def test_responses_have_the_policy_and_requests_the_scheme(play, connect):
    client = connect("a.test", protocols=("h2",))
    stream = client.request("/policy", host="a.test")
    assert client.head(stream).headers["strict-transport-security"] == "max-age=86400"
    client.response(stream)
    assert play.one.requests[0]["x-forwarded-proto"] == "https"
    line = play.gateway.line("/policy")
    assert (line["protocol"], line["vhost"]) == ("HTTP/2.0", "a.test")


@pytest.mark.parametrize(
    ("name", "cipher"), [("a.test", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("old.test", "ECDHE-ECDSA-AES128-SHA256")]
)
def test_the_clients_choice_of_a_suite_of_tls_1_2_stands(play, connect, name, cipher):
    """The second one is among those that RFC 9113 appendix A lets a server reject."""
    client = connect(name, cipher=cipher)
    assert client.response(client.request("/", host=name))[0] == 200


def test_a_large_body_passes_both_ways(play, connect):
    body = bytes(range(256)) * 20_000

    def echo(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    play.one.act = echo
    client = connect("a.test")
    stream = client.request("/", method="POST", body=body, host="a.test")
    assert client.response(stream) == (200, body)
