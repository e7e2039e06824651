"""The table of the admin API: every operation. It makes the OpenAPI document, docs/admin.md and the commands."""

from typing import Final

from gproxy.monitor.answers.status import status
from gproxy.monitor.operation import Operation

OPERATIONS: Final = (
    Operation("GET", "/v1/status", "status", "version, generation, reloads and workers of the gateway", status),
)
