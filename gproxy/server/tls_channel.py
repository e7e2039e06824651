"""A client channel that changes from plain text to TLS.

OpenSSL never touches the socket: it works on memory BIOs, and the channel moves the bytes. So the watcher and the
waiting of a plain channel stay unchanged, a large response leaves in few sends, and bytes before the handshake (a PROXY
header, a plain HTTP request) are read without OpenSSL.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NoReturn

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm
from gproxy.server.client_channel import ChannelSettings, ClientChannel

#: Bytes encrypted and sent at a time; a few records.
_PIECE: Final = 64 * 1024


def _no_connection(_: object) -> NoReturn:
    raise RuntimeError("there is no TLS connection yet: a bug in gproxy, please report it")


class TLSClientChannel(ClientChannel):
    """A client channel that is plain until `secure`, then TLS."""

    __slots__ = (
        "_decrypt", "_encrypt", "_has_rest", "_incoming", "_is_intact", "_is_over", "_outgoing", "_tls", "_unsent",
        "_unsent_plain",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, alarm: Alarm, settings: ChannelSettings) -> None:
        super().__init__(sock, alarm, settings)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        #: Its methods `read` and `write`, once there is a connection.
        self._decrypt: Callable[[int], bytes] = _no_connection
        self._encrypt: Callable[[bytes | memoryview], int] = _no_connection
        #: Encrypted bytes that the kernel has not taken yet, and their size in plain text.
        self._unsent: bytes | memoryview = b""
        self._unsent_plain = 0
        #: True while nothing was aborted or broken: only then may the channel send close_notify.
        self._is_intact = True
        #: True if OpenSSL has the rest of a record that was not read whole.
        self._has_rest = False
        #: True once the TLS stream has ended, even if the socket has more bytes.
        self._is_over = False

    def secure(self, context: ssl.SSLContext, expires: float) -> ssl.SSLObject:
        """Perform the handshake, until `expires`; the client's first bytes may be in the buffer.

        Raises ssl.SSLError if the handshake fails, ClientGone and Expired.
        """
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(self.buffer)
        self.buffer = b""
        while not self._try_handshake(tls, expires):
            data = self.receive(65536)
            if not data:
                raise self.reset_error
            self._incoming.write(data)
        self._tls = tls
        compiled: Any = getattr(tls, "_sslobj", tls)  # PERF: an SSLObject calls these by Python functions
        self._decrypt, self._encrypt = compiled.read, compiled.write
        self._receive = self._receive_decrypted
        self._send = self._send_encrypted
        self.has_event = self.has_event or bool(self._incoming.pending)
        return tls

    def _try_handshake(self, tls: ssl.SSLObject, expires: float) -> bool:
        """Advance the handshake with the bytes received. Return True when complete. Send pending records and alerts."""
        try:
            tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            if self._outgoing.pending:
                self.send(self._outgoing.read())
                self.alarm.set(expires, TimeLimit.HANDSHAKE)  # a send that waits clears the alarm

    def _receive_decrypted(self, limit: int) -> bytes:
        """Return decrypted bytes, like a socket's recv; set `has_event` for bytes that the socket no longer shows."""
        tls, incoming = self._tls, self._incoming
        assert tls is not None  # noqa: S101 set by the handshake
        if not (incoming.pending or self._has_rest or self._is_over):
            data = self._raw.recv(65536)
            if not data:
                return b""
            incoming.write(data)
        try:
            plain = self._decrypt(limit)
        except ssl.SSLWantReadError:  # part of a record, or one without data: RFC 8446 section 4.6
            self._send_replies()
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError:
            self._is_intact = False
            self._send_replies()
            raise
        if incoming.pending or len(plain) == limit:
            return self._gather(tls, plain, limit)
        self._has_rest = False
        return plain

    def _gather(self, tls: ssl.SSLObject, plain: bytes, limit: int) -> bytes:
        """Return all records received together as one piece: a record has 16 KiB at most."""
        pieces = [plain]
        rest = limit - len(plain)
        try:
            while rest and not self._is_over and (self._incoming.pending or tls.pending()):
                pieces.append(self._decrypt(rest))
                rest -= len(pieces[-1])
                self._is_over = not pieces[-1]
        except ssl.SSLWantReadError:
            self._send_replies()
        except ssl.SSLError:  # a broken record: the next read ends
            self._is_over = True
        self._has_rest = tls.pending() > 0
        if self._is_over or self._incoming.pending or self._has_rest:
            self.has_event = True
        return b"".join(pieces)

    def send_last(self, data: bytes) -> None:
        """Send the data at once: the end is a separate record, so holding data back saves no packet."""
        self.send(data)

    def _send_pair(self, head: bytes, body: bytes) -> memoryview:
        """Encrypt both as one; encrypting copies anyway."""
        data = head + body
        sent = self.send_now(data)
        return memoryview(data)[sent:]

    def _send_replies(self) -> None:
        """Send OpenSSL's replies to records read (alert, key update), now or with the next send."""
        if self._outgoing.pending and not self._unsent:
            self._unsent = self._outgoing.read()
            self._unsent_plain = 0
            try:
                self._send_unsent()
            except OSError:
                pass

    def _send_encrypted(self, data: bytes | memoryview) -> int:
        """Encrypt and send as much as the kernel takes, like a socket's send. Raises BlockingIOError if that is none.

        A further call sends what is already encrypted first, without encrypting it again.
        """
        tls = self._tls
        assert tls is not None  # noqa: S101 set by the handshake
        sent, size = 0, len(data)
        while sent < size:
            if not self._unsent:
                whole = not sent and size <= _PIECE
                self._unsent_plain = self._encrypt(data if whole else memoryview(data)[sent : sent + _PIECE])
                self._unsent = self._outgoing.read()
            try:
                self._send_unsent()
            except BlockingIOError:
                if not sent:
                    raise
                break
            sent += self._unsent_plain
        return sent

    def _send_unsent(self) -> None:
        """Send the encrypted bytes. Raises BlockingIOError unless all are sent."""
        sent = self._raw.send(self._unsent)
        if sent != len(self._unsent):
            self._unsent = memoryview(self._unsent)[sent:]
            raise BlockingIOError
        self._unsent = b""

    def _send_close_notify(self) -> None:
        """Send close_notify unless the stream is broken: RFC 8446 section 6.1, without it the data is truncated."""
        tls, self._is_intact, was_intact = self._tls, False, self._is_intact
        if tls is None or not was_intact or self._unsent:
            return
        try:
            tls.unwrap()
        except OSError:  # OpenSSL waits for the client's close_notify
            pass
        try:
            self._raw.send(self._outgoing.read())
        except OSError:
            pass

    def shut_writing(self) -> None:
        self._send_close_notify()
        super().shut_writing()

    def discard(self, limit: int, seconds: float) -> None:
        """Read and discard, without decrypting."""
        self._receive = self._raw.recv
        super().discard(limit, seconds)

    def abort(self) -> None:
        self._is_intact = False
        super().abort()

    def close(self) -> None:
        self._send_close_notify()
        super().close()
