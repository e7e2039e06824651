"""TLS contexts that resume sessions, and the kinds of TLS errors."""

import ssl

import pytest

from gproxy.upstream.errors import AlertError, CertificateError, TLSError
from gproxy.upstream.http1 import tls_session
from gproxy.upstream.http1.tls_session import OFFERS, ResumingContext, as_tls_error, is_alert, new_context


def tls_error(reason, kind=ssl.SSLError):
    error = kind(1, "text")
    error.reason = reason
    return error


def certificate_error(code, message):
    error = tls_error("CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError)
    error.verify_code, error.verify_message = code, message
    return error


def test_an_alert_is_what_the_backend_sends():
    assert is_alert(tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert not is_alert(tls_error("WRONG_VERSION_NUMBER"))
    assert not is_alert(tls_error(None))
    assert not is_alert(OSError("ALERT_"))


def test_an_alert_becomes_readable():
    error = as_tls_error(tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert type(error) is AlertError
    assert str(error).endswith(" certificate required")


@pytest.mark.parametrize(
    ("code", "text"), [(10, "expired"), (18, "unknown CA: expired"), (20, "unknown CA: expired"), (62, "expired")]
)
def test_a_certificate_without_a_trusted_issuer_is_of_an_unknown_ca(code, text):
    error = as_tls_error(certificate_error(code, "expired"))
    assert type(error) is CertificateError
    assert str(error) == text


def test_other_errors_are_plain_tls_errors():
    error = tls_error("WRONG_VERSION_NUMBER")
    assert type(as_tls_error(error)) is TLSError
    assert as_tls_error(error).args == (error,)


@pytest.mark.parametrize("can_resume", [True, False])
def test_a_context_verifies_and_resumes_where_python_can(monkeypatch, can_resume):
    monkeypatch.setattr(tls_session, "CAN_RESUME", can_resume)
    context = new_context()
    assert isinstance(context, ResumingContext) is can_resume
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize("can_resume", [True, False])
def test_a_context_offers_its_own_protocols_whatever_urllib3_wants(monkeypatch, can_resume):
    monkeypatch.setattr(tls_session, "CAN_RESUME", can_resume)
    offered = []
    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", lambda _, protocols: offered.append(protocols))
    for offers in OFFERS.values():
        new_context(offers).set_alpn_protocols(["http/1.1"])
    new_context().set_alpn_protocols(["http/1.1"])
    assert offered == [("http/1.1",), ("h2",), ("h2", "http/1.1"), ("http/1.1",)]


def test_a_host_is_offered_the_session_it_had(monkeypatch):
    offered = []
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", lambda _, sock, **options: offered.append((sock, options)))
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions["a.test"] = "session"
    context.wrap_socket("sock", server_hostname="a.test")
    context.wrap_socket("sock", server_hostname="b.test", suppress_ragged_eofs=False)
    assert offered == [
        ("sock", {"server_hostname": "a.test", "session": "session"}),
        ("sock", {"server_hostname": "b.test", "session": None, "suppress_ragged_eofs": False}),
    ]
