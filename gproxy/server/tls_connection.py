"""A client connection that begins with a TLS handshake; a PROXY header may come before it."""

import logging
import ssl
from dataclasses import replace
from typing import Any, ClassVar, Final

from gproxy.http.client_hello import HANDSHAKE, ClientHello, ClientHelloReader
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.request_fields import RequestFields
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.http.tls import TLS, ClientCertificate
from gproxy.http.wire import RequestLine
from gproxy.server.client_channel import ClientChannel
from gproxy.server.context import ServerContext
from gproxy.server.proxy_protocol_connection import PrefaceError, ProxyHeaderPolicy, ProxyProtocolConnection
from gproxy.server.response_writer import ResponseWriter
from gproxy.server.tls_channel import TLSClientChannel
from gproxy.server.tls_hosts import TLSHost, TLSHosts

#: RFC 8446 section 6.2: what is wrong with a ClientHello, said before there is anything to encrypt it with.
_DECODE_ERROR: Final = b"\x15\x03\x03\x00\x02\x02\x32"
_NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
_SPOKEN: Final = frozenset({"http/1.1", "http/1.0"})

_log = logging.getLogger("gproxy")


class TLSClientConnection(ProxyProtocolConnection):
    """Speaks TLS, as one of the sites: `default` is for clients that ask for none of the others."""

    channel_class: ClassVar[type[ClientChannel]] = TLSClientChannel

    def __init__(
        self,
        sock: Any,
        address: Any,
        context: ServerContext,
        *,
        balancers: ProxyHeaderPolicy | None,
        sites: TLSHosts,
        default: TLSHost,
    ) -> None:
        super().__init__(sock, address, context, balancers=balancers, sites=sites)
        assert isinstance(self._channel, TLSClientChannel)  # noqa: S101 `channel_class` says so
        self._secure = self._channel
        self._offered = sites
        self._default = self._site = default
        #: Of the client's certificate, for the backend: (name, name in lower case, value).
        self._identity: list[tuple[str, str, str]] = []
        self._own: RequestFields | None = None

    def _serve_one(self) -> bool:
        if self.tls is None:
            try:
                self._shake_hands()
            except PrefaceError as error:
                _log.debug("%s: %s", self.peer, error)
                return False
        return super()._serve_one()

    def _reject(self, error: BadMessage | HTTPError, started: float | None = None) -> bool:
        """Who is one too many is not told so: a handshake costs more than what it would refuse."""
        return self.tls is not None and super()._reject(error, started)

    def _shake_hands(self) -> None:
        """Raises PrefaceError, Expired, ClientGone."""
        self.alarm.set(self._expires, TimeLimit.HANDSHAKE)
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
                self._reject_plain(data)
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

    def _reject_plain(self, data: bytes) -> None:
        self._channel.buffer = data
        super()._reject(HTTPError(400, "a plain HTTP request came to a port that speaks https"))
        raise PrefaceError("no TLS: plain HTTP")

    def _enter(self, site: TLSHost, tls: ssl.SSLObject, server_name: str) -> None:
        der = tls.getpeercert(binary_form=True)
        client = None if der is None else ClientCertificate(der)
        cipher = tls.cipher()
        self.tls = TLS(tls.version() or "", cipher[0] if cipher else "", server_name, client)
        if client is not None:
            forward = site.settings.forward.items()
            self._identity = [(header, header.lower(), getattr(client, fact)) for fact, header in forward]
        if site.hsts:
            self._out = _StrictResponseWriter(self._channel, site.hsts)

    def _understand(self, head: bytes) -> tuple[RequestLine, RequestFields]:
        line, known = super()._understand(head)
        if self._identity and known is not self._own:
            self._own = self._known = known = self._identified(known)
        return line, known

    def _identified(self, known: RequestFields) -> RequestFields:
        """With what is true on this connection only; others have the same `known`."""
        headers = known.headers.copy()
        for name, key, value in self._identity:
            headers.put(name, key, value)
        return replace(known, headers=headers)

    def _is_misdirected(self, host: str) -> bool:
        return self._offered.is_misdirected(host, self._site, self._default)


class _StrictResponseWriter(ResponseWriter):
    """Tells browsers to come by https only (RFC 6797 section 7.1), unless the backend has said how long."""

    __slots__ = ("_policy",)

    def __init__(self, channel: ClientChannel, policy: str) -> None:
        super().__init__(channel)
        self._policy = policy

    def _head(self, response: Response, minor: int) -> bytes:
        if response.headers.lookup("strict-transport-security") is None:
            response.headers.put("Strict-Transport-Security", "strict-transport-security", self._policy)
        return super()._head(response, minor)
