"""Who is in an upstream: what its settings say, with the addresses that names have by now."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.sections.upstream_tls import is_used, prepare
from gproxy.config.types import BackendURL
from gproxy.runtime import Runtime
from gproxy.upstream.backend import Backend
from gproxy.upstream.dns import Addresses, Lookup, Name
from gproxy.upstream.health.state import Health
from gproxy.upstream.http1.tls_session import new_context

#: How long the start waits for names to resolve, in seconds; it goes on without them.
_PATIENCE: Final = 1.0


class Members:
    """Builds the backends; `changed` gets all of them whenever a name has other addresses than before."""

    def __init__(
        self,
        settings: UpstreamSettings,
        changed: Callable[[list[Backend]], None],
        lookup: Lookup,
    ) -> None:
        self._settings = settings
        self._changed = changed
        self._tls: dict[str, Any] = {}
        if is_used(settings):
            context = new_context()
            prepare(context, settings)
            self._tls = {"ssl_context": context, "server_hostname": settings.tls_name}
        #: The live backends of each that is written: one, or as many as its name has addresses.
        self._behind = {url: [self._backend(url)] for url in settings.backends}
        self._names = {url: self._name(url, lookup) for url in settings.backends if url.is_name}

    def all(self) -> list[Backend]:
        """In the order of the file."""
        return [backend for backends in self._behind.values() for backend in backends]

    def open(self, runtime: Runtime) -> list[gevent.Greenlet]:
        """Begin to resolve names, and wait a moment for the first answers; who has none is not healthy."""
        greenlets = [runtime.spawn(name.run, runtime) for name in self._names.values()]
        gevent.wait([name.settled for name in self._names.values()], _PATIENCE)
        for backend in self.all():
            if not backend.endpoint.targets:
                backend.health.mark_probe(False, "dns_error")
        return greenlets

    def doubt(self, backend: Backend) -> None:
        """It could not be reached: perhaps its name has moved on."""
        if name := self._names.get(backend.url):
            name.doubt()

    def _backend(self, url: BackendURL, addresses: Addresses = ()) -> Backend:
        settings = self._settings
        backend = Backend(
            url, keepalive=settings.keepalive, connect_timeout=settings.connect_timeout, max_age=settings.max_age,
            addresses=addresses, tls=self._tls,
        )
        backend.max_connections = backend.max_connections or settings.max_connections
        backend.health = Health(settings.initial if settings.health_path else "up")
        return backend

    def _name(self, url: BackendURL, lookup: Lookup) -> Name:
        return Name(
            url,
            upstream=self._settings.name,
            interval=self._settings.dns_interval,
            changed=self._resolved,
            lookup=lookup,
        )

    def _resolved(self, url: BackendURL, found: Sequence[Addresses]) -> None:
        """Who stays keeps its state, and its connections."""
        before = {backend.name: backend for backend in self._behind[url]}
        after = [self._backend(url, addresses) for addresses in found]
        for backend in after:
            if backend.name in before:
                before[backend.name].endpoint.targets = backend.endpoint.targets
        self._behind[url] = [before.get(backend.name, backend) for backend in after]
        self._changed(self.all())
