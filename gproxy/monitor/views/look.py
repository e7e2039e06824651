"""The views of the page: what each shows of the gateway, as JSON."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gproxy.http.errors import HTTPError
from gproxy.monitor.views import (
    handlers,
    limits,
    logs,
    overview,
    processes,
    recent,
    requests,
    routes,
    settings,
    upstreams,
)
from gproxy.monitor.views.model import View
from gproxy.monitor.watched_gateway import WatchedGateway

#: By name: the title, and the function that looks at the gateway.
VIEWS: Final[Mapping[str, tuple[str, Callable[[WatchedGateway], View]]]] = {
    "overview": ("Overview", overview.view),
    "routes": ("Routes", routes.view),
    "upstreams": ("Upstreams", upstreams.view),
    "requests": ("In flight", requests.view),
    "recent": ("Slow and failed", recent.view),
    "handlers": ("Handlers", handlers.view),
    "limits": ("Limits", limits.view),
    "logs": ("Logs", logs.view),
    "processes": ("Processes", processes.view),
    "settings": ("Settings", settings.view),
}


def views_of(gateway: WatchedGateway) -> dict[str, tuple[str, Callable[[WatchedGateway], View]]]:
    """Return all views of this gateway: those that only some gateways have follow the overview."""
    return {"overview": VIEWS["overview"], **gateway.views, **VIEWS}


def look_at(gateway: WatchedGateway, name: str) -> dict[str, Any]:
    """Return the content of a view. Raises HTTPError 404 for an unknown one."""
    views = views_of(gateway)
    if name not in views:
        raise HTTPError(404, f"there is no view {name!r}")
    title, view = views[name]
    return {"view": name, "title": title, **view(gateway).describe()}
