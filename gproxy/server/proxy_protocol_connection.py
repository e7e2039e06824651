"""A client connection that begins with a PROXY header and rejects hosts that require a client certificate."""

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from gproxy.config.types import Network
from gproxy.http.errors import BadMessage, ClientGone
from gproxy.http.proxy_protocol import read_proxy_header
from gproxy.http.request_fields import RequestFields
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import is_trusted
from gproxy.http.wire import RequestLine
from gproxy.runtime.expired import Expired
from gproxy.server.connection import ClientConnection
from gproxy.server.context import ServerContext
from gproxy.server.tls_hosts import TLSHosts

#: Seconds between two warnings: a misconfigured proxy repeats its mistake with every connection.
QUIET: Final = 10.0

_log = logging.getLogger("gproxy")


class PrefaceError(Exception):
    """A connection that does not begin with a valid PROXY header or TLS handshake."""


class ProxyHeaderPolicy:
    """The networks whose PROXY headers are trusted; throttles the warnings about other peers."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._quiet_until = 0.0

    def admits(self, peer: str) -> bool:
        return is_trusted(peer, self._trusted)

    def warn_throttled(self, message: str, *arguments: object) -> None:
        """Log a warning; log further ones within QUIET seconds at level debug."""
        now = monotonic()
        is_quiet = now < self._quiet_until
        if not is_quiet:
            self._quiet_until = now + QUIET
        _log.log(logging.DEBUG if is_quiet else logging.WARNING, message, *arguments)


class ProxyProtocolConnection(ClientConnection):
    """A connection that begins with a PROXY header if there is a policy for it.

    It rejects requests for hosts that require a client certificate.
    """

    def __init__(
        self,
        sock: Any,
        address: Any,
        context: ServerContext,
        *,
        policy: ProxyHeaderPolicy | None,
        tls_hosts: TLSHosts | None,
    ) -> None:
        super().__init__(sock, address, context)
        self._policy = policy
        self._tls_hosts = tls_hosts
        self._expires = monotonic() + self._settings.head_timeout

    def handle(self) -> None:
        policy = self._policy
        if policy is None or self._is_announced(policy):
            super().handle()

    def _is_announced(self, policy: ProxyHeaderPolicy) -> bool:
        """Read the PROXY header; close the connection and return False without a valid one.

        The connection limits need the client's address, so this comes before `admit`.
        """
        connections = self._context.connections
        connections.add(self)  # so that a drain includes it
        self.alarm.set(self._expires, TimeLimit.HANDSHAKE)
        try:
            self._read_proxy_header(policy)
            self.alarm.clear()
            return True
        except (PrefaceError, Expired) as error:
            _log.debug("%s: %s", self.peer, error)
        except (ClientGone, OSError):
            pass
        except Exception:
            _log.exception("connection from %s failed", self.peer)
        self._close()
        connections.discard(self)
        return False

    def _read_proxy_header(self, policy: ProxyHeaderPolicy) -> None:
        if not policy.admits(self.peer):
            policy.warn_throttled("%s: connection rejected: not one of the trusted_proxies", self.peer)
            raise PrefaceError("rejected")
        data = b""
        try:
            while (header := read_proxy_header(data)) is None:
                data += self._receive_more()
        except ValueError as error:
            policy.warn_throttled("%s: invalid PROXY header: %s", self.peer, error)
            raise PrefaceError("rejected") from None
        self._channel.buffer = data[header.size :]
        if header.client is not None:
            self.peer = header.client

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
        if self._is_misdirected(line.authority or fields.host):  # RFC 9110 section 15.5.20
            raise BadMessage("this host requires its own TLS connection", 421)
        return line, fields

    def _is_misdirected(self, host: str) -> bool:
        return self._tls_hosts is not None and self._tls_hosts.is_guarded(host)
