"""What a client's certificate says, in a form that fits into a header line."""

import base64
import hashlib
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gproxy.http.headers import Headers
from gproxy.http.tls import ClientCertificate
from gproxy.testing.authority import Authority


def certificate(folder, *subject, names=()):
    crt, _ = Authority(folder, "An authority").issue(*names, file="client", subject=subject)
    return ClientCertificate(x509.load_pem_x509_certificate(crt.read_bytes()).public_bytes(Encoding.DER))


def test_facts(tmp_path):
    client = certificate(tmp_path, (NameOID.ORGANIZATION_NAME, "Example, Inc."), (NameOID.COMMON_NAME, "alice"))
    assert client.subject == "CN=alice,O=Example\\, Inc."
    assert client.issuer == "CN=An authority"
    assert client.fingerprint == hashlib.sha256(client.der).hexdigest()
    assert int(client.serial, 16) > 0
    assert client.certificate.startswith(":MII")
    assert client.certificate.endswith(":")
    assert repr(client) == "<ClientCertificate CN=alice,O=Example\\, Inc.>"


def test_the_names_of_a_certificate(tmp_path):
    names = ("a.test", "b.test", "alice@a.test", "spiffe://a.test/x", "127.0.0.1")
    subject = ((NameOID.COMMON_NAME, "alice"), (NameOID.COMMON_NAME, "b, c"), (NameOID.EMAIL_ADDRESS, "a@b.test"))
    client = certificate(tmp_path, *subject, names=names)
    assert (client.cn, client.dns, client.uri) == (("alice", "b, c"), ("a.test", "b.test"), ("spiffe://a.test/x",))
    assert client.email == ("alice@a.test", "a@b.test")
    facts = ("cn", "dns", "email", "uri", "serial")
    assert [client.field(fact) for fact in facts] == [
        "alice,b\\, c",
        "a.test,b.test",
        "alice@a.test,a@b.test",
        "spiffe://a.test/x",
        client.serial,
    ]


def test_a_certificate_without_names(tmp_path):
    client = certificate(tmp_path, (NameOID.ORGANIZATION_NAME, "Example"))
    assert [client.field(fact) for fact in ("cn", "dns", "email", "uri")] == [""] * 4


def test_the_thumbprint_and_the_date_are_those_of_openssl(tmp_path):
    client = certificate(tmp_path, (NameOID.COMMON_NAME, "alice"))
    (tmp_path / "der").write_bytes(client.der)
    command = ["openssl", "x509", "-inform", "der", "-in", tmp_path / "der", "-noout"]
    said = subprocess.run([*command, "-fingerprint", "-sha256"], capture_output=True, text=True, check=True).stdout
    digest = bytes.fromhex(said.strip().partition("=")[2].replace(":", ""))
    assert client.thumbprint == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert subprocess.run([*command, "-checkend", "86000"], check=False).returncode == 0
    assert x509.load_der_x509_certificate(client.der).not_valid_after_utc.timestamp() == client.expires


@pytest.mark.parametrize(
    ("common_name", "names", "rest"),
    [
        ("alice", (), 'Subject="CN=alice"'),
        ("alice", ("spiffe://a/b", "a.test", "b.test"), 'Subject="CN=alice";URI=spiffe://a/b;DNS=a.test;DNS=b.test'),
        ('a"b', (), 'Subject="CN=a\\22b"'),
        ("a\\", (), 'Subject="CN=a\\5C"'),
        ("a\\22", (), 'Subject="CN=a\\5C22"'),
        ("a,b;c", (), 'Subject="CN=a\\2Cb\\3Bc"'),
        ("a", ('urn://x?a=1;b="2"',), 'Subject="CN=a";URI="urn://x?a=1;b=%222%22"'),
        ("a", ("urn://x,y",), 'Subject="CN=a";URI=urn://x%2Cy'),
        ("Ä\r\n", (), 'Subject="CN=\\C3\\84\\0D\\0A"'),
    ],
)
def test_an_element_of_xfcc(tmp_path, common_name, names, rest):
    client = certificate(tmp_path, (NameOID.COMMON_NAME, common_name), names=names)
    assert client.field("xfcc") == f"Hash={client.fingerprint};{rest}"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a\r\nX-Role: admin", "CN=a\\0D\\0AX-Role: admin"),
        ("Jürgen", "CN=J\\C3\\BCrgen"),
        ("a\0b", "CN=a\\00b"),
        ("a,CN=root", "CN=a\\,CN\\=root"),
        ("\N{SNOWMAN}", "CN=\\E2\\98\\83"),
        ("a\x7f\x85", "CN=a\\7F\\C2\\85"),
    ],
)
def test_a_name_cannot_leave_its_header(tmp_path, name, written):
    client = certificate(tmp_path, (NameOID.COMMON_NAME, name))
    assert client.subject.replace("CN=a\\,CN=", "CN=a\\,CN\\=") == written
    assert f"CN={client.field('cn')}" == client.subject
    assert Headers({"X-Client-Subject": client.subject}).items() == [("X-Client-Subject", client.subject)]


def test_bytes_that_are_no_certificate():
    with pytest.raises(ValueError, match="parsing"):
        _ = ClientCertificate(b"x").subject
