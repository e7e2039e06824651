"""The upstreams over all workers, and changes of their backends at run time."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gproxy.config.problems import suggest
from gproxy.http.errors import HTTPError
from gproxy.monitor.access import audit
from gproxy.monitor.answers.control import carried_out
from gproxy.monitor.api.operation import Call
from gproxy.monitor.processes.worker_lines import WorkerAnswer
from gproxy.monitor.times import rfc3339

#: The states of a backend by how bad they are; of several workers the worst one counts.
_BY_WORST: Final = ("leaving", "down", "unhealthy", "trial", "draining", "healthy")
#: What several workers have together.
_SUMMED: Final = ("active", "attempts", "failures")
#: Seconds for an order to the arbiter.
_PATIENCE: Final = 5.0


def upstreams(call: Call) -> dict[str, Any]:
    """Return the upstreams with their backends, over all workers of the generation that serves."""
    return {"upstreams": list(merged(call.gateway.lines.ask("upstreams")).values())}


def merged(answers: Iterable[WorkerAnswer]) -> dict[str, dict[str, Any]]:
    """Return the upstreams by name: states as the worst worker sees them, numbers of all workers that answer."""
    found: dict[str, dict[str, Any]] = {}
    for part in (part for answer in answers for part in answer.parts):
        known = found.setdefault(part["name"], {"name": part["name"], "backends": []})
        known["backends"] = _merged(known["backends"], part["backends"])
        for name, value in part.items():
            if name not in {"name", "backends"}:
                known[name] = known.get(name, 0) + value if isinstance(value, int) else value
    return found


def _merged(before: list[dict[str, Any]], more: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {one["backend"]: one for one in before}
    for one in map(_shown, more):
        known = by_name.setdefault(one["backend"], one)
        if known is not one:
            worse = min(known, one, key=lambda facts: _BY_WORST.index(facts["state"]))
            by_name[one["backend"]] = {**worse, **{name: known[name] + one[name] for name in _SUMMED}}
    return list(by_name.values())


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a backend, with the times of its change as text."""
    override = facts.get("override")
    return dict(facts) if override is None else {**facts, "override": _override(override)}


def _override(fields: Mapping[str, Any]) -> dict[str, Any]:
    until = None if fields["until"] is None else rfc3339(fields["until"])
    return {**fields, "until": until, "since": rfc3339(fields["since"])}


def change(call: Call) -> dict[str, Any]:
    """Change a backend: first the arbiter keeps the change, then each worker applies it. Raises HTTPError."""
    values = call.values
    if values.get("state") is None and values.get("weight") is None:
        raise HTTPError(400, "expected state or weight")
    if not 0 <= values.get("weight", 0) <= 999_999_999:
        raise HTTPError(400, "weight: expected a number from 0 to 999999999")
    now = time.time()
    until = now + values["for"] if values.get("for") else None
    fields = {
        "state": values.get("state"), "weight": values.get("weight"), "until": until, "author": call.caller.name,
        "since": now,
    }  # fmt: skip
    _check_others(call, fields)
    return _apply(call, fields)


def reset(call: Call) -> dict[str, Any]:
    """End the change of a backend: it has what the file says. Raises HTTPError."""
    return _apply(call, None)


def _check_others(call: Call, fields: Mapping[str, Any]) -> None:
    """Raise HTTPError 409 if the change would leave no available backend, unless it is forced."""
    stops = fields["state"] in {"drain", "down"} or fields["weight"] == 0
    if not stops or call.values.get("force"):
        return
    upstream = merged(call.gateway.lines.ask("upstreams")).get(call.values["upstream"], {"backends": []})
    name = call.values["backend"]
    others = [one for one in upstream["backends"] if not _is_named(one, name)]
    if upstream["backends"] and not any(one["state"] in {"healthy", "trial"} for one in others):
        raise HTTPError(409, f"{name} is the last available backend of {upstream['name']}; force does it anyway")


def _is_named(facts: Mapping[str, Any], name: str) -> bool:
    return name in {facts["backend"], facts["backend"].rpartition("://")[2]}


def _apply(call: Call, fields: Mapping[str, Any] | None) -> dict[str, Any]:
    upstream, backend = call.values["upstream"], call.values["backend"]
    _check_names(call, upstream, backend)
    kept = carried_out(call, "override", _PATIENCE, upstream=upstream, backend=backend, fields=fields)
    if not kept.succeeded:
        raise HTTPError(502, f"the arbiter did not keep the change: {kept.result.get('detail', '')}")
    arguments = {"upstream": upstream, "backend": backend, "fields": fields}
    answers = call.gateway.lines.ask("override", arguments)
    before = next((part["before"] for one in answers for part in one.parts), None)
    was = before and f"{before['state']}, weight {before['weight']}"
    after = "as in the file" if fields is None else _words(fields)
    audit.record(call, f"backend {backend} of upstream {upstream}", was, after)
    failed = [{"worker": one.worker.number, "pid": one.worker.pid, "error": one.error} for one in answers if one.error]
    return {
        "upstream": upstream,
        "backend": backend,
        "override": None if fields is None else _override(fields),
        "applied": len(answers) - len(failed),
        "failed": failed,
    }


def _check_names(call: Call, upstream: str, backend: str) -> None:
    """Raise HTTPError 404 with the nearest name unless a worker knows the backend."""
    known = merged(call.gateway.lines.ask("upstreams"))
    if upstream not in known:
        raise HTTPError(404, f"unknown upstream {upstream!r}{suggest(upstream, known)}")
    backends = [one["backend"].rpartition("://")[2] for one in known[upstream]["backends"]]
    if backend.rpartition("://")[2] not in backends:
        raise HTTPError(404, f"upstream {upstream} has no backend {backend!r}{suggest(backend, backends)}")


def _words(fields: Mapping[str, Any]) -> str:
    words = [fields["state"]] if fields["state"] is not None else []
    words += [f"weight {fields['weight']}"] if fields["weight"] is not None else []
    words += [f"until {rfc3339(fields['until'])}"] if fields["until"] is not None else []
    return ", ".join(words)
