"""An HTTP/1 connection to a backend over TLS, and its channel."""

import ssl
from typing import Any, Final

from gproxy.http.framing import Reader
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http1.connection import ConnectionState, HTTP1Connection
from gproxy.upstream.http1.tls_session import as_tls_error, is_alert, remember_session

_CLOSED: Final = ConnectionState.CLOSED


class TLSBackendChannel(BackendChannel):
    """A channel to a backend over TLS; decrypted bytes may be pending while the socket is not readable."""

    __slots__ = ("_tls",)

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 what it uses of an SSLSocket has no types
        super().__init__(sock)
        self._tls = sock._sslobj  # noqa: SLF001 Python has no other non-blocking access to a connected SSLSocket
        self._receive = self._receive_record
        self._send = self._send_record

    def _receive_record(self, limit: int) -> bytes:
        try:
            data: bytes = self._tls.read(limit)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    def _send_record(self, data: bytes | memoryview) -> int:
        try:
            sent: int = self._tls.write(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            raise BlockingIOError from None
        return sent

    def is_quiet(self) -> bool:
        """Return whether an event brought no HTTP bytes, such as a TLS 1.3 session ticket (RFC 8446 section 4.6.1)."""
        if self.is_gone() or self.buffer:
            return False
        if not self._is_watching:
            self._watch()  # the backend's end may follow
        return True

    def wait(self) -> None:
        if not self._tls.pending():
            super().wait()


class TLSConnection(HTTP1Connection):
    """An HTTP/1 connection to a backend over TLS."""

    def _unanswered(self, why: object) -> Exception:
        """Return the exception for a connection without a response head; an AlertError after a TLS alert.

        In TLS 1.3 a backend rejects a client certificate only after the handshake (RFC 8446 section 4.4.2).
        """
        cause = getattr(why, "__cause__", None)
        if isinstance(cause, OSError) and not is_alert(cause):  # after a failed send the alert may still be unread
            try:
                self._connection.sock._sslobj.read(1)  # noqa: SLF001 gevent's `read` would wait
            except OSError as error:
                cause = error
        return as_tls_error(cause) if is_alert(cause) else super()._unanswered(why)

    def close(self) -> None:
        if self.state is not _CLOSED:
            remember_session(self._connection)
        super().close()

    def is_reusable(self, rest: Reader | None) -> bool:
        """Return whether the next request may use it: no decrypted bytes may be pending either."""
        return super().is_reusable(rest) and not self._connection.sock.pending()
