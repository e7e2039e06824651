"""What the listeners and the `[tls:NAME]` sections must have of each other."""

import time
from collections.abc import Iterator, Mapping, Sequence

from gproxy.config.problems import Problem, suggest
from gproxy.config.read import RawSection
from gproxy.config.sections import GatewaySettings, ServerSettings
from gproxy.config.tls import TLSSettings


def check(
    server: ServerSettings, gateway: GatewaySettings, names: Sequence[str], section: RawSection
) -> Iterator[Problem]:
    """`bind` words that lead nowhere; `names` are those of the [tls:NAME] sections, `section` is [server]."""
    for address in server.bind:
        if address.tls is not None and not names:
            yield section.problem("bind", f"{address} tls: there is no certificate; write a [tls:NAME] section")
        elif address.tls and address.tls not in names:
            yield section.problem("bind", f"{address} tls={address.tls}: unknown{suggest(address.tls, names)}")
        if address.proxy and not gateway.trusted_proxies and address.kind != "unix":
            message = f"{address} proxy: nobody may send the header; list who may in [gateway] trusted_proxies"
            yield section.problem("bind", message)


def unused(server: ServerSettings, sections: Sequence[RawSection]) -> Iterator[Problem]:
    """Certificates that no listener shows."""
    if all(address.tls is None for address in server.bind):
        for section in sections:
            yield section.problem("", "no address in [server] bind has the word tls, so this is not used")


def certificates(
    found: Sequence[tuple[TLSSettings, RawSection]], warnings: list[Problem], problems: list[Problem]
) -> None:
    """Read them all; note what is wrong or unwise, and host names that two sections claim."""
    from gproxy.config.certificates import read_certificate  # ssl is for those who use it, and is patched before

    owners: dict[str, RawSection] = {}
    for settings, section in found:
        try:
            certificate = read_certificate(settings, time.time())
        except ValueError as error:
            problems += _at(section, str(error).splitlines())
            continue
        warnings += _at(section, certificate.warnings)
        problems += _claimed(owners, certificate.names, section)


def _claimed(owners: dict[str, RawSection], names: Sequence[str], section: RawSection) -> Iterator[Problem]:
    for name in names:
        owner = owners.setdefault(name, section)
        if owner is not section:
            message = f"{name} belongs to [{owner.title}] at line {owner.line} already; say with hosts whose it is"
            yield section.problem("hosts", message)


def _at(section: RawSection, lines: Sequence[str]) -> Iterator[Problem]:
    for line in lines:
        option, _, message = line.partition(": ")
        yield section.problem(option, message)


def identity_headers(tls: Mapping[str, TLSSettings]) -> frozenset[str]:
    """In lower case: what only a client's certificate may say, and no client by itself."""
    return frozenset(header.lower() for settings in tls.values() for header in settings.forward.values())
