"""The row of the table that each exception leads to."""

import errno
import socket

import pytest
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, SSLError

from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage, ClientGone, HTTPError, Incomplete
from gproxy.http.framing import reader
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.upstream.errors import (
    AlertError,
    CertificateError,
    ExcludedStreamError,
    NotHTTP2Error,
    NoUpgradeError,
    RefusedStreamError,
    StaleConnectionError,
    TLSError,
    UnansweredError,
    UnfinishedUploadError,
)
from gproxy.upstream.failure import NONE_AVAILABLE, as_response_error, failure_of, is_caused_by_client, is_shortage


def caused_by(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "reason", "retryable_as", "counts"),
    [
        (StaleConnectionError(), 502, "backend_reset", "stale", False),
        (ExcludedStreamError(), 502, "backend_reset", "stale", False),
        (RefusedStreamError(), 502, "backend_reset", "stale", True),
        (NotHTTP2Error(), 502, "backend_protocol", "connect", True),
        (NoUpgradeError("tcp"), 502, "backend_protocol", "never", False),
        (UnansweredError(), 502, "backend_reset", "reset", True),
        (UnfinishedUploadError(), 502, "upload_unfinished", "reset", False),
        (NameResolutionError("a", None, socket.gaierror()), 502, "dns_error", "connect", True),
        (NewConnectionError(None, "refused"), 502, "connect_refused", "connect", True),
        (ConnectTimeoutError(), 504, "connect_timeout", "connect", True),
        (CertificateError("expired"), 502, "tls_certificate_error", "connect", True),
        (AlertError("no"), 502, "tls_alert_received", "reset", True),
        (TLSError("no"), 502, "tls_protocol_error", "connect", True),
        (SSLError("no"), 502, "tls_protocol_error", "connect", True),
        (Incomplete("cut"), 502, "backend_reset", "reset", True),
        (BadMessage("nonsense", 502), 502, "backend_protocol", "never", True),
        (TimeoutError(), 504, "connect_timeout", "connect", True),
        (ConnectionResetError(), 502, "backend_reset", "reset", True),
        (Expired(TimeLimit.DEADLINE), 504, "backend_timeout", "never", True),
        (Expired(TimeLimit.ATTEMPT), 504, "per_try_timeout", "timeout", True),
        (Expired(TimeLimit.FIRST_BYTE), 504, "first_byte_timeout", "timeout", True),
        (Expired(TimeLimit.READ), 504, "read_timeout", "timeout", True),
        (OSError(errno.EMFILE, "full"), 503, "out_of_resources", "never", False),
        (caused_by(NewConnectionError(None, "full"), OSError(errno.ENFILE, "full")), 503, "out_of_resources", "never", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_each_exception_has_its_row(error, status, reason, retryable_as, counts):
    failure = failure_of(error)
    assert (failure.status, failure.reason) == (status, reason)
    assert failure.retryable_as == retryable_as
    assert failure.counts_against_backend is counts


@pytest.mark.parametrize(
    "error",
    [ValueError(), ClientGone(), HTTPError(413), *map(Expired, (TimeLimit.BODY, TimeLimit.WRITE, TimeLimit.DRAINING))],
    ids=str,
)
def test_other_exceptions_concern_no_backend(error):
    assert failure_of(error) is None


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_shortage_is_the_machines(code):
    assert is_shortage(OSError(code, "full"))
    assert is_shortage(caused_by(RuntimeError(), OSError(code, "full")))


def test_other_errors_are_no_shortage():
    assert not is_shortage(OSError(errno.ECONNREFUSED, "refused"))
    assert not is_shortage(RuntimeError())


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, Body(b"", reader(5, None), 5), True),
        (504, Body(b"", reader(5, None), 5), True),
        (503, Body(b"", reader(5, None), 5), False),
        (502, Body(b"whole"), False),
        (502, NO_BODY, False),
    ],
)
def test_a_502_during_an_upload_is_the_clients_doing(status, body, expected):
    asked = request()
    asked.body = body
    assert is_caused_by_client(asked, status) is expected


def test_the_response_names_the_error_of_rfc_9209_and_no_address():
    error = as_response_error(failure_of(NewConnectionError(None, "10.0.0.1 refused")))
    assert (error.status, error.reason) == (502, "connect_refused")
    assert dict(error.headers.items()) == {"Proxy-Status": "gproxy; error=connection_refused"}
    assert "10.0.0.1" not in error.detail


def test_a_503_says_when_to_retry():
    assert dict(as_response_error(NONE_AVAILABLE).headers.items()) == {
        "Proxy-Status": "gproxy; error=destination_unavailable",
        "Retry-After": "1",
    }
