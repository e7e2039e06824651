"""The view of the routes: what each matches and passes, and what it did in the last minute."""

from gproxy.config.sections.route import RouteSettings
from gproxy.monitor.answers.figures import chain_of
from gproxy.monitor.gathered.figures import Minute
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, Table, View
from gproxy.monitor.watched_gateway import WatchedGateway


def view(gateway: WatchedGateway) -> View:
    """Return all routes."""
    return View(tables=[table(gateway, "Routes, with the last minute")])


def table(gateway: WatchedGateway, caption: str, *, busiest: int = 0) -> Table:
    """Return the routes in the order of the file, or only the busiest ones."""
    minutes = gateway.figures.last_minute("route")
    routes = [(route, minutes.get(route.name, Minute())) for route in gateway.settings.routes]
    if busiest:
        routes = sorted((one for one in routes if one[1].requests), key=lambda one: -one[1].requests)[:busiest]
    columns = [*_COLUMNS[:2], *_COLUMNS[3:-1]] if busiest else _COLUMNS
    rows = [(route.name, _cells(gateway, route, minute)) for route, minute in routes]
    if busiest:
        rows = [(name, (*one[:2], *one[3:-1])) for name, one in rows]
    if not busiest and "" in minutes:
        rows.append(("", _cells(gateway, None, minutes[""])))
    return Table("routes", caption, columns, rows, "No request in the last minute.", ("gproxy routes --live",))


_COLUMNS = (
    ("Route", "text"), ("Matches", "text"), ("Chain", "wide"), ("Requests/s", "number"), ("Errors", "number"),
    ("p50", "number"), ("p95", "number"), ("p99", "number"), ("Last use", "number"),
)  # fmt: skip


def _cells(gateway: WatchedGateway, route: RouteSettings | None, minute: Minute) -> tuple[Cell, ...]:
    name = route.name if route is not None else ""
    used = gateway.figures.used.get(("route", name))
    return (
        name or {"t": "no route", "s": ""},
        cells.code(_matches(route)) if route is not None else cells.NONE,
        cells.text(_chain(gateway, route)) if route is not None else cells.NONE,
        cells.rate(minute.rate),
        cells.errors(minute.errors, minute.requests),
        cells.duration(minute.p50),
        cells.duration(minute.p95),
        cells.duration(minute.p99),
        cells.age(gateway.clock() - used if used is not None else None),
    )


def _matches(route: RouteSettings) -> str:
    return " ".join([*route.methods, *route.host, *map(str, route.path)])


def _chain(gateway: WatchedGateway, route: RouteSettings) -> str:
    ends = [f"upstream {share.name}" for share in route.upstream]
    ends = [f"app {route.app.app}"] * (route.action == "app") + ends
    ends += [f"files of {route.static.root}"] * (route.action == "root")
    ends = ends or ["redirect" if route.redirect else str(route.respond or route.status)]
    return " > ".join([*chain_of(route, gateway.settings), " or ".join(ends)])
