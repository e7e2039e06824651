"""`GET /v1/recent`: the failed and slow requests of the last time."""

from typing import Any, Final

from gproxy.http.errors import HTTPError
from gproxy.monitor.api.operation import Call, Parameter
from gproxy.monitor.gathered.recent import MOST, Filter, of_field, of_status

FILTERS: Final = (
    Parameter("status", "text", "requests with these statuses, such as 5xx or 404,502"),
    Parameter("reason", "text", "requests with this reason, as the access log has it"),
    Parameter("route", "text", "requests of this route"),
    Parameter("upstream", "text", "requests to this upstream"),
    Parameter("kind", "text", "failed or slow requests only", ("failed", "slow")),
    Parameter("slowest", "boolean", "the slowest first, instead of the newest"),
    Parameter("limit", "number", "the most requests"),
)
_FIELDS: Final = ("reason", "route", "upstream", "kind")


def recent(call: Call) -> dict[str, Any]:
    """Return the requests that the filters hold for. Raises HTTPError 400."""
    values = call.values
    filters: list[Filter] = [of_field(name, values[name]) for name in _FIELDS if name in values]
    limit = values.get("limit", MOST)
    if limit < 1:
        raise HTTPError(400, "limit: expected a number of requests, at least 1")
    if "status" in values:
        try:
            filters.append(of_status(values["status"]))
        except ValueError as error:
            raise HTTPError(400, f"status: {error}") from None
    found = call.gateway.recent.find(filters, slowest=values.get("slowest", False), most=limit)
    return {"slow": call.gateway.settings.admin.slow, "requests": found}
