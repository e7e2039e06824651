import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from gproxy.identity.key_sets.pem import public_key
from gproxy.state.secret_file import kept_secret


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_kept_from_others(tmp_path):
    path = tmp_path / "var" / "jwt.secret"
    secret = kept_secret(path)
    assert len(secret) >= 64
    assert secret.isascii()
    assert kept_secret(path) == secret
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert os.listdir(path.parent) == ["jwt.secret"]


def test_two_files_two_secrets(tmp_path):
    assert kept_secret(tmp_path / "a") != kept_secret(tmp_path / "b")


def test_workers_that_start_together_get_the_same_secret(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(lambda _: kept_secret(tmp_path / "s"), range(64)))) == 1


def test_a_second_worker_waits_until_the_first_has_written(tmp_path):
    secret = "s" * 86
    with ThreadPoolExecutor(1) as threads, open(tmp_path / "s", "w") as first:
        os.chmod(tmp_path / "s", 0o600)
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threads.submit(kept_secret, tmp_path / "s")
        with pytest.raises(TimeoutError):
            second.result(0.02)
        first.write(secret)
        first.close()
        assert second.result() == secret


def test_a_loose_mode_is_mended_and_warned_of(tmp_path, caplog):
    path = tmp_path / "s"
    secret = kept_secret(path)
    assert caplog.messages == []
    path.chmod(0o640)
    assert kept_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert caplog.messages == [
        f"others could access {path}; it has mode 0600 now. Remove it and restart to get a new secret"
    ]


@pytest.mark.parametrize("fails", [True, False])
def test_a_secret_that_cannot_be_closed_to_others_is_not_used(tmp_path, monkeypatch, fails):
    def fchmod(descriptor, mode):
        if fails:
            raise PermissionError(1, "Operation not permitted")

    kept_secret(tmp_path / "s")
    (tmp_path / "s").chmod(0o644)
    monkeypatch.setattr(os, "fchmod", fchmod)
    with pytest.raises(ValueError, match=r"others can access the one stored in .*/s, .*; chmod 600 it"):
        kept_secret(tmp_path / "s")


def test_a_file_that_was_cut_off(tmp_path):
    (tmp_path / "s").write_text("short")
    with pytest.raises(ValueError, match="is truncated; remove the file"):
        kept_secret(tmp_path / "s")


def test_a_place_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="it cannot be stored in"):
        kept_secret(tmp_path / "file" / "s")


PRIVATE = ec.generate_private_key(ec.SECP256R1())


def certificate():
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, PRIVATE.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(PRIVATE, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "pem", [PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), certificate()]
)
def test_a_public_key_and_a_certificate(tmp_path, pem):
    (tmp_path / "key.pem").write_bytes(pem)
    assert public_key(tmp_path / "key.pem") == PRIVATE.public_key()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "a PEM public key or certificate is expected"),
        (b"secret", "a PEM public key or certificate is expected"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "a PEM public key or certificate is expected",
        ),
        (PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "holds a private key"),
        (PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()), "holds a private key"),
    ],
)
def test_no_public_key(tmp_path, content, complaint):
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        public_key(tmp_path / "key.pem")


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: no such file"):
        public_key(tmp_path / "key.pem")
