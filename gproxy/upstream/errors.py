"""What can happen on the way to a backend and back that nobody else has a name for."""


class StaleConnectionError(Exception):
    """A pooled connection was closed by the backend before it answered: nobody's failure."""


class UnansweredError(Exception):
    """A new connection was closed before one byte of an answer: what was asked may have been done, or not."""


class UnfinishedUploadError(Exception):
    """The backend closed while its client had not sent all of the request: which of them was too slow is unknown."""


class BrokenBodyError(Exception):
    """The backend broke off, or garbled, a body whose head was passed on already."""


class TLSError(Exception):
    """No secure connection: the other side does not speak TLS, or none that we do."""


class CertificateError(TLSError):
    """The backend's certificate is not the one we want."""


class AlertError(TLSError):
    """The backend refuses us."""
