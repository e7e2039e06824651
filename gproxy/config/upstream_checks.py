"""Checks of upstreams across sections: who uses them, and options and backends that have no effect or no end."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args

from gproxy.config import hints
from gproxy.config.checks import NAMED, SINGLE
from gproxy.config.ini.build import changed, option_hints, option_values
from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem, suggest
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import HandlerSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import UpstreamName


def upstreams(sections: Sequence[RawSection], path: Path) -> Iterator[Problem]:
    """Yield a problem for each unknown upstream of a route, or for a file without routes."""
    known = [section.name for section in sections if section.kind == "upstream" and section.name]
    routes = [section for section in sections if section.kind == "route"]
    for route in routes:
        for option, below, name in _upstreams_of(route):
            if name not in known:
                hint = "; expected one name; mirror_share has the share" if " " in name else _upstream_hint(name, known)
                yield route.problem(option, f"unknown upstream {name!r}{hint}", below=below)
    has_unknown = any(section.kind not in SINGLE + NAMED for section in sections)  # perhaps a mistyped route
    if not (routes or has_unknown):
        yield Problem(str(path), 0, "", "", "there is no route; write a [route:NAME] with an upstream")


def _upstream_hint(name: str, known: Collection[str]) -> str:
    """Return the hint for an unknown upstream; an address is a backend of an upstream."""
    if name.removeprefix("upstream:") in known:
        return f"; write {name.removeprefix('upstream:')}"
    if re.match(r"\w+://|unix:|[\w.-]+:[0-9]+$|\[", name):
        return "; expected the NAME of an [upstream:NAME], which has this address in backends ="
    return hints.item(name) or suggest(name, known)


def _upstreams_of(route: RawSection) -> Iterator[tuple[str, int, str]]:
    """Yield each upstream that a route names: option, lines below the option's first line, name."""
    found = {name: value for name, value in route.options.items() if name not in route.broken}
    if value := found.get("upstream"):
        for below, item in split(value.text):
            yield "upstream", below, item.split()[0]
    if (value := found.get("mirror")) and value.text:  # one name, without a share
        yield "mirror", 0, value.text


def unused(sections: Sequence[RawSection]) -> Iterator[Problem]:
    """Yield a warning for each unused upstream; the cause is often a name that was changed in one place only."""
    used = {name for section in sections if section.kind == "route" for _, _, name in _upstreams_of(section)}
    handlers = (section for section in sections if section.kind == "handler")
    used |= {value.text for section in handlers for value in section.options.values()}
    for section in sections:
        if section.kind == "upstream" and section.name not in used:
            yield section.problem("", "no route and no option of a handler names this upstream")


def asked(handlers: Iterable[HandlerSettings], sections: Iterable[RawSection]) -> Iterator[Problem]:
    """Yield a problem for each unknown upstream that a handler would ask, as an option of it says."""
    known = [section.name for section in sections if section.kind == "upstream" and section.name]
    for found in handlers:
        for option, name in _asked_by(found):
            if name not in known:
                yield found.section.problem(option, f"unknown upstream {name!r}{_upstream_hint(name, known)}")


def _asked_by(found: HandlerSettings) -> Iterator[tuple[str, str]]:
    """Yield each option that names an upstream, with the name; of a handler that was not built those in its section."""
    if is_dataclass(found.handler):
        for option, name in option_values(found.handler).items():
            if isinstance(name, UpstreamName):
                yield option, str(name)
        return
    try:
        hints_of = option_hints(found.code) if isinstance(found.code, type) else {}
    except Exception:  # noqa: BLE001 a type of user code that cannot be found; its handler has that problem
        return
    for option, value in found.options.items():
        if value.text and UpstreamName in (hint := hints_of.get(option), *get_args(hint)):
            yield option, value.text


def unverified(upstreams: Iterable[tuple[UpstreamSettings, RawSection]]) -> Iterator[Problem]:
    """Yield a warning for each upstream whose certificates are not verified."""
    for upstream, section in upstreams:
        if not upstream.tls.verify:
            yield section.problem(
                "tls_verify", "certificates are not verified, so an attacker can read and change traffic"
            )


#: Options of the active health check, and those of `http` only.
_PROBES = ("health_interval", "health_timeout", "health_host", "health_headers", "initial", "rise", "fall")
_HTTP_PROBES = ("health_status", "health_body")
_BREAKER = (
    "breaker_errors", "breaker_latency", "breaker_quantile", "breaker_window", "breaker_requests", "breaker_open",
)  # fmt: skip
#: Options of an upstream that have no effect unless another option is set, and that option.
_ONLY_WITH = {
    "http2_connections": "http2",
    "queue_timeout": "queue",
    **dict.fromkeys(_BREAKER, "breaker"),
    **dict.fromkeys(_HTTP_PROBES, "health_path"),
    **dict.fromkeys(("fail_window", "eject_time"), "max_fails"),
}
#: The values of these that switch something off.
_OFF = (None, False, 0, "", (), "no")


def _why_idle(option: str, upstream: UpstreamSettings, values: Mapping[str, object]) -> str:
    """Return why the option has no effect; "" if it has one."""
    is_grpc = upstream.health.kind == "grpc"
    if option == "health_service":
        return "" if is_grpc else "has no effect without health = grpc"
    if is_grpc and option in ("health_path", *_HTTP_PROBES):
        return "has no effect with health = grpc"
    if option == "retry_on" and "grpc_unavailable" in upstream.retry.on and upstream.http2 == "no":
        return "grpc_unavailable has no effect without http2"
    if option in _PROBES:
        return "" if upstream.health.sends_probes else "has no effect without health_path"
    needed = _ONLY_WITH.get(option)
    return f"has no effect without {needed}" if needed is not None and values[needed] in _OFF else ""


def idle(upstreams: Iterable[tuple[UpstreamSettings, RawSection]]) -> Iterator[Problem]:
    """Yield a warning for each option of an upstream without effect, and for upstreams without an active backend."""
    for upstream, section in upstreams:
        values = option_values(upstream)
        for option in changed(upstream):  # the default has no effect anyway
            if why := _why_idle(option, upstream, values):
                yield section.problem(option, why)
        if all(backend.down or backend.drain or not backend.weight for backend in upstream.backends):
            yield section.problem("backends", "no backend takes new clients: each one is down, drain or weight=0")


def protocols(
    routes: Iterable[tuple[RouteSettings, RawSection]], upstreams: Iterable[UpstreamSettings]
) -> Iterator[Problem]:
    """Yield a warning for each option of a route that its upstreams' version of HTTP cannot fulfil."""
    http2 = {upstream.name: upstream.http2 for upstream in upstreams}
    for route, section in routes:
        names = [share.name for share in route.upstream if share.name in http2]
        if "grpc_unavailable" in (route.retry_on or ()) and names and all(http2[name] == "no" for name in names):
            yield section.problem("retry_on", f"grpc_unavailable has no effect without http2 in [upstream:{names[0]}]")
        tunnels = [protocol for protocol in route.upgrades if protocol != "websocket"]
        for name in names if tunnels else ():
            if http2[name] == "yes":
                message = f"{tunnels[0]} gets 502 from [upstream:{name}]: with http2 = yes only websocket is tunnelled"
                yield section.problem("upgrades", message)


def loops(upstreams: Iterable[tuple[UpstreamSettings, RawSection]], server: ServerSettings) -> Iterator[Problem]:
    """Yield a warning for each backend that is a listener of the gateway itself."""
    for upstream, section in upstreams:
        value = section.options["backends"]
        for backend, (below, _) in zip(upstream.backends, split(value.text), strict=False):
            own = next((address for address in server.bind if address.serves(backend)), None)
            if own is not None:
                message = f"{backend} is this gateway, by [server] bind = {own}: requests to it get 508 (loop)"
                yield section.problem("backends", message, below=below)
