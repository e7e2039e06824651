"""What can go wrong with an attempt: the answer it becomes, whether it may be tried again, and who is to blame.

Semantics: 502 for a backend that refuses, resets or talks nonsense, 504 for a slow one, 503 if there is none.
The error names are those of RFC 9209 section 2.3.
"""

import errno
from typing import Final, Literal, NamedTuple

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.exceptions import HTTPError as Urllib3Error

from gproxy.http.errors import BadMessage, HTTPError, Incomplete
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.upstream.errors import (
    AlertError,
    CertificateError,
    StaleConnectionError,
    TLSError,
    UnansweredError,
    UnfinishedUploadError,
)


class Failure(NamedTuple):
    """One row of the table."""

    status: int
    reason: str
    error: str
    detail: str
    #: What `retry_on` calls it: may another attempt be made? After `connect` always: nothing was asked yet.
    retryable_as: Literal["connect", "stale", "reset", "timeout", "status", "never"]
    #: Does it speak against the backend's health?
    counts_against_backend: bool


def _late(limit: TimeLimit, error: str, detail: str, retryable_as: Literal["timeout", "never"]) -> Failure:
    return Failure(limit.status, limit.reason, error, detail, retryable_as, limit.counts_against_backend)


_REFUSED: Final = Failure(
    502, "connect_refused", "connection_refused", "the backend refuses connections", "connect", True
)
_UNKNOWN_NAME: Final = Failure(502, "dns_error", "dns_error", "the backend's name does not resolve", "connect", True)
_SLOW_CONNECT: Final = Failure(
    504, "connect_timeout", "connection_timeout", "no connection to the backend in time", "connect", True
)
_TLS: Final = Failure(
    502, "tls_protocol_error", "tls_protocol_error", "no secure connection to the backend", "connect", True
)
_CERTIFICATE: Final = Failure(
    502, "tls_certificate_error", "tls_certificate_error", "the backend's certificate is not valid", "connect", True
)
_ALERT: Final = Failure(
    502, "tls_alert_received", "tls_alert_received", "the backend refuses a secure connection", "reset", True
)
_STALE: Final = Failure(
    502, "backend_reset", "connection_terminated", "the backend closed the connection", "stale", False
)
_UNANSWERED: Final = Failure(
    502, "backend_reset", "connection_terminated", "the backend closed the connection unanswered", "reset", True
)
UNFINISHED: Final = Failure(
    502, "upload_unfinished", "connection_terminated", "the backend closed during the upload", "reset", False
)
_SHORTAGE: Final = Failure(
    503, "out_of_resources", "proxy_internal_error", "the gateway has no room for another connection", "never", False
)
RESET: Final = Failure(
    502, "backend_reset", "connection_terminated", "the backend broke off before it had answered", "reset", True
)
_PROTOCOL: Final = Failure(
    502, "backend_protocol", "http_protocol_error", "the backend's answer is no valid HTTP", "never", True
)
SLOW: Final = _late(TimeLimit.DEADLINE, "http_response_timeout", "the backend did not answer in time", "never")
_SLOW_TRY: Final = _late(TimeLimit.ATTEMPT, "http_response_timeout", "the backend did not answer in time", "timeout")
_SLOW_START: Final = _late(
    TimeLimit.FIRST_BYTE, "http_response_timeout", "the backend did not begin to answer in time", "timeout"
)
SILENT: Final = _late(
    TimeLimit.READ, "connection_read_timeout", "the backend fell silent before it had answered", "timeout"
)
#: An answer whose status is one to try again after; whether it speaks against the backend is for health to say.
RETRYABLE_STATUS: Final = Failure(
    502, "backend_status", "http_response_incomplete", "the backend turned the request away", "status", False
)
NONE_AVAILABLE: Final = Failure(
    503, "none_available", "destination_unavailable", "no backend is available", "never", False
)

#: The first that fits counts, so the special ones stand first.
_TABLE: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Failure], ...]] = (
    (StaleConnectionError, _STALE),
    (UnansweredError, _UNANSWERED),
    (UnfinishedUploadError, UNFINISHED),
    (NameResolutionError, _UNKNOWN_NAME),
    (NewConnectionError, _REFUSED),
    (ConnectTimeoutError, _SLOW_CONNECT),
    (CertificateError, _CERTIFICATE),
    (AlertError, _ALERT),
    ((TLSError, Urllib3Error), _TLS),
    (Incomplete, RESET),
    (BadMessage, _PROTOCOL),
    (TimeoutError, _SLOW_CONNECT),  # of a TLS handshake; elsewhere the request's deadline is what expires
    (OSError, RESET),
)

#: By what an alarm was set for; anything else that expires is no backend's doing.
_EXPIRED: Final = {
    TimeLimit.DEADLINE: SLOW,
    TimeLimit.ATTEMPT: _SLOW_TRY,
    TimeLimit.FIRST_BYTE: _SLOW_START,
    TimeLimit.READ: SILENT,
}

#: What the system says when this process, or the machine, has not enough for one more connection.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def failure_of(error: BaseException) -> Failure | None:
    """The row for what an attempt raised; None if the backend has nothing to do with it."""
    if isinstance(error, Expired):
        return _EXPIRED.get(error.limit)
    if is_shortage(error):
        return _SHORTAGE
    return next((failure for kind, failure in _TABLE if isinstance(error, kind)), None)


def is_shortage(error: BaseException) -> bool:
    """Did we ourselves run out of descriptors or memory?"""
    return any(isinstance(one, OSError) and one.errno in SHORTAGES for one in (error, error.__cause__))


def is_clients_doing(request: Request, status: int) -> bool:
    """Is the status a proxy's answer to an upload that its client has not finished?"""
    return status in (502, 504) and not request.body.done


def as_response_error(failure: Failure) -> HTTPError:
    """What the client is told, with nothing of the backend's address in it."""
    headers = {"Proxy-Status": f"gproxy; error={failure.error}"}
    if failure.status == 503:
        headers["Retry-After"] = "1"
    return HTTPError(failure.status, failure.detail, headers, reason=failure.reason)
