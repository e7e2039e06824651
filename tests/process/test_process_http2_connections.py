"""Requests that share one HTTP/2 connection are seen, cut, admitted and identified one by one."""

import signal
import socket
import ssl
from contextlib import ExitStack

import pytest

from gproxy.commands.live.admin_client import AdminClient
from gproxy.http.field_names import FieldNames
from gproxy.http.h2.events import DataReceived, GoAwayReceived, HeadReceived
from gproxy.http.h2.frames import NO_ERROR
from gproxy.http.h2.session import CLIENT, Session, SessionOptions
from gproxy.http.headers import Headers
from gproxy.testing.authority import Authority
from gproxy.testing.gateway import RunningGateway, eventually, free_port

INI = """
[server]
grace = 1s
[admin]
bind = unix:{tmp}/admin.sock
[gateway]
handlers = health, metrics
timeout = 100s
[handler:waits]
use = handlers:waits
[handler:names]
use = handlers:names
[route:waits]
path = /waits
handlers = waits
respond = 200
[route:names]
path = /names
handlers = names
respond = 200
"""
HANDLERS = """
from gevent.queue import Queue

from gproxy.http.response import Response
from gproxy.runtime.served import served_request


def waits(request, next):
    Queue().get()


def names(request, next):
    return Response(200, served_request().path.encode())


def peer(request, next):
    subject = request.headers.get("X-Client-Subject")
    return Response(200, f"{request.client} {request.scheme} {request.received.protocol} {subject}".encode())
"""


TLS = """
[gateway]
trusted_proxies = 127.0.0.1
[route:peer]
path = /
handlers = peer
respond = 200
[handler:peer]
use = handlers:peer
[tls:a]
certificate = a.test.crt
key = a.test.key
hsts = 365d
[tls:admin]
certificate = admin.test.crt
key = admin.test.key
client_ca = authority.pem
client_auth = required
forward = subject: X-Client-Subject
"""


class Gateway(RunningGateway):
    """A gateway whose address accepts HTTP/2 by prior knowledge."""

    words = "h2c"


class Client:
    """One HTTP/2 connection with requests beside each other."""

    def __init__(self, port, *, before=b"", context=None, name=None):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.sendall(before)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname=name)
        self.session = Session(CLIENT, SessionOptions(), FieldNames(lambda *_: 0))
        self.session.start()
        self.events = []
        self.send()

    def send(self):
        self.sock.sendall(b"".join(self.session.take_output()))

    def ask(self, path, host="a", headers=()):
        stream = self.session.request("GET", "http", host, path, Headers(headers), end=True)
        self.send()
        return stream

    def read(self, kind, stream=None):
        """The first event of this kind, of this stream."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream is None or event.stream is stream):
                    return event
            data = self.sock.recv(65536)
            assert data, f"closed before {kind.__name__}"
            self.events += self.session.receive(data)
            self.send()

    def status(self, stream):
        return self.read(HeadReceived, stream).head.status

    def get(self, path, host, headers=()):
        """The status, the fields and the first piece of a response."""
        stream = self.ask(path, host, headers)
        head = self.read(HeadReceived, stream).head
        return head.status, head.headers, self.read(DataReceived, stream).data.decode()


@pytest.fixture
def connect():
    """A function that makes clients, as `Client` does; they are closed in the end."""
    with ExitStack() as stack:

        def make(port, **options):
            client = Client(port, **options)
            stack.callback(client.sock.close)
            return client

        yield make


@pytest.fixture
def scene(tmp_path, connect):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    with Gateway(INI, tmp_path) as gateway:
        yield gateway, AdminClient(f"unix:{tmp_path}/admin.sock"), connect(gateway.port)


def test_an_operator_sees_and_cuts_each_request_of_a_connection(scene):
    gateway, admin, client = scene

    def requests():
        return {entry["path"]: entry for entry in admin.get("/v1/requests")["requests"]}

    streams = {path: client.ask(path) for path in ("/waits/a", "/waits/b", "/waits/c")}
    eventually(lambda: set(requests()) == set(streams), "all requests of the connection")
    found = requests()
    assert {entry["handler"] for entry in found.values()} == {"waits"}
    assert {entry["line"].rpartition(":")[0].rpartition("/")[2] for entry in found.values()} == {"handlers.py"}
    assert gateway.metric("gproxy_requests_in_flight") == 4  # with that of the metrics, which has a connection too
    assert gateway.metric("gproxy_connections") == 2
    assert admin.send("DELETE", f"/v1/requests/{found['/waits/b']['id']}")["cut"]
    assert client.status(streams["/waits/b"]) == 503
    assert set(requests()) == {"/waits/a", "/waits/c"}
    assert client.status(names := client.ask("/names/x")) == 200
    assert client.read(DataReceived, names).data == b"/names/x"
    line = gateway.line("/waits/b")
    assert (line["protocol"], line["reason"]) == ("HTTP/2.0", "cut")


def test_a_stop_gives_requests_their_grace_and_cuts_each(scene):
    gateway, admin, client = scene
    streams = [client.ask(path) for path in ("/waits/a", "/waits/b")]
    eventually(lambda: len(admin.get("/v1/requests")["requests"]) == 2, "both requests")
    gateway.signal(signal.SIGTERM)
    assert client.read(GoAwayReceived).code == NO_ERROR
    assert [client.status(stream) for stream in streams] == [503, 503]
    for path in ("/waits/a", "/waits/b"):
        gateway.wait_for_line(f"GET {path}: cut, not finished within grace")
    assert gateway.wait() == 0


@pytest.fixture
def site(tmp_path):
    """A gateway with an address for h2c, one for TLS, and one for h2c behind a proxy; and the client's TLS."""
    authority = Authority(tmp_path)
    for name in ("a.test", "admin.test"):
        authority.issue(name)
    context = ssl.create_default_context(cafile=str(authority.path))
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(*authority.issue("alice", file="client"))
    (tmp_path / "handlers.py").write_text(HANDLERS)
    tls, proxied = free_port(), free_port()

    class Site(RunningGateway):
        words = f"h2c, 127.0.0.1:{tls} tls=a, 127.0.0.1:{proxied} proxy h2c"

    with Site(TLS, tmp_path) as gateway:
        yield gateway.port, tls, proxied, context


def test_hosts_policies_and_identities_are_those_of_each_request(site, connect):
    _, tls, _, context = site
    client = connect(tls, context=context, name="a.test")
    for _ in range(2):  # the second head is an index of the first
        status, headers, text = client.get("/", "a.test", {"X-Client-Subject": "CN=mallory"})
        assert (status, text) == (200, "127.0.0.1 https HTTP/2.0 None")
        assert headers["strict-transport-security"] == "max-age=31536000"
        status, headers, _ = client.get("/", "admin.test")
        assert (status, headers["strict-transport-security"]) == (421, "max-age=31536000")
    admin = connect(tls, context=context, name="admin.test")
    status, headers, text = admin.get("/", "admin.test", {"X-Client-Subject": "CN=mallory"})
    assert (status, "strict-transport-security" in headers) == (200, False)
    assert text.startswith("127.0.0.1 https HTTP/2.0 ")
    assert "alice" in text
    assert "mallory" not in text
    assert admin.get("/", "a.test")[0] == 421


def test_plain_addresses_serve_no_host_that_requires_a_certificate(site, connect):
    plain, _, behind_proxy, _ = site
    client = connect(plain)
    assert client.get("/", "a.test")[::2] == (200, "127.0.0.1 http HTTP/2.0 None")
    assert client.get("/", "admin.test")[0] == 421
    proxied = connect(behind_proxy, before=b"PROXY TCP4 198.51.100.7 192.0.2.1 5000 80\r\n")
    assert proxied.get("/", "a.test")[::2] == (200, "198.51.100.7 http HTTP/2.0 None")
    assert proxied.get("/", "admin.test")[0] == 421
