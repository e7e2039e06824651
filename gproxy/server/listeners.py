"""A server for each listener, by the words behind its address: plain, tls, proxy, redirect."""

import socket
import time
from collections.abc import Sequence
from functools import partial

import gevent

from gproxy.config.sections.settings import Settings
from gproxy.config.types import Address
from gproxy.gateway.gateway import CannotOpenError, Gateway
from gproxy.gateway.redirect import sending_to_https
from gproxy.observe.metrics import Metrics
from gproxy.runtime import Runtime
from gproxy.server.connection import ClientConnection
from gproxy.server.context import ServerContext
from gproxy.server.listener import ConnectionClass, Listener
from gproxy.server.proxy_protocol_connection import ProxyHeaderPolicy, ProxyProtocolConnection
from gproxy.server.tls_connection import TLSClientConnection
from gproxy.server.tls_hosts import CertificateReloader, TLSHost, TLSHosts


class Listeners:
    """What all listeners of a process have in common. Raises CannotOpenError if a certificate cannot be used."""

    def __init__(self, settings: Settings, gateway: Gateway, runtime: Runtime) -> None:
        self._settings = settings
        self._gateway = gateway
        self._runtime = runtime
        self._sites: TLSHosts | None = None
        self._renewal: gevent.Greenlet | None = None
        if any(address.tls is not None for address in settings.server.bind):
            self._open_sites()

    def _open_sites(self) -> None:
        from gproxy.config.certificates import read_certificate

        sections = self._settings.tls
        try:
            sites = [TLSHost(section, read_certificate(section, time.time())) for section in sections.values()]
        except ValueError as error:
            raise CannotOpenError(f"[tls] {error}") from None
        self._sites = TLSHosts(sites)
        self._renewal = self._runtime.spawn(CertificateReloader(self._sites, sections, self._runtime).run)

    def server(self, address: Address, sock: socket.socket) -> Listener:
        """It serves what comes to that socket, once it is started."""
        gateway = sending_to_https(self._gateway, address.redirect) if address.redirect else self._gateway
        context = ServerContext.of(self._settings.server, gateway, self._runtime)
        return Listener(sock, context, self._connection_class(address))

    def _connection_class(self, address: Address) -> ConnectionClass:
        balancers = ProxyHeaderPolicy(self._settings.gateway.trusted_proxies) if address.proxy else None
        if address.tls is not None and self._sites is not None:
            default = self._sites.default(address.tls)
            return partial(TLSClientConnection, balancers=balancers, sites=self._sites, default=default)
        guards = self._sites if self._sites is not None and self._sites.are_guarded and not address.redirect else None
        return (
            partial(ProxyProtocolConnection, balancers=balancers, sites=guards)
            if balancers or guards
            else ClientConnection
        )

    def close(self) -> None:
        """After draining."""
        if self._renewal is not None:
            self._renewal.kill()


def register_metrics(servers: Sequence[Listener], metrics: Metrics) -> None:
    """Have the metrics follow what is open."""

    def in_flight() -> int:
        return sum(connection.request is not None for server in servers for connection in server.connections)

    metrics.watch("gproxy_connections", (), lambda: sum(len(server.connections) for server in servers))
    metrics.watch("gproxy_requests_in_flight", (), in_flight)
