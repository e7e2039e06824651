"""A client's connection that turns from plain into TLS.

OpenSSL never touches the socket: it works on memory, and the channel moves its bytes. So the watcher, the waiting and
the notes of a plain channel stay as they are, a large answer leaves in few sends, and what comes before the handshake
(a PROXY header, a client that does not know it should encrypt) has been read by whom it concerns.
"""

import ssl
from typing import Any, Final

from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.alarm import Alarm
from gproxy.server.client_channel import ClientChannel

#: Encrypted and sent at a time, in bytes; a few records.
_PIECE: Final = 64 * 1024


class TLSClientChannel(ClientChannel):
    """Plain until `secure`."""

    __slots__ = ("_incoming", "_is_intact", "_is_over", "_outgoing", "_tls", "_unsent", "_unsent_plain")

    def __init__(self, sock: Any, alarm: Alarm, *, body_timeout: float, write_timeout: float) -> None:
        super().__init__(sock, alarm, body_timeout=body_timeout, write_timeout=write_timeout)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        #: Encrypted, but not taken by the kernel yet, and how many bytes of the caller's that is.
        self._unsent: bytes | memoryview = b""
        self._unsent_plain = 0
        #: Has all been sent as it was meant to be? Only then may an end say that it is the end.
        self._is_intact = True
        #: Will nothing more come, whatever the socket says?
        self._is_over = False

    def secure(self, context: ssl.SSLContext, expires: float) -> ssl.SSLObject:
        """Shake hands until then; the client's first bytes may be in the buffer.

        Raises ssl.SSLError if both do not come together, ClientGone and Expired.
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
        self._receive = self._receive_decrypted
        self._send = self._send_encrypted
        self.has_event = self.has_event or bool(self._incoming.pending)
        return tls

    def _try_handshake(self, tls: ssl.SSLObject, expires: float) -> bool:
        """As far as it goes with what has come; True if it is done. Sends what there is to say, alerts too."""
        try:
            tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            if self._outgoing.pending:
                self.send(self._outgoing.read())
                self.alarm.set(expires, TimeLimit.HANDSHAKE)  # a send that has to wait ends every other limit

    def _receive_decrypted(self, limit: int) -> bytes:
        """As a socket's recv. What is left of the records at hand is noted, as no socket will tell of it."""
        tls, incoming = self._tls, self._incoming
        assert tls is not None  # noqa: S101 it is there since the handshake
        if not (incoming.pending or tls.pending() or self._is_over):
            data = self._raw.recv(65536)
            if not data:
                return b""
            incoming.write(data)
        try:
            plain = tls.read(limit)
        except ssl.SSLWantReadError:  # part of a record, or one that is no data: RFC 8446 section 4.6
            self._answer_records()
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError:
            self._is_intact = False
            self._answer_records()
            raise
        if incoming.pending or tls.pending():
            return self._gather(tls, plain, limit)
        return plain

    def _gather(self, tls: ssl.SSLObject, plain: bytes, limit: int) -> bytes:
        """What came together goes on together: a record has 16 KiB at most."""
        pieces = [plain]
        left = limit - len(plain)
        try:
            while left and not self._is_over and (self._incoming.pending or tls.pending()):
                pieces.append(tls.read(left))
                left -= len(pieces[-1])
                self._is_over = not pieces[-1]
        except ssl.SSLWantReadError:
            self._answer_records()
        except ssl.SSLError:  # a broken record: whoever reads next is told
            self._is_over = True
        if self._is_over or self._incoming.pending or tls.pending():
            self.has_event = True
        return b"".join(pieces)

    def send_last(self, data: bytes) -> None:
        """The end is a record of its own, so there is nothing to gain by holding data back."""
        self.send(data)

    def _answer_records(self) -> None:
        """What OpenSSL has to say to what it read: an alert, a new key. With the next send, if not at once."""
        if self._outgoing.pending and not self._unsent:
            self._unsent = self._outgoing.read()
            self._unsent_plain = 0
            try:
                self._send_unsent()
            except OSError:
                pass

    def _send_encrypted(self, data: bytes | memoryview) -> int:
        """As a socket's send: what the kernel did not take at once is asked for again, and not encrypted again."""
        if not self._unsent:
            tls = self._tls
            assert tls is not None  # noqa: S101 it is there since the handshake
            self._unsent_plain = tls.write(data if len(data) <= _PIECE else memoryview(data)[:_PIECE])
            self._unsent = self._outgoing.read()
        self._send_unsent()
        return self._unsent_plain

    def _send_unsent(self) -> None:
        """Raises BlockingIOError unless all is out."""
        sent = self._raw.send(self._unsent)
        if sent != len(self._unsent):
            self._unsent = memoryview(self._unsent)[sent:]
            raise BlockingIOError
        self._unsent = b""

    def _say_end(self) -> None:
        """RFC 8446 section 6.1: without it the client takes what it got for cut off, and so it is to be."""
        tls, self._is_intact, was_intact = self._tls, False, self._is_intact
        if tls is None or not was_intact or self._unsent:
            return
        try:
            tls.unwrap()
        except OSError:  # it waits for the client to say it too
            pass
        try:
            self._raw.send(self._outgoing.read())
        except OSError:
            pass

    def shut_writing(self) -> None:
        self._say_end()
        super().shut_writing()

    def drain(self, limit: int, seconds: float) -> None:
        """What is read and forgotten need not be decrypted."""
        self._receive = self._raw.recv
        super().drain(limit, seconds)

    def abort(self) -> None:
        self._is_intact = False
        super().abort()

    def close(self) -> None:
        self._say_end()
        super().close()
