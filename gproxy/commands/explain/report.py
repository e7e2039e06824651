"""`gproxy explain`: the result of a request, with reasons. The command opens no socket and runs no handler."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.commands.explain.headers import difference
from gproxy.commands.explain.identity import identity, remove_credentials
from gproxy.commands.explain.routes import missing, precedence
from gproxy.commands.routes import Row, chain, destinations, match, table
from gproxy.config.advice import handler_names
from gproxy.config.chain_checks import pages
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import Settings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.units import write_bytes, write_seconds
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.redirect import Redirect
from gproxy.gateway.route import Route
from gproxy.gateway.route_action import app_head, composer
from gproxy.gateway.router import WrongMethodError
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.forwarding import WEBSOCKET
from gproxy.http.request import Request
from gproxy.http.response import PHRASES
from gproxy.http.target import readings
from gproxy.http.trust import UNIX_PEER, hops, is_trusted
from gproxy.upstream.forwarder.request_head import RequestHeadWriter
from gproxy.upstream.mirror import Mirror
from gproxy.upstream.split import Split, StickySplit

_NEW_ID: Final = "(a new one for each request)"
_INSTANCE: Final = "(a new id for each start)"
#: The options of a handler that are limits, and the words before their values.
_LIMITS: Final = {"limit": "", "burst": "burst ", "delay": "delay "}
#: What follows from errors of a handler, by `on_error`.
_ON_ERROR: Final = {"open": "requests go on after its errors", "skip": "requests go on after its errors, and skip it"}
#: The options of an upstream that bound a request's time.
_TIMES: Final = ("connect_timeout", "first_byte_timeout", "read_timeout")
#: Fields of a request head in HTTP/1.1 that HTTP/2 expresses otherwise.
_OF_HTTP1: Final = frozenset({"Connection", "Transfer-Encoding", "Upgrade"})


def explain(request: Request, settings: Settings, gateway: Gateway, claims: Mapping[str, str] | None = None) -> str:
    """Return the report: client, routes with reasons, chain, limits, identity, upstream, headers in and out.

    `claims` are those of the client, if it has no credential.
    """
    request.id = request.id or _NEW_ID
    answer, route = _match(request, settings, gateway)
    page = _page(request, settings, route)
    ordinary = [route for route in gateway.router.routes if route.settings in settings.routes]
    parts = [
        f"{request.received.method} {request.received.target}: {page or answer}",
        "client\n" + table(_client(request, gateway)),
        "routes\n" + table([*_routes(request, gateway, ordinary, route), *_elsewhere(settings, ordinary)]),
    ]
    if route is not None and not page:
        request.route = route
        request.upgrade = route.upgrade_of(request)
        parts.append(f"route {route.name}\n" + table(_way(route, settings, gateway)))
        passed = handler_names(settings.gateway, route.settings)
        names = [name for name in passed if settings.handlers[name].mode_on(route.settings) != "off"]
        rows, is_admitted = identity(request, names, gateway, settings, claims)
        parts += ["identity\n" + table(rows)] if rows else []
        if is_admitted:
            remove_credentials(request, names, route.settings.keep, gateway)
            parts += _sent(request, route, settings, gateway)
    return "\n\n".join(parts)


def rejected(method: str, target: str, status: int, detail: str) -> str:
    """Return the report of a request that the gateway rejects before routing."""
    return f"{method} {target}: {status} {PHRASES.get(status, '')}: {detail}"


def _match(request: Request, settings: Settings, gateway: Gateway) -> tuple[str, Route | None]:
    """Return the result of the request, and its route."""
    try:
        route = gateway.router.match(request)
    except HTTPError as error:
        if request.path == "*":
            return "200 OK: the request concerns the gateway, which answers it", None
        result = f"{error.status} {PHRASES.get(error.status, '')}: {error.detail}"
        if isinstance(error, WrongMethodError):
            result += f"; Allow: {error.headers['Allow']} (the nearest route is {error.route.name})"
        return result, None
    if route.settings not in settings.routes:
        return f"{route.settings.status}: the listener redirects to https", None
    return f"route {route.name}", route


def _page(request: Request, settings: Settings, route: Route | None) -> str:
    """Return which handler answers the path itself, such as /health; else an empty text."""
    passed = handler_names(settings.gateway, route.settings) if route else list(settings.gateway.handlers)
    name = next((name for name in passed if request.path in pages(settings.handlers.get(name))), "")
    if not name:
        return ""
    condition = ", if those before it admit the request" if name != passed[0] else ""
    return f"the handler {name} answers this path{condition}"


def _client(request: Request, gateway: Gateway) -> Iterator[Row]:
    """Yield the hops, the last of which is the client, with the reason for each."""
    forwarded_for = request.received.headers.get("x-forwarded-for")
    way = hops(request.received.peer, request.received.headers, gateway.trust.proxies)
    for proxy in way[:-1]:
        yield proxy, "on a unix socket" if proxy == UNIX_PEER else "one of [gateway] trusted_proxies"
    if forwarded_for is None:
        why = "the peer"
    elif len(way) == 1 and is_trusted(way[0], gateway.trust.proxies):
        why = "the peer, a trusted proxy, whose X-Forwarded-For ends in no address"
    elif len(way) == 1:
        why = "the peer, no trusted proxy: its X-Forwarded-For is ignored"
    else:
        why = "in X-Forwarded-For, the first address from the right that is no trusted proxy"
    yield way[-1], f"the client: {why}"


def _routes(request: Request, gateway: Gateway, routes: list[Route], taken: Route | None) -> Iterator[Row]:
    """Yield every route of the listener with the reason for or against it, the matched route first."""
    try:
        path, *others = readings(request.path)
    except BadMessage:
        return  # the first line of the report has the reason
    if path != request.path:
        yield "", f"the path is read as {path}"
    for other in sorted(others)[:10]:
        yield "", f"some backend may read it as {other}: {_found(other, request, gateway)}"
    for route in sorted(routes, key=lambda route: route is not taken):
        yield route.name, f"taken: {match(route)}" if route is taken else f"no: {_against(route, path, request, taken)}"


def _elsewhere(settings: Settings, routes: list[Route]) -> Iterator[Row]:
    """Yield the routes of other listeners."""
    here = [route.settings for route in routes]
    for route in settings.routes:
        if route not in here:
            yield route.name, f"no: listener: only {', '.join(map(str, route.listener))}"


def _found(path: str, request: Request, gateway: Gateway) -> str:
    try:
        found = gateway.router.find(path, request)
    except HTTPError as error:
        return error.detail
    return f"route {found.name}" if found else "no route"


def _against(route: Route, path: str, request: Request, taken: Route | None) -> str:
    try:
        absent = missing(route, path, request)
    except HTTPError as error:
        return error.detail
    if absent is not None:
        return absent
    return precedence(taken, route, path, request) if taken else "takes it by this reading, but the path has others"


def _way(route: Route, settings: Settings, gateway: Gateway) -> Iterator[Row]:
    """Yield the route's chain, and every limit with its origin in the settings."""
    yield "chain", chain(route, settings)
    skipped = [name for name in settings.gateway.handlers if name in route.settings.skip]
    if skipped:
        yield "skipped", f"{', '.join(skipped)} {_origin(settings, 'route', route.name, 'skip')}"
    place = ("route", route.name) if route.settings.timeout else ("gateway", "")
    yield "timeout", f"{write_seconds(route.timeout)} {_origin(settings, *place, 'timeout')}"
    if route.limits.total is not None:
        place = ("route", route.name) if route.settings.total_timeout else ("gateway", "")
        yield "total", f"{write_seconds(route.limits.total.seconds)} {_origin(settings, *place, 'total_timeout')}"
    body, place = (settings.server.max_body, ("server", ""))
    if route.settings.max_body:
        body, place = route.settings.max_body, ("route", route.name)
    yield "max_body", f"{write_bytes(body) if body else 'no limit'} {_origin(settings, *place, 'max_body')}"
    for name in [*settings.gateway.handlers, *route.settings.handlers]:
        yield from _of_handler(name, route, settings, gateway) if name in route.handler_names else ()
    if store := gateway.runtime.store:
        yield "limits", f"count in {store.describe()}; while it is unavailable, {settings.state.meanwhile}"
    yield from destinations(route.settings, settings)


def _of_handler(name: str, route: Route, settings: Settings, gateway: Gateway) -> Iterator[Row]:
    """Yield the limits of a handler, and what the chain does around it."""
    for option, noun in _LIMITS.items():
        limit = getattr(gateway.handlers[name], option, None)
        if limit is not None:
            yield name, f"{noun}{limit} {_origin(settings, 'handler', name, option)}"
    found = settings.handlers[name]
    if found.mode_on(route.settings) == "report":
        place = ("route", route.name, "report") if name in route.settings.report else ("handler", name, "mode")
        yield name, f"only reports what it would reject {_origin(settings, *place)}"
    elif found.chain.mode == "off":
        yield name, f"is off {_origin(settings, 'handler', name, 'mode')}"
    if found.chain.time_limit is not None:
        limit = write_seconds(found.chain.time_limit)
        yield name, f"at most {limit} of its own {_origin(settings, 'handler', name, 'time_limit')}"
    if found.chain.goes_on:
        yield name, f"{_ON_ERROR[found.chain.on_error]} {_origin(settings, 'handler', name, 'on_error')}"


def _origin(settings: Settings, kind: str, name: str, option: str) -> str:
    value = settings.section(kind, name).options.get(option)
    place = f"{kind}:{name}" if name else kind
    return f"([{place}] {option}, {f'{value.file}:{value.line}' if value else 'the default'})"


def _sent(request: Request, route: Route, settings: Settings, gateway: Gateway) -> Iterator[str]:
    """Yield the message that the gateway sends, to a backend or to the client."""
    own = route.settings
    try:
        if isinstance(route.action, Redirect):
            yield f"answer\n  {own.status} {PHRASES[own.status]}\n  Location: {route.action.location(request)}"
        elif own.respond is not None:
            yield f"answer\n  {own.respond} {PHRASES.get(own.respond, '')}"
        elif own.action == "app":
            yield from _called(request, route, settings, gateway)
        elif own.action == "root":
            files: Any = route.action
            yield f"answer\n  {files.describe(request)}"
        else:
            yield from _forwarded(request, route, settings, gateway)
    except HTTPError as error:
        yield f"answer\n  {error}"


def _forwarded(request: Request, route: Route, settings: Settings, gateway: Gateway) -> Iterator[str]:
    name, why = _upstream(request, route)
    upstream = settings.upstreams[name]
    yield f"upstream {name}{why}\n" + table(_bounds(upstream, settings, route))
    backend = next(one for one in gateway.upstreams if one.name == name).backends[0]
    writer = composer(route.settings, upstream, _INSTANCE, settings.gateway.id_header)
    head = _head(writer, request, backend.authority, upstream)
    setting = _set_by_handlers(route.settings, settings, gateway)
    yield "\n".join([f"request to {backend.name}, before handlers", *difference(request, head, gateway), *setting])


def _head(writer: RequestHeadWriter, request: Request, authority: str, upstream: UpstreamSettings) -> str:
    """Return the head of the request to a backend; with `http2 = auto` that of HTTP/1.1, which has the same fields."""
    if upstream.http2 != "yes":
        return writer(request, authority).decode("latin-1")
    lines = [line for line in writer.lines(request, authority) if line.partition(":")[0] not in _OF_HTTP1]
    method = request.method
    if request.upgrade is not None:
        if request.upgrade.lower() != WEBSOCKET:
            raise HTTPError(502, "the backend does not accept the upgrade over HTTP/2")
        lines = [line for line in lines if not line.lower().startswith("sec-websocket-key:")]
        method, lines = "CONNECT", [f":protocol: {WEBSOCKET}", *lines]  # RFC 8441
    return "\r\n".join([f"{method} {writer.target(request)} HTTP/2.0", *lines, "", ""])


def _called(request: Request, route: Route, settings: Settings, gateway: Gateway) -> Iterator[str]:
    """Yield the request that the app of the route sees."""
    writer = app_head(route.settings, _INSTANCE, settings.gateway.id_header)
    lines = [f"{line}\r\n" for line in writer.lines(request, "")]
    head = f"{request.method} {writer.target(request)} HTTP/1.1\r\n{''.join(lines)}\r\n"
    setting = _set_by_handlers(route.settings, settings, gateway)
    title = f"request to {route.settings.app.app}, before handlers"
    yield "\n".join([title, *difference(request, head, gateway), *setting])


def _upstream(request: Request, route: Route) -> tuple[str, str]:
    """Return the name of the upstream that gets the request, and the reason."""
    shares = route.settings.upstream
    last: Any = route.action.first if isinstance(route.action, Mirror) else route.action
    if not isinstance(last, Split):
        return shares[0].name, ""
    key = last.key(request)
    if key:
        return shares[last.by_key(key)].name, f" (by {route.settings.split_by})"
    cookie = f", kept by the cookie {last.cookie.name}" if isinstance(last, StickySplit) else ""
    return shares[last.in_turn()].name, f" (the first in turn{cookie})"


def _bounds(upstream: UpstreamSettings, settings: Settings, route: Route) -> Iterator[Row]:
    for option in _TIMES:
        value = getattr(upstream, option)
        without = f"{write_seconds(route.timeout)}, as timeout" if option == "read_timeout" else "no limit"
        origin = _origin(settings, "upstream", upstream.name, option)
        yield option.removesuffix("_timeout"), f"{without if value is None else write_seconds(value)} {origin}"
    instead = "instead of read" if route.settings.stream else "in event streams and tunnels"
    origin = _origin(settings, "route", route.name, "tunnel_timeout")
    yield "tunnel", f"{write_seconds(route.settings.tunnel_timeout)} {instead} {origin}"
    yield "retries", f"{upstream.retry.retries} {_origin(settings, 'upstream', upstream.name, 'retries')}"


def _set_by_handlers(route: RouteSettings, settings: Settings, gateway: Gateway) -> Iterator[str]:
    for name in handler_names(settings.gateway, route):
        headers = getattr(gateway.handlers[name], "identity_headers", ())
        if headers and settings.handlers[name].mode_on(route) != "off":
            yield f"  + {', '.join(sorted(headers))}: set by {name}"
