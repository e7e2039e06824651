"""`gproxy routes --live`: the routes of the running gateway with the values of the last minute, and their backends."""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.commands.live.admin_client import AdminClient

Entry = Mapping[str, Any]

#: The columns of a backend: what is shown, and its width.
_STATE_WIDTH: Final = 10


def show(client: AdminClient, options: argparse.Namespace) -> None:
    """Print each route with its upstreams and backends."""
    routes = client.get("/v1/routes")["routes"]
    upstreams = client.get("/v1/upstreams")["upstreams"]
    if options.json:
        print(json.dumps({"routes": routes, "upstreams": upstreams}, indent=2))
    else:
        by_name = {one["name"]: one for one in upstreams}
        print("\n\n".join("\n".join(_route(one, by_name)) for one in routes))


def _route(route: Entry, upstreams: Mapping[str, Entry]) -> Iterator[str]:
    yield f"{route['name']}  {' or '.join(route['paths'])}"
    conditions = [*route["methods"], *route["hosts"]]
    if conditions:
        yield f"  only      {', '.join(conditions)}"
    if route["handlers"]:
        yield f"  chain     {' > '.join(route['handlers'])}"
    yield f"  minute    {_minute(route['last_minute'])}"
    yield f"  last use  {route['last_used'] or 'none since the monitor began'}"
    for name in route["upstreams"]:
        yield f"  upstream  {name}{_admission(upstreams.get(name, {}))}"
        for backend in upstreams.get(name, {}).get("backends", ()):
            yield f"    {backend['state']:{_STATE_WIDTH}}{backend['backend']}{_details(backend)}"


def _minute(values: Entry) -> str:
    found = (f"{name} {_value(name, value)}" for name, value in values.items() if value is not None)
    return ", ".join(found) or "no requests"


def _value(name: str, value: float) -> str:
    if name.startswith("p") and name[1:].isdigit():
        return f"{value * 1000:.1f} ms"
    return f"{value:g}" if isinstance(value, int) else f"{value:.2f}"


def _admission(upstream: Entry) -> str:
    names = ("active", "limit", "queued", "breaker")
    found = [f"{name} {upstream[name]}" for name in names if upstream.get(name) is not None]
    return f": {', '.join(found)}" if found else ""


def _details(backend: Entry) -> str:
    override = backend.get("override")
    words = [f"{backend['active']} active"]
    words += [f"why: {backend['why']}"] if backend.get("why") else []
    if override:
        what = [word for word in (override["state"], _weight(override)) if word]
        until = f" until {override['until']}" if override["until"] else ""
        words.append(f"changed to {', '.join(what)} by {override['author']}{until}")
    return f"  {'; '.join(words)}"


def _weight(override: Entry) -> str:
    return "" if override["weight"] is None else f"weight {override['weight']}"
