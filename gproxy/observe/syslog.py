"""The access log at a syslog server: messages of RFC 5424 over UDP, a unix datagram socket, or TCP (RFC 6587).

Lines are sent at the end of each turn of the loop, without waiting. While the server is slow or away, they stay in the
buffer, and a greenlet waits for the server. What the kernel has taken counts as sent.
"""

import errno
import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent
from gevent import socket

from gproxy.config.types.access_log import LogTarget
from gproxy.http.exchange import Exchange
from gproxy.observe.access_line import timestamp
from gproxy.observe.buffered_log import LOG, BufferedLog, Format

#: Facility local7, severity info.
_PRIORITY: Final = 23 * 8 + 6
#: Servers cut longer messages (rsyslog's default), in bytes.
_LONGEST: Final = 8192
#: So many messages are sent before others have a turn.
_SLICE: Final = 100
_LONGEST_WAIT: Final = 1.0  # seconds in which a slow server is not asked again
_CONNECT_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 2.0  # seconds that closing waits for a server that is slow or away
_WARN_EVERY: Final = 60.0  # seconds between two lines on a server that is away
_USER_TIMEOUT: Final = 10_000  # milliseconds in which the other machine must acknowledge what was sent


class Syslog(BufferedLog):
    """The access log at the syslog server of `target`. `line` returns the line of an exchange.

    `connect` returns a connected socket that never blocks; it gets the number of failures so far. `retry` are the
    seconds between a failure and the next connection.
    """

    def __init__(
        self,
        target: LogTarget,
        line: Format,
        connect: Callable[[LogTarget, int], Any] | None = None,
        retry: float = 1.0,
    ) -> None:
        super().__init__(target.text, line, _CLOSE_TIMEOUT)
        self._target = target
        self._is_stream = target.is_stream
        self._connected = connect or connected
        self._retry = retry
        self._beginning = ""
        self._socket: Any = None
        #: The messages to send, the next one at the end.
        self._messages: list[bytes] = []
        #: The number of bytes of the next message that a stream has taken.
        self._taken = 0
        #: Seconds to wait before the next connection, after a failure.
        self._pause = 0.0
        self._failures = 0
        self._warned = -_WARN_EVERY

    def open(self) -> None:
        """Begin to connect. A server that is away is no error: it may come."""
        self._beginning = f"{socket.gethostname() or '-'} gproxy {os.getpid()} access - "
        self._open = True
        self._start(self._connect)

    def flush(self) -> None:
        """Send the buffered lines, now or once the server takes them. Never waits."""
        if self._job or not (self._exchanges or self._messages):
            return
        if self._socket is None:
            self._start(self._connect)
            return
        try:
            self._send_slice()
        except BlockingIOError:
            self._start(self._wait_for_room)
        except OSError as error:
            self._disconnect(error)
            self._start(self._connect)
        else:
            self._pause = 0.0
            if self._exchanges:
                self._start(_wait_a_turn)
            else:
                self._recover()

    def reopen(self) -> None:
        """Send the buffered lines and connect anew, in case the server's socket was replaced."""
        self.flush()
        if self._open and not self._job:
            self._close_socket()
            self._start(self._connect)

    def _send_slice(self) -> None:
        """Send up to `_SLICE` messages. Raises OSError: BlockingIOError if the server does not take them now."""
        messages = self._messages
        if not messages:
            messages.extend([self._message(exchange) for exchange in self._exchanges[:_SLICE]])
            del self._exchanges[:_SLICE]
            messages.reverse()
        if self._is_stream and not self._is_connected():
            raise ConnectionResetError("closed by the server")
        while messages:
            try:
                self._taken += self._socket.send(messages[-1][self._taken :])
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                self._lose(1, error)
                self._taken = len(messages[-1])
            if self._taken >= len(messages[-1]):
                messages.pop()
                self._taken = 0

    def _message(self, exchange: Exchange) -> bytes:
        text = f"<{_PRIORITY}>1 {timestamp(exchange.started)} {self._beginning}{self._line(exchange)}"
        data = text.encode("utf-8", "backslashreplace")
        if len(data) > _LONGEST:
            data = data[:_LONGEST].decode("utf-8", "ignore").encode()  # no half character
        return b"%d %b" % (len(data), data) if self._is_stream else data

    def _is_connected(self) -> bool:
        """Return whether the server has kept the stream open; what it sends is ignored."""
        try:
            return bool(self._socket.recv(1024))
        except BlockingIOError:
            return True

    def _connect(self) -> None:
        gevent.sleep(self._pause)
        try:
            self._socket = self._connected(self._target, self._failures)
        except OSError as error:
            self._disconnect(error)

    def _disconnect(self, error: OSError) -> None:
        self._close_socket()
        self._pause = self._retry
        self._failures += 1
        now = monotonic()
        if now - self._warned >= _WARN_EVERY:
            self._warned = now
            LOG.error("access log %s: %s; lines wait, next attempt in %g s", self.name, error, self._retry)

    def _close_socket(self) -> None:
        connection, self._socket = self._socket, None
        self._taken = 0  # a message that was sent in part is sent again as a whole
        if connection is not None:
            connection.close()

    def _wait_for_room(self) -> None:
        try:
            socket.wait_write(self._socket.fileno(), _LONGEST_WAIT)
        except OSError:  # a timeout: the connection may have ended meanwhile, so sending is tried again
            pass

    def _drop(self) -> int:
        waiting = len(self._messages)
        self._messages.clear()
        return waiting + super()._drop()

    def _release(self) -> None:
        if self._job:
            self._job.kill(block=False)
        self._close_socket()


def connected(target: LogTarget, failures: int) -> Any:  # noqa: ANN401 gevent's socket has no types
    """Return a socket that is connected to the server and never blocks. Raises OSError.

    After a failure the next address of the name has its turn: `localhost` is ::1 too, where many servers do not listen.
    """
    address: Any = target.address
    if address.kind == "unix":
        family, kind, place = socket.AF_UNIX, socket.SOCK_DGRAM, address.path
    else:
        kind = socket.SOCK_STREAM if target.is_stream else socket.SOCK_DGRAM
        found = socket.getaddrinfo(address.host, address.port, type=kind)
        family, _, _, _, place = found[failures % len(found)]
    made = socket.socket(family, kind)
    try:
        made.settimeout(_CONNECT_TIMEOUT)
        made.connect(place)
        if target.is_stream:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)
        made.settimeout(0.0)
    except BaseException:
        made.close()
        raise
    return made


def _wait_a_turn() -> None:
    gevent.sleep(0)
