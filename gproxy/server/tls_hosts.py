"""Which certificate a client gets, and with it what it must prove; read again when the files change."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Final

import gevent

from gproxy.config.certificates import Certificate, files, read_certificate
from gproxy.config.sections.tls import TLSSettings
from gproxy.gateway.candidates import bare_host
from gproxy.runtime import Runtime

#: Between two looks at the files, in seconds. What has changed is read once two looks have seen the same.
LOOK: Final = 1.0

_log = logging.getLogger("gproxy")

Stamp = tuple[tuple[int, int, int] | None, ...]


class TLSHost:
    """One `[tls:NAME]` section, live."""

    def __init__(self, settings: TLSSettings, certificate: Certificate) -> None:
        self.settings = settings
        self.certificate = certificate
        #: What a client has proved to this site counts at another one only if that one asks for the same.
        self.demands = (settings.client_auth, settings.client_ca, settings.min_version)
        self.is_guarded = settings.client_auth == "required"
        self.hsts = f"max-age={settings.hsts:.0f}" if settings.hsts else ""

    @property
    def context(self) -> SSLContext:
        """Each has its own, and so its own sessions: none is resumed at a site that asks for more."""
        return self.certificate.context


class TLSHosts:
    """All of them, by host name."""

    def __init__(self, sites: Iterable[TLSHost]) -> None:
        self._all = {site.settings.name: site for site in sites}
        self._by_host: dict[str, TLSHost] = {}
        self._index()

    def _index(self) -> None:
        self._by_host = {host: site for site in self._all.values() for host in site.certificate.names}

    def default(self, name: str) -> TLSHost:
        """That section's; without a name the first one's."""
        return self._all[name] if name else next(iter(self._all.values()))

    def find(self, host: str, default: TLSHost) -> TLSHost:
        """The one for that host, given without port and in lower case; a wildcard is for one level (RFC 9525 6.3)."""
        return self._find(host) or default

    def _find(self, host: str) -> TLSHost | None:
        return self._by_host.get(host) or self._by_host.get(f"*.{host.partition('.')[2]}")

    def is_misdirected(self, host: str, site: TLSHost, default: TLSHost) -> bool:
        """Would a request for this Host, on a connection made to `site`, slip past what its own site asks for?"""
        return self.find(bare_host(host), default).demands != site.demands

    @property
    def are_guarded(self) -> bool:
        """Are there hosts that nobody reaches without a certificate?"""
        return any(site.is_guarded for site in self._all.values())

    def is_guarded(self, host: str) -> bool:
        """May a request for this Host come over TLS only, because a client has something to prove there?"""
        found = self._find(bare_host(host))
        return found is not None and found.is_guarded

    def reload(self, name: str, certificate: Certificate) -> None:
        """For handshakes from now on."""
        self._all[name].certificate = certificate
        self._index()


class CertificateReloader:
    """Looks at the files now and then; a pair that is no pair leaves the old one in place."""

    def __init__(self, sites: TLSHosts, settings: Mapping[str, TLSSettings], runtime: Runtime) -> None:
        self._sites = sites
        self._settings = settings
        self._runtime = runtime
        self._read = {name: _stamp(files(section)) for name, section in settings.items()}
        self._seen = dict(self._read)

    def run(self) -> None:
        """Until it is killed."""
        while True:
            gevent.sleep(LOOK)
            for name, section in self._settings.items():
                self.look(name, section)

    def look(self, name: str, section: TLSSettings) -> None:
        """Files are replaced one after the other: not before they stand still they belong together."""
        stamp = self._runtime.offload(_stamp, files(section))
        was_seen, self._seen[name] = self._seen[name], stamp
        if stamp == self._read[name] or stamp != was_seen:
            return
        self._read[name] = stamp
        certificate = self._runtime.offload(_read, section, self._runtime.clock())
        if isinstance(certificate, str):
            _log.error("[tls:%s] %s; the certificate that was read before stays", name, certificate)
            return
        for warning in certificate.warnings:
            _log.warning("[tls:%s] %s", name, warning)
        self._sites.reload(name, certificate)
        _log.info("[tls:%s] the certificate was read again", name)


def _read(settings: TLSSettings, now: float) -> Certificate | str:
    """Or why not: what is raised in a thread, gevent prints with its traceback."""
    try:
        return read_certificate(settings, now)
    except ValueError as error:
        return str(error).replace("\n", "; ")


def _stamp(paths: list[Path]) -> Stamp:
    return tuple(_identity(path) for path in paths)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
