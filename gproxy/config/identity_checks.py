"""Checks of identity across sections: the handlers that identify clients, and the headers that only they may set."""

from collections.abc import Collection, Iterable, Iterator

from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.sections.outgoing import OutgoingSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, LogSettings
from gproxy.config.sections.tls import TLSSettings


def logged_identities(log: LogSettings, identity: Collection[str], section: RawSection) -> Iterator[Problem]:
    """Yield a problem for each field of access lines that is an identity header: a client's own copy is a forgery."""
    value = section.options.get("fields")
    for field, (below, _) in zip(log.fields, split(value.text) if value else (), strict=False):
        if field.header.lower() in identity:
            message = f"{field.header} says who a user is, so no copy of it is logged; the field user has the user"
            yield section.problem("fields", message, below=below)


def identity_headers(tls: Iterable[TLSSettings], handlers: Iterable[object]) -> frozenset[str]:
    """Return the headers that only these live handlers and a client's certificate may set, in lower case."""
    of_tls = frozenset(header.lower() for settings in tls for header in settings.forward.values())
    return of_tls.union(*(getattr(handler, "identity_headers", ()) for handler in handlers))


def insecure_urls(handlers: Iterable[HandlerSettings], outgoing: OutgoingSettings) -> Iterator[Problem]:
    """Yield a problem for each handler with a URL that the gateway itself may not ask, because it is not encrypted."""
    for found in handlers:
        check = getattr(found.handler, "check_urls", None)
        try:
            if check is not None:
                check(insecure=outgoing.insecure)
        except ValueError as error:
            option, _, message = str(error).partition(": ")
            yield found.section.problem(option, message)


def certificates(
    handlers: Iterable[HandlerSettings], tls: Iterable[TLSSettings], gateway: GatewaySettings, server: ServerSettings
) -> Iterator[Problem]:
    """Yield a warning for each handler that gets no client certificate: none is requested, or no proxy is trusted."""
    is_requested = any(one.client_auth != "off" for one in tls)
    has_proxies = gateway.trusted_proxies or any(address.kind == "unix" for address in server.bind)
    for found in handlers:
        sources = {str(source) for source in getattr(found.handler, "sources", ())}
        if "tls" in sources and not is_requested:
            yield found.section.problem("sources", "no [tls:NAME] has client_auth, so no client has a certificate")
        if not has_proxies and (headers := sources & {"client_cert", "xfcc"}):
            message = f"{min(headers)} is read from trusted proxies only, and [gateway] trusted_proxies lists none"
            yield found.section.problem("sources", message)
