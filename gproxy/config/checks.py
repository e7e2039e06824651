"""Checks across sections: references between them, and sections that are unknown or unused."""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gproxy.config import hints
from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import RawSection, place_from
from gproxy.config.problems import Problem, suggest
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import Address, ModuleRef
from gproxy.config.types.template import PLACEHOLDERS
from gproxy.config.types.units import write_bytes

SINGLE = ("server", "gateway", "log", "state", "errors", "outgoing", "admin", "trace", "metrics")
NAMED = ("route", "upstream", "handler", "tls", "job")

#: The least number of streams of a connection that all clients can live with.
_FEWEST_STREAMS = 100

#: Built-in handlers that have others as members, and the option that names these.
MEMBERS = {"any_of": "of"}

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: A path in the message about a file or a folder that is not there.
_MISSING = re.compile(r"(\S+) (?:cannot be read: no such file or directory|is not a folder)")


def kinds(sections: Iterable[RawSection]) -> Iterator[Problem]:
    """Yield unknown sections, and section names that are missing, superfluous or invalid."""
    for section in sections:
        if section.kind not in SINGLE + NAMED:
            yield section.problem("", f"unknown section{hints.section(section.kind, section.name, SINGLE, NAMED)}")
        elif section.kind in SINGLE and section.name:
            yield section.problem("", f"this section has no name; write [{section.kind}]")
        elif section.kind in NAMED and not section.name:
            yield section.problem("", f"this section needs a name; write [{section.kind}:NAME]")
        elif section.kind in NAMED and not _NAME.fullmatch(section.name):
            written = re.sub(r"[^A-Za-z0-9_.-]+", "-", section.name).strip("-")
            message = "a name is made of letters, digits, '_', '.' and '-'"
            yield section.problem("", f"{message}; write [{section.kind}:{written or 'NAME'}]")


def unscheduled(jobs: Iterable[RawSection]) -> Iterator[Problem]:
    """Yield the jobs that say in no way when they run."""
    for section in jobs:
        if not {"every", "at"} & section.options.keys():
            yield section.problem("every", "is missing; expected every, such as 10m, or at, such as 03:30")


def names(section: RawSection, option: str) -> tuple[str, ...]:
    """Return a list of names from the raw section, so that a check does not need the rest of the section."""
    value = section.options.get(option)
    return tuple(item for _, item in split(value.text)) if value and option not in section.broken else ()


def unlisted(sections: Sequence[RawSection]) -> Iterator[Problem]:
    """Yield a warning for each unlisted handler: a jwt handler that no list names protects nothing."""
    lists = (section for section in sections if section.kind in {"gateway", "route", "handler"})
    options = {"gateway": "handlers", "route": "handlers"}
    listed = {name for one in lists for name in names(one, options.get(one.kind) or members_option(one))}
    for section in sections:
        if section.kind == "handler" and section.name not in listed:
            yield section.problem("", "no handlers list names this handler, so it does not run")


_VARIABLE = re.compile(r"\$([a-z][a-z0-9_]*)")


def variables(sections: Sequence[RawSection], handlers: Mapping[str, HandlerSettings]) -> Iterator[Problem]:
    """Yield a warning for each `$name` in a value that may have placeholders: it is sent as it is."""
    for section in sections:
        editing = section.kind == "handler" and section.name in handlers and handlers[section.name].use == "headers"
        for option in ("request", "response") if editing else ("redirect",) if section.kind == "route" else ():
            text = section.options[option].text if option in section.options else ""
            for found in _VARIABLE.finditer(text):
                yield section.problem(option, _literal(found[1]), below=text.count("\n", 0, found.start()))


def _literal(name: str) -> str:
    if meant := hints.placeholder(name):
        return f"${name} is sent as it is; write {meant}"
    # An unknown name is not quoted: it may be part of a secret.
    return f"'$' and the name behind it are sent as they are; known are {{{'}, {'.join(PLACEHOLDERS)}}}"


def handlers(
    lists: Iterable[tuple[RawSection, str]],
    declared: Collection[str],
    builtins: Collection[str],
) -> Iterator[Problem]:
    """Yield a problem for each name in these options that is neither a section nor the name of a handler."""
    for section, option in lists:
        for name in names(section, option):
            if name not in declared and not needs_no_section(name, builtins):
                hint = hints.item(name) or suggest(name, {*declared, *builtins})
                yield section.problem(option, f"unknown handler {name!r}{hint}")


def needs_no_section(name: str, builtins: Collection[str]) -> bool:
    """Return whether a handler may be listed without a section; PACKAGE:NAME is a value of `use` only."""
    return ":" not in name and name in builtins


def members_option(handler: RawSection) -> str:
    """Return the option in which the handler of this section names others, its members; "" without one."""
    use = handler.options.get("use")
    return MEMBERS.get(use.text if use else handler.name, "")


def uses(handlers: Iterable[HandlerSettings], builtins: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each handler whose `use` (by default its name) is neither built in nor MODULE:NAME.

    `builtins` are last: an unknown name may be that of an installed package, which takes a scan.
    """
    for handler in handlers:
        if is_reference(handler.use) or "use" in handler.section.broken or handler.use in builtins:
            continue
        yield handler.section.problem(
            "use", f"{_use(handler)} MODULE:NAME such as {ModuleRef.example}{_meant(handler.use, builtins)}"
        )


def _use(handler: HandlerSettings) -> str:
    if "use" in handler.section.options:
        return f"{handler.use!r} is neither a built-in handler nor"
    return f"is missing: {handler.use!r} is no handler, built in or of an installed package; expected one, or"


def _meant(use: str, builtins: Collection[str]) -> str:
    """Return the hint for a handler that does not exist: a file, a class behind a dot, or a name."""
    file, _, attribute = use.partition(":")
    if "/" in file:
        return f"; write {file.removesuffix('.py').strip('./').replace('/', '.')}:{attribute or 'NAME'}"
    module, dot, name = use.rpartition(".")
    return f"; write {module}:{name}" if dot else suggest(use, builtins)


def skips(skip: Iterable[str], listed: Collection[str], section: RawSection) -> Iterator[Problem]:
    """Yield a problem for each name in `skip` that [gateway] handlers does not list."""
    for name in skip:
        if name not in listed:
            end = hints.item(name) or suggest(name, listed)
            yield section.problem("skip", f"[gateway] handlers does not list {name!r}{end}")


def places(routes: Iterable[tuple[RouteSettings, RawSection]], server: ServerSettings) -> Iterator[Problem]:
    """Yield a problem for each listener of a route that is no address of [server] bind."""
    known = {str(address) for address in server.bind}
    for route, section in routes:
        for address in route.listener:
            if str(address) not in known:
                message = f"[server] bind has no {str(address)!r}{suggest(str(address), known)}"
                yield section.problem("listener", message)


def limits(routes: Iterable[tuple[RouteSettings, RawSection]], server: ServerSettings) -> Iterator[Problem]:
    """Yield a problem for each route whose limit exceeds the server's, which applies first."""
    for route, section in routes:
        if 0 < server.max_body < route.max_body:
            server_limit = f"[server] max_body, {write_bytes(server.max_body)}"
            hint = "; raise that one, and bound the other routes with the handler body_limit"
            yield section.problem("max_body", f"is more than {server_limit}, which holds for all routes{hint}")


def shadowed(routes: Iterable[tuple[RouteSettings, RawSection]]) -> Iterator[Problem]:
    """Yield a problem for each route that gets no request, because an earlier route takes all of them."""
    before: dict[object, list[tuple[RouteSettings, RawSection]]] = {}
    for route, section in routes:
        hosts = {host.lower() for host in route.host}
        places = [(path, _matches(route), host) for path in _path_keys(route) for host in hosts or {""}]
        first = next((one for one in before.get(places[0], ()) if _takes_all_of(one[0], hosts, route)), None)
        if first:
            yield section.problem("", _shadow(route, *first, section.file))
        for place in places:
            before.setdefault(place, []).append((route, section))


def _matches(route: RouteSettings) -> object:
    """Return a key of all that a route matches, except paths, hosts and methods."""
    needs = (
        (kind, name.lower() if kind == "headers" else name, pattern.text)
        for kind in ("headers", "cookies", "query")
        for name, pattern in getattr(route, kind).items()
    )
    return route.scheme, frozenset(needs), frozenset(route.client), frozenset(route.listener)


def _path_keys(route: RouteSettings) -> set[object]:
    return {(path.text, True) if route.exact else (path.prefix or path.text, False) for path in route.path}


def _takes_all_of(earlier: RouteSettings, hosts: set[str], route: RouteSettings) -> bool:
    """Return whether `earlier`, which has one of the same paths and all matches, takes all requests of `route`.

    A route with methods precedes one without, whatever the order of the file.
    """
    if bool(earlier.methods) != bool(route.methods) or not _path_keys(route) <= _path_keys(earlier):
        return False
    return hosts <= {host.lower() for host in earlier.host} and {*route.methods} <= {*earlier.methods}


def _shadow(route: RouteSettings, earlier: RouteSettings, section: RawSection, file: str) -> str:
    same = {*route.methods} == {*earlier.methods} and len(route.host) == len(earlier.host)
    same = same and len(route.path) == len(earlier.path)
    what = "takes the same requests as" if same else "gets no request: all of them go to"
    return f"{what} [{section.title}] at {place_from(section, file)}; change path, host, methods or another match"


def in_clear(routes: Sequence[tuple[RouteSettings, RawSection]], server: ServerSettings) -> Iterator[Problem]:
    """Yield a warning for each route that answers in clear although another route redirects to https.

    The redirect takes a request only if no route has a longer path, a host, methods or more conditions.
    """
    if all(address.tls is not None or address.redirect for address in server.bind):
        return
    redirects = [(at, *one) for at, one in enumerate(routes) if _leads_to_https(one[0])]
    for at, (route, section) in enumerate(routes) if redirects else ():
        precede = (_precedes(first, route, earlier=place < at) for place, first, _ in redirects)
        if route.scheme is None and route.redirect is None and not any(precede):
            yield section.problem("", _clear(redirects[0][2], section.file))


def _leads_to_https(route: RouteSettings) -> bool:
    return route.scheme == "http" and route.redirect is not None and str(route.redirect).startswith("https:")


def _precedes(redirect: RouteSettings, route: RouteSettings, *, earlier: bool) -> bool:
    """Return whether the redirect takes every request in clear that the other route would take."""
    if _conditions(redirect) or redirect.methods or route.methods:
        return False
    if not _path_keys(route) <= _path_keys(redirect) or bool(redirect.host) != bool(route.host):
        return False
    hosts = {host.lower() for host in redirect.host}
    return {host.lower() for host in route.host} <= hosts and _conditions(route) < (2 if earlier else 1)


def _conditions(route: RouteSettings) -> int:
    """Return the number of conditions besides path, host, methods and scheme."""
    pairs = len(route.headers) + len(route.cookies) + len(route.query)
    return pairs + bool(route.client) + bool(route.listener)


def _clear(redirect: RawSection, file: str) -> str:
    return (
        f"answers in clear too, although [{redirect.title}] at {place_from(redirect, file)} redirects to https; write "
        "scheme = https, or let the listener redirect everything, as in bind = :80 redirect"
    )


def id_header(
    name: str,
    section: RawSection,
    upstreams: Sequence[UpstreamSettings],
    tls: Iterable[TLSSettings],
    handlers: Iterable[HandlerSettings],
) -> Iterator[Problem]:
    """Yield a problem for each part that sets the header of requests' ids to something else."""
    used = [(f"retry_header of [upstream:{one.name}]", one.retry.header) for one in upstreams]
    used += [(f"deadline_header of [upstream:{one.name}]", one.deadline_header) for one in upstreams]
    used += [(f"a header of [tls:{one.name}]", header) for one in tls for header in one.forward.values()]
    for one in handlers:
        used += [
            (f"a header of [handler:{one.name}]", header) for header in getattr(one.handler, "identity_headers", ())
        ]
    for place, header in used:
        if header and header.lower() == name.lower():
            yield section.problem("request_id_header", f"{name} is already {place}; expected another one")


def is_reference(text: str) -> bool:
    """Return whether `text` has the form MODULE:NAME."""
    try:
        ModuleRef.parse(text)
    except ValueError:
        return False
    return True


def listeners(
    server: ServerSettings, gateway: GatewaySettings, names: Sequence[str], section: RawSection
) -> Iterator[Problem]:
    """Yield the problems of the words in `bind`. `names` are the [tls:NAME] sections' names, `section` is [server]."""
    for address in server.bind:
        if address.tls is not None and not names:
            hint = f"there is no certificate; write a [tls:{address.tls or 'NAME'}] section"
            yield section.problem("bind", f"{address} tls: {hint}")
        elif address.tls and address.tls not in names:
            yield section.problem("bind", f"{address} tls={address.tls}: unknown{suggest(address.tls, names)}")
        if address.proxy and not gateway.trusted_proxies and address.kind != "unix":
            message = f"{address} proxy: no peer may send a PROXY header; list the proxies in [gateway] trusted_proxies"
            yield section.problem("bind", message)


def few_streams(server: ServerSettings, section: RawSection) -> Iterator[Problem]:
    """Yield a warning if clients may have fewer streams than RFC 9113 recommends (section 6.5.2)."""
    if server.max_streams < _FEWEST_STREAMS:
        message = f"some clients stall or open further connections below {_FEWEST_STREAMS} (RFC 9113 section 6.5.2)"
        yield section.problem("max_streams", message)


def unused_tls(addresses: Iterable[Address], sections: Sequence[RawSection]) -> Iterator[Problem]:
    """Yield a warning for each certificate if none of the addresses, which are all that there are, uses TLS."""
    if all(address.tls is None for address in addresses):
        for section in sections:
            yield section.problem("", "no address in [server] bind has tls, so this section has no effect")


def certificates(
    found: Sequence[tuple[TLSSettings, RawSection]], warnings: list[Problem], problems: list[Problem]
) -> None:
    """Read all certificates. Add their problems and warnings, and host names that two sections serve."""
    from gproxy.config.certificates import read_certificate  # late: ssl is patched first, and only TLS needs it

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
            first = f"[{owner.title}] at {place_from(owner, section.file)}"
            yield section.problem("hosts", f"{name} already belongs to {first}; set hosts to assign it")


def _at(section: RawSection, lines: Sequence[str]) -> Iterator[Problem]:
    for line in lines:
        option, _, message = line.partition(": ")
        yield section.problem(option, message)


def started_elsewhere(path: Path, problems: Sequence[Problem]) -> list[Problem]:
    """Return a problem if files are missing that are in the folder of the settings at `path`."""
    missing = [match[1] for problem in problems if (match := _MISSING.search(problem.message))]
    name = next((name for name in missing if (path.parent / name).exists()), "")
    if not name:
        return []
    where = f"{name} is in {path.parent}: start there, or write whole paths"
    return [Problem(str(path), 0, "", "", f"paths are relative to the working directory, and {where}")]
