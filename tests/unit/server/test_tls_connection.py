"""A TLS handshake before the first request: which host answers, and what is rejected."""

import socket
import ssl
from functools import partial, partialmethod
from types import SimpleNamespace

import gevent
import pytest

from gproxy.config.revocation_lists import NO_LISTS
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.types import Seconds
from gproxy.http.errors import BadMessage
from gproxy.http.headers import Headers
from gproxy.server.tls_connection import TLSClientConnection
from gproxy.server.tls_hosts import TLSHost, TLSHosts
from gproxy.testing.authority import Authority

GET = b"GET /x HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"


class Certificate:
    """A certificate with its context."""

    warnings = ()
    lists = NO_LISTS

    def __init__(self, names, files, client_ca=None):
        self.names = names
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*files)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_OPTIONAL


class Site:
    """Two hosts: a.test, the default, with HSTS, and b.test, which asks clients for a certificate."""

    def __init__(self, folder):
        authority = Authority(folder)
        self.ca = authority.path
        self.client_files = authority.issue("client.test", file="client")
        a, b = authority.issue("a.test"), authority.issue("b.test")
        self.default = TLSHost(TLSSettings("a", a[0], hsts=Seconds(60)), Certificate(("a.test",), a))
        settings = TLSSettings(
            "b", b[0], client_ca=self.ca, client_auth="optional", forward={"subject": "X-Client-Subject"}
        )
        self.hosts = TLSHosts([self.default, TLSHost(settings, Certificate(("b.test",), b, self.ca))])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secured(scene, site):
    def make(**settings):
        options = {"trusted_proxies": None, "tls_hosts": site.hosts, "default": site.default}
        return scene(TLSClientConnection, options=options, **settings)

    return make


def converse(some, site, name, data, protocols=(), files=None):
    """What a client gets that asks for `name` and sends `data`."""
    context = ssl.create_default_context(cafile=str(site.ca))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if files:
        context.load_cert_chain(*files)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    serving = gevent.spawn(some.connection.__class__.handle, some.connection)
    some.connection.alarm.greenlet = serving

    def transfer():
        """Send what the client has to send; return whether the server has sent more."""
        if outgoing.pending:
            some.client.sendall(outgoing.read())
        gevent.socket.wait_read(some.client.fileno(), timeout=5)
        received = some.client.recv(1 << 20)
        incoming.write(received)
        return bool(received)

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            transfer()
    tls.write(data)
    some.client.sendall(outgoing.read())
    some.client.shutdown(socket.SHUT_WR)
    while transfer():
        pass
    serving.join()
    got = b""
    while piece := tls.read(1 << 20):
        got += piece
    return got


def test_a_request_over_tls(secured, site):
    some = secured()
    got = converse(some, site, "a.test", GET % b"a.test")
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nStrict-Transport-Security: max-age=60\r\n" in got
    (asked,) = some.gateway.requests
    assert (asked.scheme, asked.received.tls.server_name, asked.received.tls.client) == ("https", "a.test", None)


def test_a_host_that_asks_for_more_is_misdirected(secured, site):
    some = secured()
    assert converse(some, site, "a.test", GET % b"b.test").startswith(b"HTTP/1.1 421 ")
    assert some.gateway.requests == []


def test_the_certificate_of_a_client_is_forwarded(secured, site):
    some = secured()
    got = converse(some, site, "b.test", GET % b"b.test", files=site.client_files)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"Strict-Transport-Security" not in got
    (asked,) = some.gateway.requests
    assert "client.test" in asked.headers["X-Client-Subject"]
    assert asked.received.headers.get("x-client-subject") is None


def hello(protocols=()):
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test").do_handshake()
    return outgoing.read()


def answer(some, data):
    """What a client gets that sends these bytes and its end."""
    some.client.sendall(data)
    some.client.shutdown(socket.SHUT_WR)
    some.connection.handle()
    return some.read()


@pytest.mark.parametrize(
    ("data", "alert"),
    [(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", 50), (hello(["h2"]), 120)],
    ids=["no ClientHello", "no common protocol"],
)
def test_a_hello_that_cannot_be_answered_gets_an_alert(secured, data, alert):
    assert answer(secured(), data) == b"\x15\x03\x03\x00\x02\x02" + bytes([alert])


def test_plain_http_is_a_400_in_plain(secured):
    some = secured()
    assert answer(some, GET % b"a.test").startswith(b"HTTP/1.1 400 ")
    assert [facts[0] for facts in some.gateway.rejected] == [400]


def test_a_client_that_closes_within_its_hello_gets_nothing(secured):
    some = secured()
    assert answer(some, hello()[:20]) == b""
    assert some.gateway.rejected == []


def test_over_the_connection_limit_it_closes_without_an_answer(secured):
    some = secured(max_connections=1)
    some.context.connections.admit(SimpleNamespace(peer="192.0.2.9", alarm=SimpleNamespace(greenlet=object())))
    assert answer(some, b"") == b""
    assert some.gateway.rejected == []


def test_a_handshake_has_its_time(secured):
    some = secured(head_timeout=Seconds(0.001))
    some.client.sendall(hello()[:20])
    some.connection.handle()
    assert some.connection._channel._sock.fileno() < 0
    assert some.gateway.rejected == []


class Streams:
    """A protocol with streams that notes what its connection offers, and checks requests."""

    def __init__(self, connection):
        self.connection = connection
        self.tls = self.hsts = None
        self.headers = Headers()
        self.results = []

    def run(self):
        self.tls, self.hsts = self.connection.tls, self.connection.hsts
        for host in ("b.test", "a.test"):
            try:
                self.results.append(self.connection.accept_request(host, self.headers))
            except BadMessage as error:
                self.results.append(error.status)
        self.connection._channel.send(self.connection._channel.receive(100).upper())


@pytest.mark.parametrize(
    ("offered", "is_handed_over"), [(("h2", "http/1.1"), True), (("http/1.1",), False), ((), False)]
)
def test_the_protocol_that_alpn_chooses_serves_the_connection(secured, site, offered, is_handed_over):
    some = secured(protocols={"h2": Streams})
    got = converse(some, site, "a.test", GET % b"a.test", offered)
    streams = some.connection.multiplexed
    assert (streams is not None) is is_handed_over
    if is_handed_over:
        assert got == (GET % b"a.test").upper()
        assert (streams.tls.server_name, streams.hsts) == ("a.test", "max-age=60")
    else:
        assert got.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_offers_only_a_protocol_with_streams_is_served(secured, site):
    assert converse(secured(protocols={"h2": Streams}), site, "a.test", b"x", ["h2"]) == b"X"


def test_each_request_is_checked_and_gets_the_identity(secured, site):
    some = secured(protocols={"h2": Streams})
    converse(some, site, "b.test", b"x", ["h2"], site.client_files)
    streams = some.connection.multiplexed
    assert (streams.results, streams.hsts) == ([True, 421], "")
    assert "client.test" in streams.headers["X-Client-Subject"]


class Reloading(Streams):
    """A protocol that asks for one host twice, of which another section gets the name in between."""

    def __init__(self, hosts, connection):
        super().__init__(connection)
        self.hosts = hosts

    def run(self):
        accept, other = self.connection.accept_request, self.hosts.find("b.test", None)
        before = other.certificate
        self.results = [accept("a.test", self.headers), accept("a.test", self.headers)]
        self.hosts.reload("b", SimpleNamespace(names=("a.test",), lists=NO_LISTS))
        with pytest.raises(BadMessage, match="its own TLS connection"):
            accept("a.test", self.headers)
        self.hosts.reload("b", before)
        self.connection._channel.send(b"checked again")


def test_a_host_is_checked_again_after_a_reload_of_certificates(secured, site):
    some = secured(protocols={"h2": partial(Reloading, site.hosts)})
    assert converse(some, site, "a.test", b"x", ["h2"]) == b"checked again"
    assert some.connection.multiplexed.results == [True, True]


def test_an_expired_certificate_of_a_client_is_misdirected(secured, site):
    some = secured(protocols={"h2": Streams})
    some.connection._runtime.clock = lambda: 1e11
    converse(some, site, "b.test", b"x", ["h2"], site.client_files)
    assert some.connection.multiplexed.results == [421, 421]


def test_other_revocation_lists_end_the_connection_with_the_present_request(secured, site, monkeypatch):
    some = secured(protocols={"h2": Streams})
    monkeypatch.setattr(Streams, "__init__", partialmethod(other_lists, site, Streams.__init__))
    converse(some, site, "b.test", b"x", ["h2"], site.client_files)
    assert some.connection.multiplexed.results == [False, 421]


def other_lists(streams, site, begin, connection):
    """Begin after a reload of the certificate with other lists."""
    begin(streams, connection)
    connection._lists = b"earlier"
