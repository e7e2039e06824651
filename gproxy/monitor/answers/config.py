"""`GET /v1/config`: the settings in effect, as `gproxy config` prints them."""

from typing import Any

from gproxy.http.errors import HTTPError
from gproxy.monitor.api.operation import Call


def config(call: Call) -> dict[str, Any]:
    """Return the sections with their options and places, without secrets. Raises HTTPError 503."""
    answer = call.gateway.lines.ask_one("config")
    if answer is None:
        raise HTTPError(503, "no worker answers", {"Retry-After": "1"})
    return {"generation": answer.worker.generation, "sections": answer.parts}
