"""TLS contexts for backends, which resume sessions, and the exceptions of handshakes.

This module is separate from tls.py because mypyc does not compile a subclass of SSLContext.
"""

import socket
import ssl
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from gproxy.upstream.errors import AlertError, CertificateError, TLSError

#: OpenSSL's codes for a certificate without a trusted issuer, self-signed ones included.
_UNKNOWN_CA: Final = frozenset({18, 19, 20, 21})
#: On other versions each read of `SSLSocket.session` leaks the session, 5 to 8 KiB (CPython issue 116810).
CAN_RESUME: Final = sys.version_info >= (3, 13, 1) or (3, 12, 8) <= sys.version_info < (3, 13)


#: What the gateway offers by ALPN (RFC 7301), by the values of the option `http2`.
OFFERS: Final[Mapping[str, Sequence[str]]] = {"no": ("http/1.1",), "yes": ("h2",), "auto": ("h2", "http/1.1")}


class OfferingContext(ssl.SSLContext):
    """A context that offers its own protocols by ALPN, where urllib3 offers HTTP/1.1 on each connection."""

    offers: Sequence[str] = OFFERS["no"]

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:  # noqa: ARG002 urllib3's are not ours
        """Offer the protocols of this context, whatever the caller wants."""
        super().set_alpn_protocols(self.offers)


class ResumingContext(OfferingContext):
    """A context that offers each host its last session, which saves signing and verifying (RFC 8446 section 2.2).

    That halves the work of a handshake. A host that has forgotten the session starts a new one.
    """

    def __init__(self, *_: object) -> None:
        #: The last session by verified host name.
        self.sessions: dict[str | None, ssl.SSLSession | None] = {}

    def wrap_socket(  # type: ignore[override]
        self,
        sock: socket.socket,
        *,
        server_hostname: str | None = None,
        **options: Any,  # noqa: ANN401 the other options of Python's method
    ) -> ssl.SSLSocket:
        session = self.sessions.get(server_hostname)
        return super().wrap_socket(sock, server_hostname=server_hostname, session=session, **options)


def new_context(offers: Sequence[str] = OFFERS["no"]) -> ssl.SSLContext:
    """Return a client context that offers these protocols, and resumes sessions where Python does so without a leak.

    It verifies certificates alike on every Python: those without key identifiers, as many private authorities issue
    them, are accepted. `ssl.create_default_context` rejects them since Python 3.13.
    """
    context = (ResumingContext if CAN_RESUME else OfferingContext)(ssl.PROTOCOL_TLS_CLIENT)
    context.offers = offers
    return context


def remember_session(connection: Any) -> None:  # noqa: ANN401 urllib3's connections have no types
    """Keep the session of an open connection of urllib3 over TLS, for the next connection to its host."""
    context, sock = connection.ssl_context, connection.sock
    if isinstance(context, ResumingContext):
        context.sessions[sock.server_hostname] = sock.session


def as_tls_error(error: OSError) -> TLSError:
    """Return the matching TLSError with OpenSSL's message."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message
        return CertificateError(f"unknown CA: {message}" if error.verify_code in _UNKNOWN_CA else message)
    if is_alert(error):
        return AlertError(f"TLS alert: {(error.reason or '').rpartition('ALERT_')[2].lower().replace('_', ' ')}")
    return TLSError(error)


def is_alert(error: object) -> TypeGuard[ssl.SSLError]:
    """Return whether the error is a TLS alert of the backend."""
    return isinstance(error, ssl.SSLError) and "ALERT_" in (error.reason or "")
