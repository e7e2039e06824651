"""What `gproxy top` shows of one moment, gathered from the admin API."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from gproxy.commands.live.admin_client import AdminClient
from gproxy.observe import readable

#: The most requests in flight that are asked for, and how far back the latest sample may lie.
_REQUESTS: Final = {"limit": "200"}
_LATEST: Final = {"since": "5s"}

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the API that changes something; `question` says what, without a question mark."""

    method: str
    path: str
    body: Mapping[str, Any]
    question: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a pane: its cells, and what can be done with it."""

    key: str
    cells: tuple[str, ...]
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of one moment: the head, and the rows of each pane by its name."""

    title: str
    generation: int
    workers: int
    silent: int
    figures: Mapping[str, float]
    reasons: Mapping[str, float]
    panes: Mapping[str, tuple[Row, ...]]


def snapshot(client: AdminClient) -> Snapshot:
    """Return the values of this moment. Raises AdminError."""
    with ThreadPoolExecutor(5) as side_by_side:  # a worker that hangs costs each answer a second
        asked = [side_by_side.submit(client.get, *one) for one in _QUESTIONS]
    status, figures, routes, upstreams, requests = (one.result() for one in asked)
    latest = {(one["about"], one["name"], one["of"]): _last(one["values"]) for one in figures["figures"]}
    reasons = {of: value for (about, _, of), value in latest.items() if about == "reason" and value}
    return Snapshot(
        title=status["title"],
        generation=status["generation"],
        workers=len(status["workers"]),
        silent=sum(not one["answers"] for one in status["workers"]),
        figures={name: value for (about, name, _), value in latest.items() if about == "gateway"},
        reasons=dict(sorted(reasons.items(), key=lambda one: -one[1])),
        panes={
            "routes": _routes(routes["routes"]),
            "backends": tuple(_backend(one, of["name"]) for of in upstreams["upstreams"] for one in of["backends"]),
            "requests": tuple(map(_request, requests["requests"])),
        },
    )


_QUESTIONS: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("/v1/status", {}), ("/v1/figures", _LATEST), ("/v1/routes", {}), ("/v1/upstreams", {}),
    ("/v1/requests", _REQUESTS),
)  # fmt: skip


def _last(values: list[float | None]) -> float:
    return next((value for value in reversed(values) if value is not None), 0.0)


def _routes(routes: list[Entry]) -> tuple[Row, ...]:
    """Return the routes, the busiest ones first."""
    ordered = sorted(routes, key=lambda one: -one["last_minute"]["requests"])
    return tuple(Row(one["name"], (one["name"], *_minute(one["last_minute"]))) for one in ordered)


def _minute(minute: Entry) -> tuple[str, ...]:
    return (
        readable.rate(minute["requests_per_second"]),
        readable.share(_part(minute["errors"], minute["requests"])),
        readable.duration(minute["p50"]),
        readable.duration(minute["p99"]),
    )


def _part(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _backend(one: Entry, upstream: str) -> Row:
    name = one["backend"].rpartition("://")[2]
    path = f"/v1/upstreams/{quote(upstream, '')}/backends/{quote(name, '')}"
    drain = Action("PATCH", path, {"state": "drain"}, f"Drain {name} of upstream {upstream}")
    why = f"{one['state']}: {one['why']}" if one.get("why") else one["state"]
    return Row(path, (name, upstream, why, f"{one['active']}", f"{one['attempts']}", f"{one['failures']}"), drain)


def _request(one: Entry) -> Row:
    what = f"{one['method']} {one['path']}"
    path = f"/v1/requests/{quote(one['id'], '')}"
    cut = Action("DELETE", path, {}, f"Cut {what[:200]}")
    age = readable.age(one["age"])
    return Row(one["id"], (age, one["phase"], one["route"] or "", one["backend"] or "", what), cut)
