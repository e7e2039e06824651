"""A client connection that begins with a PROXY header, and rejects hosts that require TLS."""

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

#: Whoever does it wrong does it again and again: one line in so many seconds is enough.
QUIET: Final = 10.0

_log = logging.getLogger("gproxy")


class PrefaceError(Exception):
    """What came first was not what has to come first."""


class ProxyHeaderPolicy:
    """Who may say by a PROXY header whose connection it is; and how often we complain of those who may not."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._quiet_until = 0.0

    def admits(self, peer: str) -> bool:
        return is_trusted(peer, self._trusted)

    def warn_throttled(self, message: str, *arguments: object) -> None:
        """A warning; more of them within QUIET are for debugging only."""
        now = monotonic()
        is_quiet = now < self._quiet_until
        if not is_quiet:
            self._quiet_until = now + QUIET
        _log.log(logging.DEBUG if is_quiet else logging.WARNING, message, *arguments)


class ProxyProtocolConnection(ClientConnection):
    """Begins with a PROXY header from one of the `balancers`, if there are any; not for hosts that `sites` guard."""

    def __init__(
        self,
        sock: Any,
        address: Any,
        context: ServerContext,
        *,
        balancers: ProxyHeaderPolicy | None,
        sites: TLSHosts | None,
    ) -> None:
        super().__init__(sock, address, context)
        self._balancers = balancers
        self._sites = sites
        self._expires = monotonic() + self._settings.head_timeout

    def handle(self) -> None:
        balancers = self._balancers
        if balancers is None or self._is_announced(balancers):
            super().handle()

    def _is_announced(self, balancers: ProxyHeaderPolicy) -> bool:
        """By a good header; else it is closed. Whose it is has to be known before it can be admitted."""
        connections = self._context.connections
        connections.add(self)  # so that a stop knows of it
        self.alarm.set(self._expires, TimeLimit.HANDSHAKE)
        try:
            self._read_proxy_header(balancers)
            self.alarm.clear()
            return True
        except (PrefaceError, Expired) as error:
            _log.debug("%s: %s", self.peer, error)
        except (ClientGone, OSError):
            pass
        except Exception:
            _log.exception("connection from %s", self.peer)
        self._close()
        connections.discard(self)
        return False

    def _read_proxy_header(self, balancers: ProxyHeaderPolicy) -> None:
        if not balancers.admits(self.peer):
            balancers.warn_throttled("%s: refused, it is not one of the trusted_proxies", self.peer)
            raise PrefaceError("refused")
        data = b""
        try:
            while (header := read_proxy_header(data)) is None:
                data += self._receive_more()
        except ValueError as error:
            balancers.warn_throttled("%s: no PROXY header: %s", self.peer, error)
            raise PrefaceError("refused") from None
        self._channel.buffer = data[header.size :]
        if header.client is not None:
            self.peer = header.client

    def _receive_more(self) -> bytes:
        data = self._channel.receive(65536)
        if not data:
            raise ClientGone
        self.is_idle = False  # a stop waits for it
        return data

    def _understand(self, head: bytes) -> tuple[RequestLine, RequestFields]:
        if head == self._head:
            return self._line, self._known
        line, known = super()._understand(head)
        if self._is_misdirected(line.authority or known.host):  # RFC 9110 section 15.5.20
            raise BadMessage("this host wants a connection of its own", 421)
        return line, known

    def _is_misdirected(self, host: str) -> bool:
        return self._sites is not None and self._sites.is_guarded(host)
