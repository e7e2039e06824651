"""`GET /v1/figures`, `/v1/routes` and `/v1/handlers`: the history, and the values of the last minute."""

from collections.abc import Iterable
from typing import Any

from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import Settings
from gproxy.monitor.api.operation import Call
from gproxy.monitor.gathered.figures import Figures, Minute
from gproxy.monitor.times import rfc3339


def figures(call: Call) -> dict[str, Any]:
    """Return the samples of the last `since` seconds, about one subject or about all; None is a gap."""
    found = call.gateway.figures
    now = call.gateway.clock()
    since = now - call.values["since"] if "since" in call.values else 0.0
    series = found.history.read(call.values.get("about"), since)
    return {
        **found.history.describe(),
        "span": call.gateway.settings.admin.history,
        "times": [rfc3339(when) for when in found.history.times(since)],
        "figures": [
            {"name": figure.name, "about": figure.about, "of": figure.of or None, "values": values}
            for figure, values in series
        ],
        "marks": [change.describe() for change in call.gateway.changes.since(since)],
    }


def routes(call: Call) -> dict[str, Any]:
    """Return the routes in the order of the file, with the values of the last minute and the time of the last use."""
    settings, found = call.gateway.settings, call.gateway.figures
    minutes = found.last_minute("route")
    described = [
        {
            "name": route.name,
            **_matches(route),
            "handlers": list(chain_of(route, settings)),
            "app": str(route.app.app) if route.app.app else None,
            "upstreams": [share.name for share in route.upstream],
            "root": str(route.static.root) if route.static.root else None,
            "last_minute": minutes.get(route.name, Minute()).describe(),
            "last_used": _time(found, "route", route.name),
        }
        for route in settings.routes
    ]
    return {"routes": described}


def _matches(route: RouteSettings) -> dict[str, Any]:
    return {"paths": [str(path) for path in route.path], "methods": list(route.methods), "hosts": list(route.host)}


def chain_of(route: RouteSettings, settings: Settings) -> Iterable[str]:
    """Return the names of the handlers that a request of the route passes, outermost first."""
    return (*(name for name in settings.gateway.handlers if name not in route.skip), *route.handlers)


def _time(found: Figures, about: str, name: str) -> str | None:
    when = found.used.get((about, name))
    return rfc3339(when) if when is not None else None


def handlers(call: Call) -> dict[str, Any]:
    """Return the handlers with their routes, what they counted in the last minute, and the time of their last use."""
    settings, found = call.gateway.settings, call.gateway.figures
    return {"handlers": [describe_handler(name, settings, found) for name in settings.handlers]}


def describe_handler(name: str, settings: Settings, found: Figures) -> dict[str, Any]:
    """Return what is known of a handler. It is used whenever a route that has it in its chain is."""
    used_by = [route.name for route in settings.routes if name in chain_of(route, settings)]
    used = found.last_use(used_by)
    return {
        "name": name,
        "use": settings.handlers[name].use,
        "mode": settings.handlers[name].written_mode,
        "state": found.state_of_handler(name),
        "routes": used_by,
        "reports_on": [route.name for route in settings.routes if name in route.report],
        "last_minute": found.of_handler(name),
        "last_used": rfc3339(used) if used is not None else None,
    }
