"""The view of the upstreams: the backends with their states, and what an operator can do with each."""

from collections.abc import Mapping
from functools import lru_cache
from shlex import quote as shell_word
from typing import Any, Final
from urllib.parse import quote

from gproxy.monitor.answers import upstreams as answers
from gproxy.monitor.gathered.figures import Minute
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, Table, View, action, field_of, unique
from gproxy.monitor.watched_gateway import WatchedGateway

_QUEUES = (
    ("Upstream", "text"), ("Attempts/s", "number"), ("Failures", "number"), ("p50", "number"), ("p95", "number"),
    ("p99", "number"), ("Active", "number"), ("Limit", "number"), ("Queued", "number"), ("Breaker", "text"),
)  # fmt: skip
_FOR: Final = field_of("for", "End the change after (empty: a restart ends it)", optional=True)
_WEIGHT: Final = field_of("weight", "Weight", value="1", kind="number")
_BACKENDS = (
    ("Backend", "text"), ("Upstream", "text"), ("State", "text"), ("Change", "text"), ("Active", "number"),
    ("Attempts/s", "number"), ("Failures", "number"), ("Do", "text"),
)  # fmt: skip


def view(gateway: WatchedGateway) -> View:
    """Return upstreams and backends."""
    found = answers.merged(gateway.lines.ask_shared("upstreams"))
    minutes, attempts = gateway.figures.last_minute("upstream"), gateway.figures.backends()
    return View(
        tables=[
            Table(
                "backends", "Backends", _BACKENDS,
                unique((f"{one['upstream']} {one['backend']}", _backend(one, attempts)) for one in backends(found)),
                "There is no upstream.", ("gproxy backend UPSTREAM BACKEND drain --wait",),
            ),
            Table(
                "upstreams", "Upstreams, with the last minute", _QUEUES,
                [(name, _upstream(one, minutes.get(name, Minute()))) for name, one in found.items()],
                "There is no upstream.",
            ),
        ]
    )  # fmt: skip


def backends(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the backends of the upstreams, each with the name of its upstream."""
    return [{**backend, "upstream": name} for name, upstream in found.items() for backend in upstream["backends"]]


def override_words(override: Mapping[str, Any]) -> str:
    """Return what an operator has changed, by whom and until when."""
    words = [str(override["state"])] if override.get("state") else []
    words += [f"weight {override['weight']}"] if override.get("weight") is not None else []
    until = f" until {override['until'][11:19]} UTC" if override.get("until") else ""
    return f"{', '.join(words)} by {override.get('author') or 'an operator'}{until}"


def _upstream(one: Mapping[str, Any], minute: Minute) -> tuple[Cell, ...]:
    return (
        one["name"],
        cells.rate(minute.rate),
        cells.errors(minute.errors, minute.requests),
        cells.duration(minute.p50),
        cells.duration(minute.p95),
        cells.duration(minute.p99),
        cells.number(sum(backend["active"] for backend in one["backends"])),
        cells.number(one.get("limit")),
        cells.number(one.get("queued")),
        cells.state(one["breaker"]) if "breaker" in one else cells.NONE,
    )


def _backend(one: Mapping[str, Any], attempts: Mapping[tuple[str, str], Minute]) -> tuple[Cell, ...]:
    minute = attempts.get((one["upstream"], one["backend"].rpartition("://")[2]), Minute())
    why = one.get("why") or ""
    if "next_try_in" in one:
        why = f"{why}; next try in {one['next_try_in']:.0f} s".removeprefix("; ")
    return (
        cells.code(one["backend"]),
        one["upstream"],
        cells.state(one["state"], why),
        cells.text(override_words(one["override"])) if "override" in one else cells.NONE,
        cells.number(one["active"]),
        cells.rate(minute.rate),
        cells.errors(minute.errors, minute.requests),
        _actions(one["upstream"], one["backend"].rpartition("://")[2], one["state"], is_changed="override" in one),
    )


@lru_cache(4096)  # PERF: each second for each backend, and seldom another state
def _actions(upstream: str, backend: str, state: str, *, is_changed: bool) -> Cell:
    """Return the changes that make sense now; each is confirmed, and has its command."""
    path = f"/v1/upstreams/{quote(upstream, '')}/backends/{quote(backend, '')}"
    command = f"gproxy backend {shell_word(upstream)} {shell_word(backend)}"

    def change(label: str, word: str, ask: str) -> dict[str, Any]:
        own = f"{command} {word} --for {{for}}"
        return action(label, "PATCH", path, {"state": word}, ask=ask, command=own, inputs=(_FOR,))

    stopped = state in {"draining", "down"}
    found = [change("Up", "up", f"Send requests to {backend} again?")] if stopped else []
    if state != "draining":
        found.append(change("Drain", "drain", f"Send no new clients to {backend}?"))
    if state != "down":
        found.append(change("Down", "down", f"Send no request to {backend}?"))
    own, ask = f"{command} weight={{weight}} --for {{for}}", f"Change the weight of {backend}?"
    found.append(action("Weight", "PATCH", path, ask=ask, command=own, inputs=(_WEIGHT, _FOR)))
    if is_changed:
        ask = f"Return to what the file says of {backend}?"
        found.append(action("Reset", "DELETE", path, ask=ask, command=f"{command} reset"))
    return cells.doing(found)
