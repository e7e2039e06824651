"""The exceptions of a connection to a backend that neither urllib3 nor the standard library has."""


class StaleConnectionError(Exception):
    """A pooled connection that the backend closed before it responded; no failure of the backend."""


class UnansweredError(Exception):
    """A new connection that the backend closed before the response; the request may have been executed."""


class UnfinishedUploadError(Exception):
    """A connection that the backend closed before the client had sent the whole request; either may be slow."""


class RefusedStreamError(Exception):
    """A request of HTTP/2 that the backend has refused, and not begun; any method may be repeated."""


class ExcludedStreamError(Exception):
    """A request of HTTP/2 that came while the backend closed a connection in use, and was not begun.

    No failure of the backend; any method may be repeated.
    """


class NotHTTP2Error(Exception):
    """A new connection on which the backend does not answer in HTTP/2, before any request."""


class NoUpgradeError(Exception):
    """A backend that speaks HTTP/2 only, and does not accept the protocol that a request switches to."""


class BrokenBodyError(Exception):
    """A response body that the backend broke off or garbled after the head was forwarded."""


class TLSError(Exception):
    """A failed TLS handshake, for instance without a common protocol version."""


class CertificateError(TLSError):
    """A certificate of the backend that the gateway does not accept."""


class AlertError(TLSError):
    """A TLS alert with which the backend rejects the gateway."""
