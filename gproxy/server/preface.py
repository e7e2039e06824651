"""Connections on which something comes before the first request: a PROXY header, a TLS handshake, or both."""

import logging
import ssl
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gproxy.config.types import Network
from gproxy.http.client_hello import HANDSHAKE, ClientHello, ClientHelloReader
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.proxy_protocol import read_proxy_header
from gproxy.http.request_fields import KnownFields
from gproxy.http.response import Response
from gproxy.http.tls import TLS, ClientCertificate
from gproxy.http.trust import is_trusted
from gproxy.http.wire import RequestLine
from gproxy.runtime.expired import Expired
from gproxy.server.client_channel import ClientChannel
from gproxy.server.connection import Connection
from gproxy.server.response_writer import Outgoing
from gproxy.server.tls_channel import SecureChannel
from gproxy.server.tls_hosts import Site, Sites

if TYPE_CHECKING:
    from gproxy.server.listener import Server

#: Whoever does it wrong does it again and again: one line in so many seconds is enough.
QUIET: Final = 10.0
#: RFC 8446 section 6.2: what is wrong with a ClientHello, said before there is anything to encrypt it with.
_DECODE_ERROR: Final = b"\x15\x03\x03\x00\x02\x02\x32"
_NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
_SPOKEN: Final = frozenset({"http/1.1", "http/1.0"})

_log = logging.getLogger("gproxy")


class PrefaceError(Exception):
    """What came first was not what has to come first."""


class Balancers:
    """Who may say by a PROXY header whose connection it is; and how often we complain of those who may not."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._quiet_until = 0.0

    def admits(self, peer: str) -> bool:
        return is_trusted(peer, self._trusted)

    def complain(self, message: str, *arguments: object) -> None:
        """A warning; more of them within QUIET are for debugging only."""
        now = monotonic()
        is_quiet = now < self._quiet_until
        if not is_quiet:
            self._quiet_until = now + QUIET
        _log.log(logging.DEBUG if is_quiet else logging.WARNING, message, *arguments)


class PrefacedConnection(Connection):
    """Begins with a PROXY header from one of the `balancers`, if there are any; not for hosts that `sites` guard."""

    def __init__(
        self, sock: Any, address: Any, server: "Server", *, balancers: Balancers | None, sites: Sites | None
    ) -> None:
        super().__init__(sock, address, server)
        self._balancers = balancers
        self._sites = sites
        self._expires = monotonic() + self._settings.head_timeout

    def handle(self) -> None:
        balancers = self._balancers
        if balancers is None or self._is_announced(balancers):
            super().handle()

    def _is_announced(self, balancers: Balancers) -> bool:
        """By a good header; else it is closed. Whose it is has to be known before it can be admitted."""
        connections = self._server.connections
        connections.add(self)  # so that a stop knows of it
        self.alarm.set(self._expires, "handshake")
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

    def _read_proxy_header(self, balancers: Balancers) -> None:
        if not balancers.admits(self.peer):
            balancers.complain("%s: refused, it is not one of the trusted_proxies", self.peer)
            raise PrefaceError("refused")
        data = b""
        try:
            while (header := read_proxy_header(data)) is None:
                data += self._receive_more()
        except ValueError as error:
            balancers.complain("%s: no PROXY header: %s", self.peer, error)
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

    def _understand(self, head: bytes) -> tuple[RequestLine, KnownFields]:
        if head == self._head:
            return self._line, self._known
        line, known = super()._understand(head)
        if self._is_misdirected(line.authority or known.host):  # RFC 9110 section 15.5.20
            raise BadMessage("this host wants a connection of its own", 421)
        return line, known

    def _is_misdirected(self, host: str) -> bool:
        return self._sites is not None and self._sites.is_guarded(host)


class SecureConnection(PrefacedConnection):
    """Speaks TLS, as one of the sites: `default` is for clients that ask for none of the others."""

    channel_class: ClassVar[type[ClientChannel]] = SecureChannel

    def __init__(
        self, sock: Any, address: Any, server: "Server", *, balancers: Balancers | None, sites: Sites, default: Site
    ) -> None:
        super().__init__(sock, address, server, balancers=balancers, sites=sites)
        assert isinstance(self._channel, SecureChannel)  # noqa: S101 `channel_class` says so
        self._secure = self._channel
        self._offered = sites
        self._default = self._site = default
        #: Of the client's certificate, for the backend: (name, name in lower case, value).
        self._identity: list[tuple[str, str, str]] = []
        self._own: KnownFields | None = None

    def _serve_one(self) -> bool:
        if self.tls is None:
            try:
                self._shake_hands()
            except PrefaceError as error:
                _log.debug("%s: %s", self.peer, error)
                return False
        return super()._serve_one()

    def _refuse(self, error: BadMessage | HTTPError, started: float | None = None) -> bool:
        """Who is one too many is not told so: a handshake costs more than what it would refuse."""
        return self.tls is not None and super()._refuse(error, started)

    def _shake_hands(self) -> None:
        """Raises PrefaceError, Expired, ClientGone."""
        self.alarm.set(self._expires, "handshake")
        hello = self._read_hello()
        site = self._site = self._offered.find(hello.server_name, self._default)
        try:
            self._enter(site, self._secure.secure(site.context, self._expires), hello.server_name)
        except ssl.SSLError as error:
            raise PrefaceError(f"no TLS: {(error.reason or str(error)).lower().replace('_', ' ')}") from None
        self.alarm.clear()

    def _read_hello(self) -> ClientHello:
        """It stays in the buffer."""
        channel = self._channel
        data = channel.buffer or self._receive_more()
        self.is_idle = False
        try:
            if data[0] != HANDSHAKE and data[:1].isalpha():
                self._refuse_plain(data)
            reader = ClientHelloReader()
            hello = reader.feed(data)
            while hello is None:
                more = self._receive_more()
                data += more
                hello = reader.feed(more)
        except ValueError as error:
            channel.send(_DECODE_ERROR)
            raise PrefaceError(f"no TLS: {error}") from None
        if hello.protocols and _SPOKEN.isdisjoint(hello.protocols):
            channel.send(_NO_APPLICATION_PROTOCOL)
            raise PrefaceError(f"no TLS: it speaks only {', '.join(hello.protocols)!r}")
        channel.buffer = data
        return hello

    def _refuse_plain(self, data: bytes) -> None:
        self._channel.buffer = data
        super()._refuse(HTTPError(400, "a plain HTTP request came to a port that speaks https"))
        raise PrefaceError("no TLS: plain HTTP")

    def _enter(self, site: Site, tls: ssl.SSLObject, server_name: str) -> None:
        der = tls.getpeercert(binary_form=True)
        client = None if der is None else ClientCertificate(der)
        cipher = tls.cipher()
        self.tls = TLS(tls.version() or "", cipher[0] if cipher else "", server_name, client)
        if client is not None:
            forward = site.settings.forward.items()
            self._identity = [(header, header.lower(), getattr(client, fact)) for fact, header in forward]
        if site.hsts:
            self._out = _StrictOutgoing(self._channel, site.hsts)

    def _understand(self, head: bytes) -> tuple[RequestLine, KnownFields]:
        line, known = super()._understand(head)
        if self._identity and known is not self._own:
            self._own = self._known = known = self._identified(known)
        return line, known

    def _identified(self, known: KnownFields) -> KnownFields:
        """With what is true on this connection only; others have the same `known`."""
        headers = known.headers.copy()
        for name, key, value in self._identity:
            headers.put(name, key, value)
        return replace(known, headers=headers)

    def _is_misdirected(self, host: str) -> bool:
        return self._offered.is_misdirected(host, self._site, self._default)


class _StrictOutgoing(Outgoing):
    """Tells browsers to come by https only (RFC 6797 section 7.1), unless the backend has said how long."""

    __slots__ = ("_policy",)

    def __init__(self, channel: ClientChannel, policy: str) -> None:
        super().__init__(channel)
        self._policy = policy

    def _head(self, response: Response, minor: int) -> bytes:
        if response.headers.lookup("strict-transport-security") is None:
            response.headers.put("Strict-Transport-Security", "strict-transport-security", self._policy)
        return super()._head(response, minor)
