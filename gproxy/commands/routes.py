"""`gproxy routes`: a description of every route. `gproxy explain` uses the same rows."""

import argparse
from collections.abc import Iterable, Iterator

from gproxy.commands.check import built
from gproxy.commands.live import live_routes
from gproxy.commands.live.admin_client import add_admin_options, ask_monitor
from gproxy.config.advice import handler_names
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import HandlerSettings, Settings, is_identity_handler
from gproxy.config.sections.static import StaticOptions
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import Seconds
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.units import plural, write_bytes, write_seconds
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.route import Route
from gproxy.handlers.allow import Allow
from gproxy.http.forwarding import WEBSOCKET

#: Label and text; an empty label continues the row above.
Row = tuple[str, str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the choice between the settings and the running gateway."""
    parser.add_argument("--live", action="store_true", help="the routes of the running gateway, with their values")
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print every route. Raises ArgumentError and ConfigError."""
    if options.live:
        return ask_monitor(options, live_routes.show)
    if options.config is None or options.admin or options.json:
        needed = "--config" if options.config is None else "--live, which --admin and --json need"
        raise argparse.ArgumentError(None, f"missing: {needed}")
    print(describe(*built(options.config)))
    return 0


def describe(settings: Settings, gateway: Gateway) -> str:
    """Return a paragraph for each route, in the order of precedence: match, chain in order, limits and action."""
    routes = sorted(gateway.router.routes, key=_order)
    return "\n\n".join(_paragraph(route, settings) for route in routes)


def _order(route: Route) -> tuple[bool, bool, int, str]:
    """Return the sort key of a route by its paths: exact ones, then patterns, then the longest prefix."""
    longest = max(map(len, (*route.exact, *route.prefixes)), default=0)
    return not route.exact, not route.patterns, -longest, route.name


def table(rows: Iterable[Row]) -> str:
    """Return the rows as two aligned columns."""
    rows = list(rows)
    width = max([9, *(len(label) for label, _ in rows)])
    return "\n".join(f"  {label:{width}} {text}".rstrip() for label, text in rows)


def _paragraph(route: Route, settings: Settings) -> str:
    rows = [
        ("match", match(route)),
        ("chain", chain(route, settings)),
        *identities(route, settings),
        *times(route, settings),
        *limits(route.settings),
        *destinations(route.settings, settings),
    ]
    return f"{route.name}\n{table(rows)}"


def times(route: Route, settings: Settings) -> Iterator[Row]:
    """Yield the limit until the response's head, that of pauses in a forwarded body, and that of the whole exchange."""
    yield "timeout", f"{route.timeout:g}s"
    own, most = route.settings, write_seconds(route.settings.tunnel_timeout)
    if own.action == "app":
        each = write_seconds(Seconds(route.timeout))
        yield "pauses", most if own.stream else f"{each}; in event streams {most}"
    elif own.upstream:
        reads = {share.name: settings.upstreams[share.name].read_timeout or route.timeout for share in own.upstream}
        texts = [write_seconds(seconds) for seconds in reads.values()]
        each = texts[0] if len(set(texts)) == 1 else ", ".join(map(" ".join, zip(reads, texts, strict=True)))
        yield "pauses", most if own.stream else f"{each}; in event streams and tunnels {most}"
    if route.limits.total is not None:
        yield "total", write_seconds(route.limits.total.seconds)


def match(route: Route) -> str:
    """Return the conditions that the route matches."""
    parts = [paths(route)]
    if route.hosts:
        parts.append(f"host {', '.join(route.hosts)}")
    if route.methods:
        parts.append(f"method {', '.join(sorted(route.methods))}")
    if route.settings.listener:
        parts.append(f"listener {', '.join(map(str, route.settings.listener))}")
    return "; ".join([*parts, *map(str, route.conditions)])


def paths(route: Route) -> str:
    """Return the paths that the route matches."""
    return " or ".join(_path(path, exact=route.settings.exact) for path in route.settings.path)


def _path(path: RoutePath, *, exact: bool) -> str:
    if exact:
        return f"{path} and nothing below"
    return f"{path.text.rstrip('/')} and below" if path.prefix not in {"", "/"} else path.text


def chain(route: Route, settings: Settings) -> str:
    """Return the route's handlers in order, and its action."""
    passed = handler_names(settings.gateway, route.settings)
    return " > ".join([*(_with_mode(name, route.settings, settings) for name in passed), _end(route.settings)])


def _with_mode(name: str, route: RouteSettings, settings: Settings) -> str:
    """Return the name of a handler, with its mode on the route unless it decides."""
    mode = settings.handlers[name].mode_on(route)
    return name if mode == "enforce" else f"{name} ({'reports' if mode == 'report' else mode})"


def identities(route: Route, settings: Settings) -> Iterator[Row]:
    """Yield the identity handlers of the route, the rules of its access, and whether it is public."""
    passed = handler_names(settings.gateway, route.settings)
    found = [(name, settings.handlers[name]) for name in passed if name in settings.handlers]
    if readers := [_identifies(name, one) for name, one in found if is_identity_handler(one)]:
        yield "identity", ", ".join(readers)
    if route.settings.public:
        yield "public", "yes"
    for name, one in found:
        for option in ("allow", "deny") if isinstance(one.handler, Allow) else ():
            for rule in getattr(one.handler, option):
                yield name, f"{'deny ' if option == 'deny' else ''}{rule}"


def _identifies(name: str, found: HandlerSettings) -> str:
    """Return the name of an identity handler, with its members and whether it is optional."""
    of: tuple[str, ...] = getattr(found.handler, "of", ())
    members = f" ({' | '.join(of)})" if of else ""
    return f"{name}{members}{', optional' if getattr(found.handler, 'optional', False) else ''}"


def _end(route: RouteSettings) -> str:
    return "forward" if route.action == "upstream" else route.action


def limits(route: RouteSettings) -> list[Row]:
    """Return the route's own limits, except timeouts."""
    return [("max_body", write_bytes(route.max_body))] if route.max_body else []


def destinations(route: RouteSettings, settings: Settings) -> list[Row]:
    """Return the rows of the route's action."""
    if route.respond is not None:
        return [("respond", f"{route.respond}, {plural(len(route.body.encode()), 'byte')}")]
    if route.redirect is not None:
        return [("redirect", f"{route.status} {route.redirect}"), *_changes(route)]
    if route.static.root is not None:
        return [("root", _files(route.static)), *_changes(route)]
    own: list[Row] = list(_app_rows(route)) if route.action == "app" else []
    rows = [row for share in route.upstream for row in upstream_rows("upstream", share.name, settings)]
    if len(route.upstream) > 1:
        shares = ", ".join(f"{share.name} {share.weight}" for share in route.upstream)
        rows.insert(0, ("split", f"{shares}; {f'by {route.split_by}' if route.split_by else 'in turn'}"))
    if route.mirror:
        rows += [("mirror", f"{route.mirror_share} to {route.mirror}"), *upstream_rows("", route.mirror, settings)[1:]]
    return [*own, *rows, *_upgrades(route), ("headers", authorization(route, settings)), *_changes(route)]


def _upgrades(route: RouteSettings) -> list[Row]:
    """Return the protocols to which clients may switch, unless they are the default: WebSockets."""
    return [("upgrades", ", ".join(route.upgrades) or "none")] if route.upgrades != (WEBSOCKET,) else []


def _app_rows(route: RouteSettings) -> Iterator[Row]:
    yield "app", f"{route.app.app}{', in threads' if route.app.offload else ''}"
    if route.app.fallthrough is not None:
        yield "", f"a response with {route.app.fallthrough} is dropped, and the request forwarded"


def _files(options: StaticOptions) -> str:
    fallback = f", fallback {options.fallback}" if options.fallback is not None else ""
    return f"{options.root}, index {options.index}{fallback}"


def authorization(route: RouteSettings, settings: Settings) -> str:
    """Return whether the backends of the route get Authorization, with the reason."""
    readers = ", ".join(settings.identity_handlers)
    if not readers:
        return "Authorization passes: there is no identity handler"
    return f"Authorization {'passes: keep' if route.keeps_authorization else f'is removed: {readers}'}"


def _changes(route: RouteSettings) -> list[Row]:
    where = "" if route.restore_prefix else " in requests only"
    words = [f"strip {route.path[0]}{where}"] * route.strip_prefix + [f"add {route.add_prefix}"] * bool(
        route.add_prefix
    )
    words += [f"{route.rewrite}"] * (route.rewrite is not None)
    return [("path", ", ".join(words))] if words else []


def upstream_rows(label: str, name: str, settings: Settings) -> list[Row]:
    """Return the rows of an upstream and its backends."""
    upstream = settings.upstreams[name]
    version = f", http2 {upstream.http2}" if upstream.http2 != "no" else ""
    return [
        (label, f"{upstream.name}, {upstream.balance}, retries {upstream.retry.retries}{version}"),
        ("backends", _backends(upstream)),
    ]


def _backends(upstream: UpstreamSettings) -> str:
    return ", ".join(f"{backend} {backend.flags}".rstrip() for backend in upstream.backends)
