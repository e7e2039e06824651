"""The table of the admin API: every operation. It makes the OpenAPI document, docs/admin.md and the commands."""

from typing import Final

from gproxy.monitor.answers.requests import DEPTH, FILTERS, cut, request, requests
from gproxy.monitor.answers.status import status
from gproxy.monitor.answers.upstreams import change, reset, upstreams
from gproxy.monitor.operation import Operation, Parameter

STATES: Final = ("drain", "up", "down")
_FORCE: Final = Parameter("force", "boolean", "drain the last available backend too")

OPERATIONS: Final = (
    Operation("GET", "/v1/upstreams", "upstreams", "upstreams with the state of each backend", upstreams),
    Operation(
        "PATCH",
        "/v1/upstreams/{upstream}/backends/{backend}",
        "change_backend",
        "change state or weight of a backend, in place of what the file says",
        change,
        body=(
            Parameter("state", "text", "drain: no new clients; down: no requests; up: as usual", STATES),
            Parameter("weight", "number", "share of requests; 0: none"),
            Parameter("for", "seconds", "time after which the change ends; default: it lasts until a restart"),
            _FORCE,
        ),
    ),
    Operation(
        "DELETE",
        "/v1/upstreams/{upstream}/backends/{backend}",
        "reset_backend",
        "return to what the file says of the backend",
        reset,
    ),
    Operation("GET", "/v1/status", "status", "version, generation, reloads and workers of the gateway", status),
    Operation("GET", "/v1/requests", "requests", "requests in flight, oldest first", requests, FILTERS),
    Operation("GET", "/v1/requests/{id}", "request", "one request in flight, with its stack", request, DEPTH),
    Operation("DELETE", "/v1/requests/{id}", "cut", "end a request: 503, or its response is broken off", cut),
)
