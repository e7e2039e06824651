"""A tunnel after `101 Switching Protocols`: bytes both ways, until both sides have ended or both are idle too long.

The response body is the bytes from the backend; the client connection's greenlet iterates over it. A second greenlet
sends the client's bytes to the backend. An end of one side is passed on, and the other direction continues: in RFC 6455
section 7.1.1 the server closes first. From then on the idle limit is short, because a peer that has vanished looks the
same. The idle limit replaces the deadline.
"""

from collections.abc import Iterator
from typing import Final

import gevent

from gproxy.http.body import Body
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.framing import PIECE
from gproxy.http.phase import TUNNEL
from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection, TunnelEnd
from gproxy.upstream.failure import RESET

#: The idle limit once one side has ended, in seconds.
_IDLE_AFTER_END: Final = 10.0


class Tunnel:
    """The body of a 101 response; iterate over it once, then close it."""

    def __init__(self, request: Request, backend: Backend, connection: BackendConnection, limit: TimeLimit) -> None:
        assert request.client_stream is not None  # noqa: S101 only a client asks to upgrade
        self._client = request.client_stream
        self._backend = backend
        self._connection: BackendConnection | None = connection
        self._finish_upload = connection.join_upload
        self._channel: TunnelEnd = connection.start_tunnel()
        #: How long both sides may be silent.
        self._limit = limit
        #: True once one side has ended its direction.
        self._is_half = False
        #: True once the backend has reset its connection.
        self._is_reset = False
        self._deadline = request.deadline
        self._exchange = request.exchange
        self._request = request
        #: The request's own body; the tunnel's bytes follow it.
        self._before = request.body
        self._uploaded = request.body = Body()
        self._uploaded.received = self._before.received
        self._upload: gevent.Greenlet | None = None

    def __iter__(self) -> Iterator[bytes]:
        self._client.start_tunnel()
        self._exchange.is_tunnel = True
        self._request.phase = TUNNEL
        self._upload = gevent.spawn(self._carry_up)
        try:
            while data := self._next_piece():
                yield data
            if not self._is_reset:
                self._client.shut_writing()
                self._end_one_side()
                self._upload.join()
        except Expired as expired:
            if expired.limit != TimeLimit.TUNNEL or not self._is_half:
                raise
        finally:
            self._upload.kill()

    def _next_piece(self) -> bytes:
        self._touch()
        try:
            return self._channel.read(PIECE)
        except OSError:  # the client connection ends at once, and what it may still send has no reader
            self._request.reason = RESET.reason
            self._is_reset = True
            return b""

    def _end_one_side(self) -> None:
        self._is_half = True
        self._limit = self._limit.of(min(self._limit.seconds, _IDLE_AFTER_END), self._limit.option)
        self._touch()

    def _touch(self) -> None:
        self._deadline.wait(self._limit)

    def _carry_up(self) -> None:
        """Send the client's bytes to the backend: the rest of the body, then those that follow it."""
        try:
            self._finish_upload()
            self._uploaded.received = self._before.received
            while data := self._client.read(PIECE):
                self._uploaded.received += len(data)
                self._touch()
                self._channel.send(data)
            self._channel.shut_writing()
            self._end_one_side()
        except (ClientGone, HTTPError, OSError):  # an HTTPError: the client has violated HTTP/2 on its stream
            self._channel.shut()

    def close(self) -> None:
        """Drop the connection to the backend: no other request can use it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._backend.drop(connection)
