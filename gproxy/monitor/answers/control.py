"""The operations that the arbiter carries out: reload, rollback, logs opened anew, number of workers, log level."""

import json
import time
from typing import Any, Final

from gproxy.config.types.units import write_seconds
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call
from gproxy.monitor.processes.arbiter_orders import OrderResult
from gproxy.monitor.times import rfc3339

#: Seconds that a reload may take: user code is imported and opened.
_RELOAD: Final = 80.0
#: Seconds for an order that the arbiter carries out at once.
_AT_ONCE: Final = 5.0
#: Seconds for which a log level holds, if the request does not say it.
_LEVEL_HOLDS: Final = 600.0


def reload(call: Call) -> Response | dict[str, Any]:
    """Read the settings again, and return the generation that serves them; 409 with the reasons if it cannot."""
    is_dry = call.values.get("dry", False)
    return _next_generation(call, "reload", "dry reload" if is_dry else "reload", **({"dry": True} if is_dry else {}))


def rollback(call: Call) -> Response | dict[str, Any]:
    """Return to settings and code of the generation before; 409 with the reasons if there is none, or it fails."""
    return _next_generation(call, "rollback", "rollback")


def reopen(call: Call) -> dict[str, Any]:
    """Let all workers open the access logs anew."""
    audit.record(call, "access logs opened anew")
    return carried_out(call, "reopen", _AT_ONCE).result


def scale(call: Call) -> dict[str, Any]:
    """Run another number of workers. Raises HTTPError 409."""
    before, count = call.gateway.arbiter_state.get("worker_count"), call.values["count"]
    result = _succeeded(carried_out(call, "workers", _AT_ONCE, count=count, author=call.caller.name))
    audit.record(call, "number of workers", before, count)
    return result


def set_log_level(call: Call) -> dict[str, Any]:
    """Give a logger another level for a time. Raises HTTPError 409."""
    level, logger = call.values["level"], call.values.get("logger", "gproxy")
    seconds = call.values.get("for", _LEVEL_HOLDS)
    arguments = {"level": level, "logger": logger, "until": time.time() + seconds, "author": call.caller.name}
    # Recorded first: afterwards the level may be too high for the audit.
    audit.record(call, f"log level of {logger}", None, f"{level} for {write_seconds(seconds)}")
    result = _succeeded(carried_out(call, "log_level", _AT_ONCE, **arguments))
    return {"log_level": shown_level(result["log_level"])}


def shown_level(level: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a temporary log level with its times as text."""
    return level and {**level, "until": rfc3339(level["until"]), "since": rfc3339(level["since"])}


def _next_generation(call: Call, order: str, name: str, **arguments: object) -> Response | dict[str, Any]:
    before = call.gateway.arbiter_state.get("generation")
    outcome = carried_out(call, order, _RELOAD, author=call.caller.name, **arguments)
    after = outcome.result.get("generation") if outcome.succeeded else "failed"
    audit.record(call, f"{name} of generation", before, after)
    if outcome.succeeded:
        return {"generation": after}
    return _conflict(outcome.result.get("reasons") or ["see the error log"])


def _conflict(reasons: list[str]) -> Response:
    problem = {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "; ".join(reasons)}
    body = json.dumps({**problem, "reasons": reasons}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return Response(409, body, {"Content-Type": "application/problem+json"})


def carried_out(call: Call, order: str, seconds: float, **arguments: object) -> OrderResult:
    """Give the arbiter an order and return its outcome. Raises HTTPError 504."""
    try:
        return call.gateway.orders.order(order, seconds, **arguments)
    except TimeoutError as error:
        raise HTTPError(504, str(error)) from None


def _succeeded(outcome: OrderResult) -> dict[str, Any]:
    """Return the result of an order. Raises HTTPError 409 if it has failed."""
    if not outcome.succeeded:
        raise HTTPError(409, outcome.result.get("detail", "the arbiter cannot do this"))
    return outcome.result
