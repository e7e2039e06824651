"""Certificates on disk: what can be wrong with them is said with file and line, all of it at once."""

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gproxy.config import ConfigError, load
from gproxy.testing.authority import Authority

INI = """[server]
bind = {bind}
[gateway]
trusted_proxies = {trusted}
[route:r]
upstream = u
[upstream:u]
backends = http://localhost:9
"""


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def outcome(folder, *sections, bind=":8443 tls", trusted="", level="problem"):
    """The messages, each with its section, option and line below [tls:a]."""
    path = folder / "g.ini"
    path.write_text(INI.format(bind=bind, trusted=trusted) + "".join(sections))
    try:
        found = load(path, builtins=()).warnings
    except ConfigError as error:
        assert level == "problem"
        found = error.problems
    return [(one.line, one.section, one.option, one.message.replace(f"{folder}/", "")) for one in found]


def section(name, pair, *options):
    crt, key = pair
    return "\n".join([f"[tls:{name}]", f"certificate = {crt}", f"key = {key}", *options, ""])


def test_a_good_pair(tmp_path, authority):
    pair = authority.issue("a.test", "*.b.test", "127.0.0.1")
    assert outcome(tmp_path, section("a", pair), level="fine") == []


def test_key_and_certificate_in_one_file(tmp_path, authority):
    crt, key = authority.issue("a.test")
    key.write_bytes(key.read_bytes() + crt.read_bytes())
    assert outcome(tmp_path, f"[tls:a]\ncertificate = {key}\n", level="fine") == []


def test_what_cannot_be_used(tmp_path, authority):
    crt, key = authority.issue("a.test")
    _, other = authority.issue("b.test")
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    locked = tmp_path / "locked"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    sections = [
        section("a", (tmp_path / "absent", key)),
        section("b", (crt, tmp_path / "absent")),
        section("c", (crt, other)),
        section("d", (empty, key)),
        section("e", (crt, empty)),
        section("f", (crt, locked)),
        section("g", (tmp_path, key)),
        section("h", (crt, key), "ciphers = NONE-OF-THEM"),
        section("i", (crt, key), "client_auth = required", f"client_ca = {empty}"),
        section("j", (crt, key), "client_auth = required", "client_ca = absent"),
    ]
    assert outcome(tmp_path, *sections) == [
        (10, "tls:a", "certificate", "absent cannot be read: no such file or directory"),
        (14, "tls:b", "key", "absent cannot be read: no such file or directory"),
        (17, "tls:c", "key", "does not match the certificate"),
        (19, "tls:d", "certificate", "empty holds no readable certificate in PEM form; it is empty"),
        (23, "tls:e", "key", "empty holds no readable private key in PEM form"),
        (26, "tls:f", "key", "the private key is encrypted, which is not supported; expected an unencrypted one"),
        (28, "tls:g", "certificate", f"{tmp_path} cannot be read: is a directory"),
        (33, "tls:h", "ciphers", "OpenSSL supports none of 'NONE-OF-THEM'"),
        (38, "tls:i", "client_ca", "empty holds no readable certificate in PEM form"),
        (43, "tls:j", "client_ca", "absent cannot be read: no such file or directory"),
    ]


def test_what_a_file_without_certificate_holds(tmp_path, authority):
    crt, key = authority.issue("a.test")
    der = tmp_path / "der"
    der.write_bytes(x509.load_pem_x509_certificate(crt.read_bytes()).public_bytes(serialization.Encoding.DER))
    sections = [section("a", (key, crt)), section("b", (der, key)), section("c", ("no.crt", "no.key"))]
    none = "holds no readable certificate in PEM form"
    assert outcome(tmp_path, *sections) == [
        (10, "tls:a", "certificate", f"a.test.key {none}; it holds a private key"),
        (13, "tls:b", "certificate", f"der {none}; openssl x509 -inform der -in der writes DER as PEM"),
        (16, "tls:c", "certificate", "no.crt cannot be read: no such file or directory"),
        (17, "tls:c", "key", "no.key cannot be read: no such file or directory"),
    ]


def test_what_is_unwise(tmp_path, authority):
    old, new = authority.issue("old.test", days=(-9, -2)), authority.issue("new.test", days=(2, 9))
    nameless = authority.issue(file="nameless", subject=[(authority._name.rdns[0]._attributes[0].oid, "x")])
    nameless[1].chmod(0o644)
    found = outcome(tmp_path, section("a", old), section("b", new), section("c", nameless), level="warning")
    assert [(line, option, message.partition(" 20")[0]) for line, _, option, message in found] == [
        (10, "certificate", "expired on"),
        (13, "certificate", "is not valid before"),
        (
            15,
            "hosts",
            "the certificate names no host, so it serves only clients whose server name no other section has",
        ),
        (17, "key", "nameless.key is readable by every user; run chmod 600"),
    ]


def test_a_host_belongs_to_one(tmp_path, authority):
    first, second = authority.issue("a.test", "b.test"), authority.issue("B.test", "c.test", file="second")
    assert outcome(tmp_path, section("a", first), section("b", second)) == [
        (12, "tls:b", "hosts", "b.test already belongs to [tls:a] at line 9; set hosts to assign it")
    ]
    assert outcome(tmp_path, section("a", first), section("b", second, "hosts = c.test"), level="fine") == []


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        (":1 tls=b", ":1 tls=b: unknown; known: a"),
        (
            ":1 tls, :2 proxy",
            ":2 proxy: no peer may send a PROXY header; list the proxies in [gateway] trusted_proxies",
        ),
    ],
)
def test_words_that_lead_nowhere(tmp_path, authority, bind, message):
    found = outcome(tmp_path, section("a", authority.issue("a.test")), bind=bind)
    assert found == [(2, "server", "bind", message)]


def test_tls_without_a_certificate(tmp_path):
    message = ":1 tls: there is no certificate; write a [tls:NAME] section"
    assert outcome(tmp_path, bind=":1 tls") == [(2, "server", "bind", message)]


def test_a_proxy_header_may_come_over_a_unix_socket(tmp_path):
    assert outcome(tmp_path, bind="unix:/tmp/g proxy", level="fine") == []
    assert outcome(tmp_path, bind=":1 proxy", trusted="10.0.0.0/8", level="fine") == []


def test_a_certificate_that_nobody_shows(tmp_path, authority):
    found = outcome(tmp_path, section("a", authority.issue("a.test")), bind=":1 redirect", level="warning")
    assert found == [(9, "tls:a", "", "no address in [server] bind has tls, so this section has no effect")]


def test_the_context_is_strict(authority):
    from pathlib import Path

    from gproxy.config.certificates import read_certificate
    from gproxy.config.sections.tls import TLSSettings

    crt, key = authority.issue("a.test")
    certificate = read_certificate(TLSSettings("t", Path(crt), Path(key), min_version="TLSv1.3"), 0.0)
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert certificate.context.options & ssl.OP_NO_RENEGOTIATION
    assert certificate.names == ("a.test",)
    assert [warning.partition(":")[0] for warning in certificate.warnings] == ["certificate"]
