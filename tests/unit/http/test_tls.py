"""What a client's certificate says, in a form that fits into a header line."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gproxy.http.headers import Headers
from gproxy.http.tls import ClientCertificate
from gproxy.testing.authority import Authority


def certificate(folder, *subject):
    crt, _ = Authority(folder, "An authority").issue(file="client", subject=subject)
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
    assert Headers({"X-Client-Subject": client.subject}).items() == [("X-Client-Subject", client.subject)]
