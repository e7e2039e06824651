"""Every route in words: `gproxy routes`."""

from gproxy.config.sections import Settings
from gproxy.config.upstreams import UpstreamSettings
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.router import Route


def describe(settings: Settings, gateway: Gateway) -> str:
    """One paragraph a route: what it matches, its chain in order, its upstream with the backends."""
    routes = sorted(gateway.router.routes, key=lambda route: (-len(route.path), route.name))
    return "\n\n".join(_paragraph(route, settings) for route in routes)


def _paragraph(route: Route, settings: Settings) -> str:
    upstream = settings.upstreams[route.settings.upstream]
    gateway_handlers = [name for name in settings.gateway.handlers if name not in route.settings.skip]
    rows = [
        ("match", _match(route)),
        ("chain", " > ".join([*gateway_handlers, *route.settings.handlers, "forward"])),
        ("timeout", f"{route.timeout:g}s" + (" until the response head" if route.settings.stream else "")),
        ("upstream", f"{upstream.name}, {upstream.balance}, retries {upstream.retries}"),
        ("backends", _backends(upstream)),
    ]
    return f"{route.name}\n" + "\n".join(f"  {label:10}{text}" for label, text in rows)


def _match(route: Route) -> str:
    parts = [route.path if route.path == "/" else f"{route.path} and below"]
    if route.hosts:
        parts.append(f"host {', '.join(route.hosts)}")
    if route.methods:
        parts.append(f"method {', '.join(sorted(route.methods))}")
    parts += [f"header {name}: {value}" for name, value in route.headers]
    return "; ".join(parts)


def _backends(upstream: UpstreamSettings) -> str:
    return ", ".join(f"{backend} {backend.flags}".rstrip() for backend in upstream.backends)
