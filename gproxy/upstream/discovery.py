"""Discovery of the backends of an upstream, from its settings and from DNS names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.sections.upstream_tls import prepare
from gproxy.config.types import BackendURL
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.dns import Addresses, Lookup, ResolvedName, look_up
from gproxy.upstream.health.state import BackendHealth
from gproxy.upstream.http1.pool import IdleConnections, MakeConnections
from gproxy.upstream.http1.tls_session import OFFERS, new_context

#: How long the start waits for names to resolve, in seconds; then it continues without them.
_START_TIMEOUT: Final = 1.0


@dataclass(frozen=True)
class Network:
    """The way to backends: what makes the connections to each, and what resolves their names."""

    connections: MakeConnections = IdleConnections
    lookup: Lookup = look_up


#: Sockets, and the resolver of the system.
SOCKETS: Final = Network()


def tls_of(settings: UpstreamSettings, offers: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of urllib3 for TLS to an upstream, which gets these offers by ALPN; empty without TLS."""
    if not settings.uses_tls:
        return {}
    context = new_context(offers)
    prepare(context, settings.tls)
    return {"ssl_context": context, "server_hostname": settings.tls.name}


class Discovery:
    """The backends of one upstream; `changed` gets all of them when the addresses of a name change."""

    def __init__(
        self,
        settings: UpstreamSettings,
        changed: Callable[[list[Backend]], None],
        runtime: Runtime,
        network: Network,
    ) -> None:
        self._settings = settings
        self._changed = changed
        self._runtime = runtime
        self._connections = network.connections
        self._tls = tls_of(settings, OFFERS[settings.http2])
        #: The live backends of each URL in the settings: one, or one for each address of its name.
        self._backends = {url: [self._backend(url)] for url in settings.backends}
        self._names = {url: self._name(url, network.lookup) for url in settings.backends if url.is_name}

    def all(self) -> list[Backend]:
        """Return all backends in the order of the file."""
        return [backend for backends in self._backends.values() for backend in backends]

    def open(self) -> list[gevent.Greenlet]:
        """Start the look-ups and wait for the first results; a backend without an address becomes unhealthy."""
        greenlets = [self._runtime.spawn(name.run) for name in self._names.values()]
        gevent.wait([name.settled for name in self._names.values()], _START_TIMEOUT)
        for backend in self.all():
            if not backend.endpoint.targets:
                backend.health.mark_probe(False, "dns_error")
        return greenlets

    def refresh_soon(self, backend: Backend) -> None:
        """Look up the name of an unreachable backend soon: its addresses may have changed."""
        if name := self._names.get(backend.url):
            name.refresh_soon()

    def _backend(self, url: BackendURL, addresses: Addresses = ()) -> Backend:
        settings = self._settings
        connections = self._connections(
            url,
            keepalive=settings.keepalive,
            connect_timeout=settings.connect_timeout,
            max_age=settings.max_age,
            addresses=addresses,
            tls=self._tls,
        )
        return Backend(
            url,
            connections,
            connect_timeout=settings.connect_timeout,
            max_connections=settings.max_connections,
            health=BackendHealth(settings.health.initial if settings.health.sends_probes else "up"),
            addresses=addresses,
        )

    def _name(self, url: BackendURL, lookup: Lookup) -> ResolvedName:
        return ResolvedName(
            url,
            upstream=self._settings.name,
            interval=self._settings.dns_interval,
            changed=self._resolved,
            random=self._runtime.random,
            lookup=lookup,
        )

    def _resolved(self, url: BackendURL, found: Sequence[Addresses]) -> None:
        """Replace the backends of a name. A backend whose address remains keeps its state and connections."""
        before = {backend.name: backend for backend in self._backends[url]}
        after = [self._backend(url, addresses) for addresses in found]
        for backend in after:
            if backend.name in before:
                before[backend.name].endpoint.targets = backend.endpoint.targets
        self._backends[url] = [before.get(backend.name, backend) for backend in after]
        self._changed(self.all())
