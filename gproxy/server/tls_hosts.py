"""The TLS hosts by server name: certificates and client authentication; reloaded when the files change."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Final

import gevent

from gproxy.config.certificates import PROTOCOLS, Certificate, files, read_certificate
from gproxy.config.file_stamp import FileStamp
from gproxy.config.revocation_lists import outdated
from gproxy.config.sections.tls import TLSSettings
from gproxy.http.wire import bare_host
from gproxy.runtime import Runtime

#: Seconds between two checks of the files. A changed file is read once two checks agree.
LOOK: Final = 1.0

_log = logging.getLogger("gproxy")


class TLSHost:
    """A live `[tls:NAME]` section: its certificate, and what it demands of clients."""

    def __init__(self, settings: TLSSettings, certificate: Certificate) -> None:
        self.settings = settings
        self.certificate = certificate
        #: A connection to this host may serve another host only if both have the same demands.
        self.demands = (settings.client_auth, settings.client_ca, settings.client_crl, settings.min_version)
        self.is_guarded = settings.client_auth == "required"
        self.hsts = f"max-age={settings.hsts:.0f}" if settings.hsts else ""

    @property
    def context(self) -> SSLContext:
        """The SSL context of this host alone: sessions cannot be resumed at a host with other demands."""
        return self.certificate.context


class TLSHosts:
    """The TLS hosts of a process, by host name."""

    def __init__(self, tls_hosts: Iterable[TLSHost]) -> None:
        self._all = {tls_host.settings.name: tls_host for tls_host in tls_hosts}
        self._by_host: dict[str, TLSHost] = {}
        #: The number of times that a reload may have moved a host name to another section.
        self.reloads = 0
        self._index()

    def _index(self) -> None:
        self._by_host = {host: tls_host for tls_host in self._all.values() for host in tls_host.certificate.names}

    def default(self, name: str) -> TLSHost:
        """Return the TLS host of the section `name`, or of the first section if `name` is empty."""
        return self._all[name] if name else next(iter(self._all.values()))

    def find(self, host: str, default: TLSHost) -> TLSHost:
        """Return the TLS host of a host name (lower case, no port), or `default`.

        A wildcard covers one level (RFC 9525 section 6.3).
        """
        return self._find(host) or default

    def _find(self, host: str) -> TLSHost | None:
        return self._by_host.get(host) or self._by_host.get(f"*.{host.partition('.')[2]}")

    def is_misdirected(self, host: str, tls_host: TLSHost, default: TLSHost) -> bool:
        """Return whether the TLS host of `host` has other demands than the connection's, which would be evaded."""
        return self.find(bare_host(host), default).demands != tls_host.demands

    @property
    def are_guarded(self) -> bool:
        """True if some hosts require a client certificate."""
        return any(tls_host.is_guarded for tls_host in self._all.values())

    def is_guarded(self, host: str) -> bool:
        """Return whether requests for this Host require a client certificate, and so TLS."""
        found = self._find(bare_host(host))
        return found is not None and found.is_guarded

    def expires(self, name: str) -> float:
        """Return when the certificate of the section `name` expires, in seconds since the epoch."""
        return self._all[name].certificate.expires

    def lists_expire(self, name: str) -> float:
        """Return when a revocation list of the section `name` is outdated, in seconds since the epoch."""
        return self._all[name].certificate.lists.expires

    def reload(self, name: str, certificate: Certificate) -> None:
        """Replace the certificate of the section `name`, for new handshakes."""
        self._all[name].certificate = certificate
        self.reloads += 1
        self._index()


class CertificateReloader:
    """A poll of the certificate files; an invalid certificate or key leaves the old one in use."""

    def __init__(
        self,
        tls_hosts: TLSHosts,
        settings: Mapping[str, TLSSettings],
        runtime: Runtime,
        protocols: Sequence[str] = PROTOCOLS,
    ) -> None:
        self._tls_hosts = tls_hosts
        self._settings = settings
        #: The protocols to offer.
        self._protocols = protocols
        self._runtime = runtime
        self._read = {name: _stamps(files(section)) for name, section in settings.items()}
        self._seen = dict(self._read)
        #: For each section, the end of the revocation lists that the log has already reported.
        self._reported: dict[str, float] = {}

    def run(self) -> None:
        """Check the files every LOOK seconds until killed."""
        while True:
            gevent.sleep(LOOK)
            for name, section in self._settings.items():
                self.look(name, section)
                self.report_outdated(name)

    def look(self, name: str, section: TLSSettings) -> None:
        """Reload the section's certificate if its files have changed.

        Certificate and key are replaced one after the other: they match only once two checks agree.
        """
        stamps = self._runtime.offload(_stamps, files(section))
        was_seen, self._seen[name] = self._seen[name], stamps
        if stamps == self._read[name] or stamps != was_seen:
            return
        self._read[name] = stamps
        certificate = self._runtime.offload(_read, section, self._runtime.clock(), self._protocols)
        if isinstance(certificate, str):
            _log.error("[tls:%s] %s; keeping the previous certificate", name, certificate)
            return
        for warning in certificate.warnings:
            _log.warning("[tls:%s] %s", name, warning)
        self._tls_hosts.reload(name, certificate)
        _log.info("[tls:%s] certificate reloaded", name)

    def report_outdated(self, name: str) -> None:
        """Log once when a revocation list of the section is outdated: its clients are rejected from then on."""
        expires = self._tls_hosts.lists_expire(name)
        if expires <= self._runtime.clock() and self._reported.get(name) != expires:
            self._reported[name] = expires
            _log.error("[tls:%s] %s", name, outdated(expires))


def _read(settings: TLSSettings, now: float, protocols: Sequence[str]) -> Certificate | str:
    """Return the certificate, or the error as text: gevent prints the traceback of an exception in a thread."""
    try:
        return read_certificate(settings, now, protocols)
    except ValueError as error:
        return str(error).replace("\n", "; ")
    except Exception as error:  # noqa: BLE001 a bug must not end the reloading: revocations would never come
        return f"the files cannot be read: {type(error).__name__}: {error}"


def _stamps(paths: Iterable[Path]) -> tuple[FileStamp | None, ...]:
    return tuple(map(FileStamp.of, paths))
