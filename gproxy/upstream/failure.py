"""The table of failures: for each, the client's response, the retry condition, and whether it counts as the backend's.

The status is 502 for a backend that refuses, resets or violates HTTP, 504 for a slow one, 503 if none is available.
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
    ExcludedStreamError,
    NotHTTP2Error,
    NoUpgradeError,
    RefusedStreamError,
    StaleConnectionError,
    TLSError,
    UnansweredError,
    UnfinishedUploadError,
)


class Failure(NamedTuple):
    """A row of the table."""

    status: int
    reason: str
    #: The error name in Proxy-Status.
    error: str
    #: The text for the client. The error log has it too, with the error's own text.
    detail: str
    #: The word of `retry_on` that allows a retry. `connect` always does: the request was not sent yet.
    retryable_as: Literal["connect", "stale", "reset", "timeout", "status", "grpc_unavailable", "never"]
    #: Whether the failure counts for the ejection of the backend.
    counts_against_backend: bool
    #: True if the backend has done nothing with the request, so that any method may be repeated.
    is_unprocessed: bool = False

    @property
    def lost_connection(self) -> bool:
        """True if only a connection was lost: the same backend may be asked again at once."""
        return self.retryable_as == "stale" and not self.counts_against_backend


def _late(limit: TimeLimit, error: str, detail: str, retryable_as: Literal["timeout", "never"]) -> Failure:
    return Failure(limit.status, limit.reason, error, detail, retryable_as, limit.counts_against_backend)


#: Also for each other error of connect(), such as no route to the host: the log has the system's text too.
_REFUSED: Final = Failure(
    502, "connect_refused", "connection_refused", "the backend refuses connections", "connect", True
)
_UNKNOWN_NAME: Final = Failure(502, "dns_error", "dns_error", "the backend's name does not resolve", "connect", True)
_SLOW_CONNECT: Final = Failure(
    504, "connect_timeout", "connection_timeout", "the connection to the backend timed out", "connect", True
)
_TLS: Final = Failure(
    502, "tls_protocol_error", "tls_protocol_error", "the TLS handshake with the backend failed", "connect", True
)
_CERTIFICATE: Final = Failure(
    502, "tls_certificate_error", "tls_certificate_error", "the backend's certificate is not valid", "connect", True
)
_ALERT: Final = Failure(502, "tls_alert_received", "tls_alert_received", "the backend sent a TLS alert", "reset", True)
_STALE: Final = Failure(
    502, "backend_reset", "connection_terminated", "the backend closed the connection", "stale", False
)
_EXCLUDED_STREAM: Final = _STALE._replace(is_unprocessed=True)
_REFUSED_STREAM: Final = Failure(
    502,
    "backend_reset",
    "connection_terminated",
    "the backend refused the request",
    "stale",
    counts_against_backend=True,
    is_unprocessed=True,
)
_NOT_HTTP2: Final = Failure(
    502, "backend_protocol", "http_protocol_error", "the backend does not speak HTTP/2", "connect", True
)
_NO_UPGRADE: Final = Failure(
    502,
    "backend_protocol",
    "http_protocol_error",
    "the backend does not accept the upgrade over HTTP/2",
    "never",
    False,
)
_UNANSWERED: Final = Failure(
    502, "backend_reset", "connection_terminated", "the backend closed the connection without a response", "reset", True
)
UNFINISHED: Final = Failure(
    502, "upload_unfinished", "connection_terminated", "the backend closed during the upload", "reset", False
)
_SHORTAGE: Final = Failure(
    503, "out_of_resources", "proxy_internal_error", "the gateway is out of descriptors or memory", "never", False
)
RESET: Final = Failure(
    502, "backend_reset", "connection_terminated", "the backend broke off its response", "reset", True
)
_PROTOCOL: Final = Failure(
    502, "backend_protocol", "http_protocol_error", "the backend's response is not valid HTTP", "never", True
)
SLOW: Final = _late(TimeLimit.DEADLINE, "http_response_timeout", "the backend did not respond in time", "never")
_SLOW_TRY: Final = _late(TimeLimit.ATTEMPT, "http_response_timeout", "the backend did not respond in time", "timeout")
_SLOW_START: Final = _late(
    TimeLimit.FIRST_BYTE, "http_response_timeout", "the backend did not begin to respond in time", "timeout"
)
_SLOW_CALL: Final = _late(TimeLimit.CALL, "http_response_timeout", "the call has taken too long", "never")
SILENT: Final = _late(TimeLimit.READ, "connection_read_timeout", "the backend was silent for too long", "timeout")
#: A response with a retryable status; `fail_statuses` decides whether it counts against the backend.
RETRYABLE_STATUS: Final = Failure(
    502, "backend_status", "http_response_incomplete", "the backend sent a retryable status", "status", False
)
#: A gRPC response that is only the status 14.
GRPC_UNAVAILABLE: Final = Failure(
    503,
    "grpc_unavailable",
    "destination_unavailable",
    "the backend is unavailable",
    "grpc_unavailable",
    True,
    is_unprocessed=True,
)
NONE_AVAILABLE: Final = Failure(
    503, "none_available", "destination_unavailable", "no backend is available", "never", False
)

#: The first matching row counts, so subclasses stand before their bases.
_TABLE: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Failure], ...]] = (
    (StaleConnectionError, _STALE),
    (ExcludedStreamError, _EXCLUDED_STREAM),
    (RefusedStreamError, _REFUSED_STREAM),
    (NotHTTP2Error, _NOT_HTTP2),
    (NoUpgradeError, _NO_UPGRADE),
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
    (TimeoutError, _SLOW_CONNECT),  # of a TLS handshake; all other waits end with Expired
    (OSError, RESET),
)

#: By the limit that has expired; the other limits are not the backend's.
_EXPIRED: Final = {
    TimeLimit.DEADLINE: SLOW,
    TimeLimit.TOTAL: SLOW,
    TimeLimit.CALL: _SLOW_CALL,
    TimeLimit.ATTEMPT: _SLOW_TRY,
    TimeLimit.FIRST_BYTE: _SLOW_START,
    TimeLimit.READ: SILENT,
}

#: The errors of a process or machine that is out of descriptors, buffers or memory.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def failure_of(error: BaseException) -> Failure | None:
    """Return the row for the error of an attempt; None for an error of the client or of the gateway's code.

    A shortage and an unfinished upload have rows, which do not count against the backend.
    """
    if isinstance(error, Expired):
        return _EXPIRED.get(error.limit)
    if is_shortage(error):
        return _SHORTAGE
    return next((failure for kind, failure in _TABLE if isinstance(error, kind)), None)


def is_shortage(error: BaseException) -> bool:
    """Return whether the gateway itself is out of descriptors or memory."""
    return any(isinstance(cause, OSError) and cause.errno in SHORTAGES for cause in (error, error.__cause__))


def is_caused_by_client(request: Request, status: int) -> bool:
    """Return whether the status is another proxy's response to an upload that the client has not finished."""
    return status in (502, 504) and not request.body.done


def named(cause: BaseException | None) -> str:
    """Return the option whose limit has expired, in parentheses; empty for any other cause."""
    return f" ({cause})" if isinstance(cause, Expired) and cause.limit.option else ""


def as_response_error(failure: Failure, cause: BaseException | None = None) -> HTTPError:
    """Return the client's error response. It names the limit that has expired, and not the backend's address."""
    headers = {"Proxy-Status": f"gproxy; error={failure.error}"}
    if failure.status == 503:
        headers["Retry-After"] = "1"
    return HTTPError(failure.status, failure.detail + named(cause), headers, reason=failure.reason)
