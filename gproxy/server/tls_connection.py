"""A client connection that begins with a TLS handshake; a PROXY header may come before it."""

import logging
import math
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from gproxy.config.types import Network
from gproxy.http.client_hello import HANDSHAKE, ClientHello, ClientHelloReader
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.headers import Headers
from gproxy.http.request_fields import RequestFields
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.http.tls import TLS, ClientCertificate
from gproxy.http.wire import RequestLine
from gproxy.server.client_channel import ClientChannel
from gproxy.server.context import ServerContext
from gproxy.server.dispatch import add_hsts
from gproxy.server.proxy_protocol_connection import PrefaceError, ProxyProtocolConnection
from gproxy.server.response_writer import ResponseWriter
from gproxy.server.tls_channel import TLSClientChannel
from gproxy.server.tls_hosts import TLSHost, TLSHosts

#: Plain text alerts for an unusable ClientHello (RFC 8446 section 6.2), sent before there are keys.
_DECODE_ERROR: Final = b"\x15\x03\x03\x00\x02\x02\x32"
_NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
_SUPPORTED: Final = frozenset({"http/1.1", "http/1.0"})

_log = logging.getLogger("gproxy")


class TLSClientConnection(ProxyProtocolConnection):
    """A TLS connection with a client; the `default` TLS host serves clients without a matching server name."""

    channel_class: ClassVar[type[ClientChannel]] = TLSClientChannel

    def __init__(
        self,
        sock: socket.socket,
        address: object,
        context: ServerContext,
        *,
        trusted_proxies: Sequence[Network] | None,
        tls_hosts: TLSHosts,
        default: TLSHost,
    ) -> None:
        super().__init__(sock, address, context, trusted_proxies=trusted_proxies, tls_hosts=tls_hosts)
        assert isinstance(self._channel, TLSClientChannel)  # noqa: S101 by `channel_class`
        self._tls_channel = self._channel
        self._offered = tls_hosts
        self._default = self._tls_host = default
        #: Header fields from the client's certificate, for the backend: (name, name in lower case, value).
        self._identity: list[tuple[str, str, str]] = []
        self._identified_fields: RequestFields | None = None
        #: The end of the client's certificate, in seconds since the epoch: a resumed session may have an expired one.
        self._client_expires = math.inf
        #: The digest of the revocation lists that the certificate was judged by; None without a certificate.
        self._lists: bytes | None = None
        #: PERF: the last host that a stream was for, and the reloads of certificates before this check.
        self._checked_host = ""
        self._checked_reloads = -1

    def _serve_one(self) -> bool:
        if self.tls is None:
            try:
                make = self._context.protocols.get(self._handshake())
            except PrefaceError as error:
                _log.debug("%s: %s", self.peer, error)
                return False
            if make is not None:
                return self._hand_over(make)
        return super()._serve_one()

    def _reject(self, error: BadMessage | HTTPError, started: float = 0.0) -> bool:
        """Close without answering over the connection limit.

        A TLS handshake costs more than the request it would reject.
        """
        return self.tls is not None and super()._reject(error, started)

    def _handshake(self) -> str:
        """Perform the TLS handshake; return the protocol that ALPN has chosen, or "".

        Raises PrefaceError, Expired, ClientGone.
        """
        self.alarm.set(self._expires, TimeLimit.HANDSHAKE)
        hello = self._read_hello()
        tls_host = self._tls_host = self._offered.find(hello.server_name, self._default)
        try:
            tls = self._tls_channel.secure(tls_host.context, self._expires)
            self._enter(tls_host, tls, hello.server_name)
        except ssl.SSLError as error:
            raise PrefaceError(
                f"TLS handshake failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
            ) from None
        self.alarm.clear()
        return tls.selected_alpn_protocol() or ""

    def _speaks(self, protocols: Sequence[str]) -> bool:
        return any(name in _SUPPORTED or name in self._context.protocols for name in protocols)

    def _read_hello(self) -> ClientHello:
        """Return the ClientHello; leave its bytes in the buffer."""
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
            raise PrefaceError(f"TLS handshake failed: {error}") from None
        if hello.protocols and not self._speaks(hello.protocols):
            channel.send(_NO_APPLICATION_PROTOCOL)
            raise PrefaceError(f"TLS handshake failed: client offers only {', '.join(hello.protocols)!r} by ALPN")
        channel.buffer = data
        return hello

    def _reject_plain(self, data: bytes) -> None:
        self._channel.buffer = data
        super()._reject(HTTPError(400, "plain HTTP request on an https port"))
        raise PrefaceError("TLS handshake failed: plain HTTP")

    def _enter(self, tls_host: TLSHost, tls: ssl.SSLObject, server_name: str) -> None:
        der = tls.getpeercert(binary_form=True)
        client = None if der is None else ClientCertificate(der)
        cipher = tls.cipher()
        self.tls = TLS(tls.version() or "", cipher[0] if cipher else "", server_name, client)
        if client is not None:
            self._identify(client, tls_host)
        if tls_host.hsts:
            self.hsts = tls_host.hsts
            self._out = _StrictResponseWriter(self._channel, tls_host.hsts)

    def _identify(self, client: ClientCertificate, tls_host: TLSHost) -> None:
        """Keep what requests need of the certificate. Raises PrefaceError if it cannot be read."""
        try:
            self._identity = _fields(client, tls_host.settings.forward)
            self._client_expires = client.expires
        except ValueError as error:
            raise PrefaceError(f"TLS handshake failed: unreadable client certificate: {error}") from None
        self._lists = tls_host.certificate.lists.digest

    def _forget_head(self) -> None:
        super()._forget_head()
        self._identified_fields = None

    def _parse_head(self, head: bytes) -> tuple[RequestLine, RequestFields]:
        self._check_certificate()
        line, fields = super()._parse_head(head)
        if self._has_other_lists():
            self._fields = fields = _last(fields)
        if self._identity and fields is not self._identified_fields:
            self._identified_fields = self._fields = fields = self._with_identity(fields)
        return line, fields

    def _with_identity(self, fields: RequestFields) -> RequestFields:
        """Return a copy of the fields with the client's identity: other connections share the original."""
        headers = fields.headers.copy()
        self._put_identity(headers)
        return fields.with_headers(headers)

    def accept_request(self, host: str, headers: Headers) -> bool:
        self._check_certificate()
        if host != self._checked_host or self._checked_reloads != self._offered.reloads:
            self._check_host(host)
            self._checked_host, self._checked_reloads = host, self._offered.reloads
        self._put_identity(headers)
        return not self._has_other_lists()

    def _check_certificate(self) -> None:
        if self._client_expires != math.inf and self._client_expires <= self._runtime.clock():  # PERF: seldom a call
            raise BadMessage("the client certificate of this connection has expired", 421)

    def _has_other_lists(self) -> bool:
        """Return whether there are other revocation lists than those that the client's certificate was judged by."""
        return self._lists is not None and self._lists != self._tls_host.certificate.lists.digest

    def _put_identity(self, headers: Headers) -> None:
        for name, key, value in self._identity:
            headers.put(name, key, value)

    def _is_misdirected(self, host: str) -> bool:
        return self._offered.is_misdirected(host, self._tls_host, self._default)


def _fields(client: ClientCertificate, forward: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the header fields of the facts that the certificate has. Raise ValueError if it cannot be read."""
    facts = [(header, client.field(fact)) for fact, header in forward.items()]
    return [(header, header.lower(), value) for header, value in facts if value]


def _last(fields: RequestFields) -> RequestFields:
    """Return the fields as those of the last request: the next one needs a handshake with the new lists."""
    last = fields.with_headers(fields.headers)
    last.keep = False
    return last


class _StrictResponseWriter(ResponseWriter):
    """A response writer that adds Strict-Transport-Security (RFC 6797 section 7.1) unless the backend sends it."""

    __slots__ = ("_policy",)

    def __init__(self, channel: ClientChannel, policy: str) -> None:
        super().__init__(channel)
        self._policy = policy

    def _head(self, response: Response, minor: int) -> bytes:
        add_hsts(response.headers, self._policy)
        return super()._head(response, minor)
