"""Revocation lists: what is wrong with them is reported with its line, before a handshake depends on them."""

import datetime as dt
import math
import ssl
import time

import pytest

from gproxy.config.certificates import read_certificate
from gproxy.config.revocation_lists import outdated, read_lists
from gproxy.config.sections.tls import TLSSettings
from gproxy.testing.authority import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_a_list_is_read_and_has_an_end(authority):
    crt, _ = authority.issue("client")
    lists = read_lists(authority.revoke(crt), authority.path, time.time())
    assert lists.warnings == ()
    assert 86_000 < lists.expires - time.time() < 86_401


def test_an_outdated_list_is_a_warning(authority):
    path = authority.revoke(days=(-3, -1))
    (warning,) = read_lists(path, authority.path, time.time()).warnings
    assert warning.startswith("client_crl: a list is outdated since 2")
    assert read_lists(path, authority.path, time.time() - 100_000).warnings == ()


def test_the_message_for_an_outdated_list_has_its_date():
    moment = dt.datetime(2026, 3, 4, 5, 6, tzinfo=dt.UTC).timestamp()
    text = "client_crl: a list is outdated since 2026-03-04 05:06 UTC; handshakes with its certificates fail"
    assert outdated(moment) == text


def test_an_authority_without_a_list_is_a_warning(tmp_path, authority):
    path = authority.revoke()
    other = Authority(tmp_path, "other")
    both = tmp_path / "both.pem"
    both.write_bytes(authority.path.read_bytes() + other.path.read_bytes())
    warnings = read_lists(path, both, time.time()).warnings
    assert warnings == ("client_crl: has no list of CN=other, so handshakes with its certificates fail",)
    path.write_bytes(path.read_bytes() + other.revoke().read_bytes())
    assert read_lists(path, both, time.time()).warnings == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder, authority: b"", "holds no readable revocation list in PEM form"),
        (
            lambda folder, authority: b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "holds no readable revocation list in PEM form",
        ),
        (
            lambda folder, authority: authority.revoke().read_bytes() + authority.path.read_bytes(),
            "holds a certificate; expected only revocation lists",
        ),
        (
            lambda folder, authority: Authority(folder / "forged", "authority").revoke().read_bytes(),
            "the list of CN=authority is not signed by an authority in client_ca",
        ),
    ],
)
def test_what_cannot_be_used(tmp_path, authority, make, message):
    (tmp_path / "forged").mkdir()
    path = tmp_path / "lists"
    path.write_bytes(make(tmp_path, authority))
    with pytest.raises(ValueError, match=message) as raised:
        read_lists(path, authority.path, 0.0)
    assert str(raised.value).startswith("client_crl: ")


def test_a_list_that_is_not_valid_yet_is_a_warning(authority):
    path = authority.revoke(days=(1, 2))
    (warning,) = read_lists(path, authority.path, time.time()).warnings
    assert warning.startswith("client_crl: the list of CN=authority is not valid before 2")
    assert read_lists(path, authority.path, time.time() + 100_000).warnings == ()


def test_of_several_lists_of_an_authority_the_current_one_counts(authority):
    old = authority.revoke(days=(-3, -1)).read_bytes()
    path = authority.revoke()
    path.write_bytes(old + path.read_bytes())
    lists = read_lists(path, authority.path, time.time())
    assert (lists.warnings, lists.expires > time.time()) == ((), True)


def test_a_forged_list_is_found_beside_a_signed_one_of_the_same_name(tmp_path, authority):
    (tmp_path / "forged").mkdir()
    path = authority.revoke()
    path.write_bytes(Authority(tmp_path / "forged", "authority").revoke().read_bytes() + path.read_bytes())
    with pytest.raises(ValueError, match="the list of CN=authority is not signed by an authority"):
        read_lists(path, authority.path, time.time())


def test_a_list_of_an_unknown_version(authority):
    path = authority.revoke()
    der = bytearray(ssl.PEM_cert_to_DER_cert(path.read_text().replace("X509 CRL", "CERTIFICATE")))
    der[der.index(b"\2\1\1") + 2] = 7
    path.write_text(ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "X509 CRL"))
    with pytest.raises(ValueError, match="holds no readable revocation list"):
        read_lists(path, authority.path, 0.0)


def test_a_part_that_openssl_cannot_read_is_an_error_of_the_option(authority):
    crt, key = authority.issue("a.test")
    path = authority.revoke()
    path.write_bytes(path.read_bytes() + path.read_bytes()[:100])
    settings = TLSSettings("a", crt, key, client_ca=authority.path, client_auth="required", client_crl=path)
    with pytest.raises(ValueError, match=r"client_crl: .* has a broken part, perhaps a list that is cut off"):
        read_certificate(settings, time.time())


def test_a_missing_file(tmp_path, authority):
    with pytest.raises(ValueError, match="cannot be read: no such file or directory"):
        read_lists(tmp_path / "absent", authority.path, 0.0)


def test_the_context_checks_the_whole_chain(tmp_path, authority):
    crt, key = authority.issue("a.test")
    options = {"client_ca": authority.path, "client_auth": "required"}
    without = read_certificate(TLSSettings("a", crt, key, **options), time.time())
    assert (without.lists.expires, without.context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN) == (math.inf, 0)
    checked = read_certificate(TLSSettings("a", crt, key, **options, client_crl=authority.revoke()), time.time())
    assert checked.context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN
    assert checked.lists.expires < math.inf


def test_lists_without_authorities_have_no_effect(authority):
    crt, key = authority.issue("a.test")
    with pytest.raises(ValueError, match="has no effect without client_ca"):
        TLSSettings("a", crt, key, client_crl=authority.revoke())
