"""One listener for each address in `bind`: plain, tls, proxy or redirect, and the metrics of all."""

import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pkgutil import resolve_name
from typing import Final

import gevent
from greenlet import greenlet

from gproxy.config.sections.settings import Settings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.types import Address
from gproxy.gateway.gateway import CannotOpenError, Gateway
from gproxy.gateway.listener_gateway import listener_gateway
from gproxy.http.phase import TUNNEL, WAIT
from gproxy.http.request import Request
from gproxy.observe.metrics import Metrics
from gproxy.runtime import Runtime
from gproxy.runtime.served import add_finder
from gproxy.server.acceptor import ConnectionClass
from gproxy.server.connection import ClientConnection
from gproxy.server.context import H2C, Connections, MakeMultiplexed, ServerContext
from gproxy.server.listener import Listener
from gproxy.server.proxy_protocol_connection import ProxyProtocolConnection
from gproxy.server.tls_connection import TLSClientConnection
from gproxy.server.tls_hosts import CertificateReloader, TLSHost, TLSHosts

#: The protocols with streams by their ALPN names, the preferred one first: MODULE:NAME of what makes a Multiplexed. A
#: protocol that no listener serves is not imported.
MULTIPLEXED: Final[Mapping[str, str]] = {"h2": "gproxy.server.http2.connection:HTTP2ClientConnection"}


class Listeners:
    """The factory of a worker's listeners, with the TLS hosts they share.

    Raises CannotOpenError if a certificate is unusable.
    """

    def __init__(self, settings: Settings, gateway: Gateway, runtime: Runtime) -> None:
        self._settings = settings
        self._gateway = gateway
        self._runtime = runtime
        self._tls_hosts: TLSHosts | None = None
        self._reloader: gevent.Greenlet | None = None
        self._connections: list[Connections] = []
        #: The protocols with streams that TLS listeners serve.
        self._by_alpn = list(MULTIPLEXED) if settings.server.http2 else []
        add_finder(self._request_of)
        if any(address.tls is not None for address in settings.server.bind):
            self._tls_hosts = tls_hosts = self._open_tls_hosts(settings.tls)
            for name in settings.tls:
                watch = partial(tls_hosts.expires, name)
                self._runtime.metrics.watch("gproxy_certificate_expires_seconds", (name,), watch)

    def _request_of(self, one: greenlet) -> Request | None:
        """Return the request of the connection that the greenlet serves."""
        for connections in self._connections:
            connection = connections.served_by(one)
            if connection is not None:
                return connection.request
        return None

    def _open_tls_hosts(self, sections: Mapping[str, TLSSettings]) -> TLSHosts:
        from gproxy.config.certificates import PROTOCOLS, read_certificate

        protocols = [*self._by_alpn, *PROTOCOLS]
        try:
            certificates = [read_certificate(section, time.time(), protocols) for section in sections.values()]
        except ValueError as error:
            raise CannotOpenError(f"[tls] {error}") from None
        self.close()
        found = TLSHosts(map(TLSHost, sections.values(), certificates))
        self._reloader = self._runtime.spawn(CertificateReloader(found, sections, self._runtime, protocols).run)
        return found

    def use_tls(self, sections: Mapping[str, TLSSettings], listeners: Sequence[Listener]) -> None:
        """Let the listeners, one for each address, serve new connections with these `[tls:NAME]` sections.

        The metrics keep the certificates of the constructor. Raises CannotOpenError if a certificate is unusable: all
        remains as it was.
        """
        if self._tls_hosts is not None:
            self._tls_hosts = self._open_tls_hosts(sections)
            for address, listener in zip(self._settings.server.bind, listeners, strict=True):
                listener.use(self._connection_class(address))

    def listener(self, address: Address, sock: socket.socket) -> Listener:
        """Return a listener for the socket; its owner starts it."""
        gateway = listener_gateway(self._gateway, address, self._is_guarded)
        context = ServerContext.of(self._settings.server, gateway, self._runtime, self._protocols(address))
        self._connections.append(context.connections)
        return Listener(sock, context, self._connection_class(address))

    def _protocols(self, address: Address) -> dict[str, MakeMultiplexed]:
        """Return the protocols with streams that the listener of this address serves besides HTTP/1."""
        if address.tls is not None:
            return {name: resolve_name(MULTIPLEXED[name]) for name in self._by_alpn}
        return {H2C: resolve_name(MULTIPLEXED["h2"])} if address.h2c else {}

    def _is_guarded(self, host: str) -> bool:
        return self._tls_hosts is not None and self._tls_hosts.is_guarded(host)

    def _connection_class(self, address: Address) -> ConnectionClass:
        hosts = self._tls_hosts
        proxies = self._settings.gateway.trusted_proxies if address.proxy else None
        if address.tls is not None and hosts is not None:
            default = hosts.default(address.tls)
            return partial(TLSClientConnection, trusted_proxies=proxies, tls_hosts=hosts, default=default)
        guarded = hosts if hosts is not None and hosts.are_guarded and not address.redirect else None
        if proxies is None and guarded is None:
            return ClientConnection
        return partial(ProxyProtocolConnection, trusted_proxies=proxies, tls_hosts=guarded)

    def close(self) -> None:
        """Stop reloading certificates."""
        if self._reloader is not None:
            self._reloader.kill()


def register_metrics(listeners: Sequence[Listener], metrics: Metrics) -> None:
    """Register the gauges of open connections and requests in progress."""
    gauges = _RequestGauges(listeners)
    metrics.watch("gproxy_connections", (), lambda: sum(len(listener.connections) for listener in listeners))
    metrics.watch("gproxy_requests_in_flight", (), gauges.count)  # first: the other two are of the same look
    metrics.watch("gproxy_tunnels", (), lambda: gauges.tunnels)
    metrics.watch_group("gproxy_backend_waiting", lambda: gauges.waiting)


class _RequestGauges:
    """The numbers of requests in progress by what they do. `count` looks at all of them once."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self.tunnels = 0
        #: The requests that wait for a first byte, by upstream and backend.
        self.waiting: Counter[tuple[str, ...]] = Counter()

    def count(self) -> int:
        """Count the requests in progress, and return their number."""
        connections = (connection for listener in self._listeners for connection in listener.connections)
        requests = [active.request for connection in connections for active in connection.active_requests]
        present = [request for request in requests if request is not None]
        self.tunnels = sum(request.phase == TUNNEL for request in present)
        self.waiting = Counter((one.upstream, one.backend) for one in present if one.phase == WAIT and one.backend)
        return len(present)
