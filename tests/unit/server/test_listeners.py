"""The protocols that the listener of each address serves, and what its handshakes offer."""

import ssl
from types import SimpleNamespace

import pytest

from gproxy.config import load
from gproxy.http.trust import Trust
from gproxy.runtime import Runtime
from gproxy.server import listeners as module
from gproxy.server.listeners import Listeners
from gproxy.testing.authority import Authority

INI = """\
[server]
bind = :8443 tls, :8080 h2c, :8081, :8082 proxy h2c
http2 = {http2}
[gateway]
trusted_proxies = 10.0.0.0/8
[tls:a]
certificate = {pair[0]}
key = {pair[1]}
[upstream:a]
backends = http://10.0.0.1
[route:a]
path = /
upstream = a
"""


def streams(connection):
    """Stand for a protocol with streams."""


@pytest.fixture
def pair(tmp_path):
    return Authority(tmp_path).issue("a.test")


@pytest.fixture
def made(tmp_path, pair, monkeypatch):
    """Listeners by what [server] http2 says."""
    opened = []
    monkeypatch.setattr(module, "MULTIPLEXED", {"h2": f"{__name__}:streams"})

    def make(http2):
        path = tmp_path / "g.ini"
        path.write_text(INI.format(http2=http2, pair=pair))
        settings, gateway = load(path, builtins=()), SimpleNamespace(trust=Trust(()))
        gateway.router = SimpleNamespace(routes=[])
        opened.append(Listeners(settings, gateway, Runtime()))
        return opened[-1], settings.server.bind

    yield make
    for one in opened:
        one.close()


def chosen(listeners, *offered):
    """The protocol that a handshake agrees on."""
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols(offered)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = listeners._tls_hosts.default("").context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    for end in (theirs, ours, theirs, ours):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return theirs.selected_alpn_protocol()


def test_what_each_address_serves(made):
    listeners, addresses = made("yes")
    assert [listeners._protocols(address) for address in addresses] == [
        {"h2": streams}, {"h2c": streams}, {}, {"h2c": streams},
    ]  # fmt: skip


def test_the_option_is_about_alpn_only(made):
    listeners, addresses = made("no")
    assert [listeners._protocols(address) for address in addresses] == [{}, {"h2c": streams}, {}, {"h2c": streams}]


@pytest.mark.parametrize(
    ("http2", "offered", "agreed"),
    [
        ("yes", ["http/1.1", "h2"], "h2"),
        ("yes", ["http/1.1"], "http/1.1"),
        ("no", ["h2", "http/1.1"], "http/1.1"),
        ("no", ["http/1.0"], "http/1.0"),
    ],
)
def test_what_a_handshake_agrees_on(made, http2, offered, agreed):
    listeners, _ = made(http2)
    assert chosen(listeners, *offered) == agreed
