"""A client connection that begins with a PROXY header and rejects hosts that require a client certificate."""

import logging
import socket
from collections.abc import Sequence
from time import monotonic

from gproxy.config.types import Network
from gproxy.http.errors import BadMessage, ClientGone
from gproxy.http.headers import Headers
from gproxy.http.proxy_protocol import read_proxy_header
from gproxy.http.request_fields import RequestFields
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import is_trusted
from gproxy.http.wire import RequestLine
from gproxy.runtime.expired import Expired
from gproxy.server.connection import ClientConnection
from gproxy.server.context import ServerContext
from gproxy.server.tls_hosts import TLSHosts

_log = logging.getLogger("gproxy")


class PrefaceError(Exception):
    """A connection that does not begin with a valid PROXY header or TLS handshake."""


class ProxyProtocolConnection(ClientConnection):
    """A connection that begins with a PROXY header of a trusted proxy, unless `trusted_proxies` is None.

    It rejects requests for hosts that require a client certificate.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: object,
        context: ServerContext,
        *,
        trusted_proxies: Sequence[Network] | None,
        tls_hosts: TLSHosts | None,
    ) -> None:
        super().__init__(sock, address, context)
        self._trusted_proxies = trusted_proxies
        self._tls_hosts = tls_hosts
        self._expires = monotonic() + self._settings.head_timeout

    def handle(self) -> None:
        trusted_proxies = self._trusted_proxies
        if trusted_proxies is None or self._is_announced(trusted_proxies):
            super().handle()

    def _is_announced(self, trusted_proxies: Sequence[Network]) -> bool:
        """Read the PROXY header; close the connection and return False without a valid one.

        The connection limits need the client's address, so this comes before `admit`.
        """
        connections = self._context.connections
        connections.add(self)  # so that a drain includes it
        self.alarm.set(self._expires, TimeLimit.HANDSHAKE)
        try:
            self._read_proxy_header(trusted_proxies)
            self.alarm.clear()
            return True
        except (PrefaceError, Expired) as error:
            _log.debug("%s: %s", self.peer, error)
        except (ClientGone, OSError):
            pass
        except Exception:  # noqa: BLE001 a bug must not end the worker
            _log.exception("connection from %s failed", self.peer)
        self._close()
        connections.discard(self)
        return False

    def _read_proxy_header(self, trusted_proxies: Sequence[Network]) -> None:
        if not is_trusted(self.peer, trusted_proxies):
            self._warn_throttled("connection rejected: not one of the trusted_proxies")
            raise PrefaceError("rejected")
        data = b""
        try:
            while (header := read_proxy_header(data)) is None:
                data += self._receive_more()
        except ValueError as error:
            self._warn_throttled("invalid PROXY header", f": {error}")
            raise PrefaceError("rejected") from None
        self._channel.buffer = data[header.size :]
        if header.client is not None:
            self.peer = header.client

    def _warn_throttled(self, problem: str, detail: str = "") -> None:
        self._context.runtime.throttle.warn(problem, "%s: %s%s", self.peer, problem, detail)

    def _receive_more(self) -> bytes:
        data = self._channel.receive(65536)
        if not data:
            raise ClientGone
        self.is_idle = False  # a drain waits for this connection
        return data

    def _parse_head(self, head: bytes) -> tuple[RequestLine, RequestFields]:
        if head == self._head:
            return self._line, self._fields
        line, fields = super()._parse_head(head)
        self._check_host(line.authority or fields.host)
        return line, fields

    def accept_request(self, host: str, headers: Headers) -> bool:  # noqa: ARG002 the headers are of TLS
        self._check_host(host)
        return True

    def _check_host(self, host: str) -> None:
        """Raise BadMessage for a host that this connection may not serve (RFC 9110 section 15.5.20)."""
        if self._is_misdirected(host):
            raise BadMessage("this host requires its own TLS connection", 421)

    def _is_misdirected(self, host: str) -> bool:
        return self._tls_hosts is not None and self._tls_hosts.is_guarded(host)
