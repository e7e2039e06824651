"""The facts of certificates, as trusted proxies write them: RFC 9440 and Envoy's documentation."""

import base64
import subprocess
import time
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.tls import ClientCertificate
from gproxy.identity.client_certificates import read_facts
from gproxy.identity.errors import Untrusted
from gproxy.testing.authority import Authority

#: The example of RFC 9440, figure 1.
RFC_9440 = (
    ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaW"
    "F0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXf"
    "aUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGD"
    "AWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW"
    "1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuyd"
    "BVoU4hBVZ1yhk=:"
)
HASH = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    subject = [(NameOID.COMMON_NAME, "alice"), (NameOID.ORGANIZATION_NAME, "Example")]
    crt, _ = Authority(folder).issue("alice@a.test", "spiffe://a/alice", "b.test", file="alice", subject=subject)
    return crt.read_text()


def made_by_openssl(folder, *options):
    """The bytes of a certificate, and OpenSSL's options for it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]
    command += ["key", "-out", "crt", "-outform", "der", "-subj", "/CN=odd", *options]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return (folder / "crt").read_bytes()


def der(pem):
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def test_the_example_of_the_rfc():
    facts = read_facts(RFC_9440)
    assert (facts.claims["subject"], facts.claims["cn"], facts.claims["email"]) == (
        "CN=BC",
        ["BC"],
        ["bdc@example.com"],
    )
    assert facts.claims["issuer"] == "CN=LA Intermediate CA,O=Let's Authenticate"
    assert (facts.claims["serial"], facts.expires) == ("7", 1611442533)


def test_all_claims_of_a_certificate(certificate):
    client = ClientCertificate(der(certificate))
    claims = read_facts(client.certificate).claims
    assert claims == {
        "subject": "O=Example,CN=alice",
        "issuer": "CN=authority",
        "serial": client.serial,
        "fingerprint": client.fingerprint,
        "cn": ["alice"],
        "dns": ["b.test"],
        "email": ["alice@a.test"],
        "uri": ["spiffe://a/alice"],
    }


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        (
            f"By=http://frontend.lyft.com;Hash={HASH};URI=http://testclient.lyft.com",
            {"fingerprint": HASH, "uri": ["http://testclient.lyft.com"]},
        ),
        (
            f'By=http://a;Hash={HASH};Subject="CN=Test Client,OU=Lyft,L=San Francisco";URI=http://a;DNS=a.com;DNS=b.a.com',
            {
                "fingerprint": HASH,
                "uri": ["http://a"],
                "dns": ["a.com", "b.a.com"],
                "subject": "CN=Test Client,OU=Lyft,L=San Francisco",
                "cn": ["Test Client"],
            },
        ),
        (f"Hash={HASH};URI=spiffe://first,By=x;Hash={HASH.upper()};URI=spiffe://last", {"uri": ["spiffe://last"]}),
        ('Subject="CN=a\\"b,c;d"', {"subject": 'CN=a"b,c;d'}),
        ('Subject="/C=US/CN=Old Envoy";URI=', {"subject": "/C=US/CN=Old Envoy", "cn": [], "uri": []}),
        ("Hash=00;Hash=11", {"fingerprint": "00"}),
        ('DNS="a.test", DNS="b.test"', {"dns": ["b.test"]}),
    ],
)
def test_elements_of_envoy(text, claims):
    found = read_facts(text).claims
    assert {name: found.get(name) for name in claims} == claims


def test_what_we_send_as_xfcc_is_read_again(certificate):
    client = ClientCertificate(der(certificate))
    claims = read_facts(client.xfcc).claims
    assert (claims["subject"], claims["fingerprint"]) == (client.subject, client.fingerprint)
    assert (claims["uri"], claims["dns"], claims["cn"]) == (["spiffe://a/alice"], ["b.test"], ["alice"])


def test_a_whole_certificate_in_xfcc_counts_more(certificate):
    client = ClientCertificate(der(certificate))
    text = f'By=a;Hash={client.fingerprint};Cert="{quote(certificate, safe="")}";Subject="CN=other"'
    facts = read_facts(text)
    assert (facts.claims["subject"], facts.expires) == ("O=Example,CN=alice", client.expires)
    with pytest.raises(Untrusted, match="hash is that of another"):
        read_facts(text.replace(client.fingerprint, HASH))


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "::", ":AA==:", ":A:", ":AA==", "AA==", RFC_9440[:-1], RFC_9440 + ";a=1", "Hash", "Hash=", "By=a",
        f"Hash={HASH};", f"Hash={HASH},", f"Hash={HASH};;DNS=a", 'Subject="CN=a', 'Subject=CN="a"', "Hash=a=b;x",
        'Cert="x"', "Hash=00,By=x",
    ],
)  # fmt: skip
def test_anything_else_is_no_certificate(text):
    with pytest.raises(Untrusted):
        read_facts(text)


@given(st.text(st.sampled_from('HashURIDNSCertSubjectBy=;,"\\:% ab01'), max_size=60))
def test_no_text_does_harm(text):
    try:
        facts = read_facts(text)
    except Untrusted:
        return
    assert any(facts.claims.values())


@pytest.mark.parametrize(
    ("fact", "user"), [("subject", "O=Example,CN=alice"), ("cn", "alice"), ("dns", "b.test"), ("email", "alice@a.test")]
)
def test_the_name_of_the_client(certificate, fact, user):
    assert read_facts(ClientCertificate(der(certificate)).certificate).name(fact) == user


def test_a_certificate_without_that_name():
    with pytest.raises(Untrusted, match="it has no dns"):
        read_facts(RFC_9440).name("dns")
    with pytest.raises(Untrusted, match="it has no serial"):
        read_facts(f"Hash={HASH}").name("serial")


def test_a_kind_of_name_that_cannot_be_read_leaves_the_rest(tmp_path):
    names = "subjectAltName=DER:30:0B:A5:05:A1:03:0C:01:61:82:02:61:62"  # an ediPartyName before a DNS name
    claims = read_facts(ClientCertificate(made_by_openssl(tmp_path, "-addext", names)).certificate).claims
    assert (claims["cn"], claims["dns"]) == (["odd"], [])


def test_a_certificate_of_an_unknown_version_is_rejected(tmp_path):
    made = bytearray(made_by_openssl(tmp_path))
    made[made.index(b"\xa0\3\2\1\2") + 4] = 9
    with pytest.raises(Untrusted, match="malformed"):
        read_facts(f":{base64.b64encode(made).decode()}:")


def test_the_time_for_a_long_element_grows_with_its_length():
    started = time.process_time()
    with pytest.raises(Untrusted, match="malformed"):
        read_facts(f'Cert="-----BEGIN CERTIFICATE-----{" " * 30_000}"')
    assert time.process_time() - started < 1  # 9 s while each blank could end the first line
