"""Checks of `[admin]` against the other sections: its addresses and certificates, and what is open to others."""

from collections.abc import Iterable, Iterator

from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem, suggest
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.types import Address
from gproxy.config.types.addresses import is_here


def listeners(
    admin: AdminSettings, server: ServerSettings, tls: Iterable[RawSection], section: RawSection
) -> Iterator[Problem]:
    """Yield a problem for each address that clients already have, and for each unknown certificate."""
    names = [one.name for one in tls]
    for address in admin.bind:
        if address in server.bind:
            yield section.problem("bind", f"{address} is in [server] bind too; write another address")
        if address.tls is not None and not names:
            yield section.problem("bind", f"{address} has tls, but there is no [tls:NAME] section")
        elif address.tls and address.tls not in names:
            yield section.problem("bind", f"unknown [tls:{address.tls}]{suggest(address.tls, names)}")


def in_clear(admin: AdminSettings, section: RawSection) -> Iterator[Problem]:
    """Yield a warning for each address that other machines reach without TLS: the token travels in clear."""
    for address in admin.bind:
        if address.kind == "tcp" and address.tls is None and not _is_local(address):
            message = f"{address} is open to other machines without tls, so tokens travel in clear; write {address} tls"
            yield section.problem("bind", message)


def _is_local(address: Address) -> bool:
    return bool(address.host) and address.host not in {"0.0.0.0", "::"} and is_here(address.host)  # noqa: S104
