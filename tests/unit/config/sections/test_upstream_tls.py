"""Files of certificates and keys that are not what they should be; each with the option to look at."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.testing.authority import Authority

BACKENDS = (BackendURL("https", "a", 1),)


@pytest.fixture
def folder(tmp_path):
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.issue("client")
    certificate.rename(tmp_path / "cert.pem")
    key.rename(tmp_path / "key.pem")
    (tmp_path / "client.pem").write_text((tmp_path / "cert.pem").read_text() + (tmp_path / "key.pem").read_text())
    authority.issue("other")[1].rename(tmp_path / "other.pem")
    locked = serialization.BestAvailableEncryption(b"secret")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "locked.pem").write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, locked))
    (tmp_path / "text.pem").write_text("no PEM at all")
    return tmp_path


def upstream(folder, files):
    given = {f"tls_{option}": folder / name for option, name in files.items()}
    return construct(UpstreamSettings, name="u", backends=BACKENDS, **given)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca": "gone.pem"}, "tls_ca: {gone.pem} cannot be read: no such file or directory"),
        ({"ca": "."}, "tls_ca: {.} cannot be read: is a directory"),
        ({"ca": "text.pem"}, "tls_ca: {text.pem} holds no certificates in PEM form"),
        ({"ca": "key.pem"}, "tls_ca: {key.pem} holds no certificates in PEM form"),
        ({"cert": "gone.pem"}, "tls_cert: {gone.pem} cannot be read: no such file or directory"),
        ({"cert": "cert.pem", "key": "gone.pem"}, "tls_key: {gone.pem} cannot be read: no such file or directory"),
        ({"cert": "text.pem", "key": "key.pem"}, "tls_cert: {text.pem} holds no certificate in PEM form"),
        ({"cert": "cert.pem"}, "tls_cert: {cert.pem} holds no private key in PEM form, or an encrypted one, which is not supported"),
        ({"cert": "cert.pem", "key": "text.pem"}, "tls_key: {text.pem} holds no private key in PEM form, or an encrypted one, which is not supported"),
        ({"cert": "cert.pem", "key": "locked.pem"}, "tls_key: {locked.pem} holds no private key in PEM form, or an encrypted one, which is not supported"),
        ({"cert": "cert.pem", "key": "other.pem"}, "tls_key: the key in {other.pem} does not match the certificate in {cert.pem}"),
        ({"key": "key.pem"}, "tls_key: has no effect without tls_cert"),
        ({"ca": "gone.pem", "cert": "text.pem"}, "tls_ca: {gone.pem} cannot be read: no such file or directory\ntls_cert: {text.pem} holds no certificate in PEM form"),
    ],
)  # fmt: skip
def test_refused(folder, files, message):
    for name in {*files.values()}:
        message = message.replace("{%s}" % name, str(folder / name))
    with pytest.raises(ValueError) as error:
        upstream(folder, files)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "files", [{"ca": "ca.pem"}, {"cert": "client.pem"}, {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}]
)
def test_accepted(folder, files):
    upstream(folder, files)
