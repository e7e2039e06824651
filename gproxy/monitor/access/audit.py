"""The audit: each change by an operator is one line of the error log, with its author."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gproxy.monitor.api.operation import Call

_log = logging.getLogger("gproxy.audit")
_log.setLevel(logging.WARNING)  # a change is logged, whatever the level of the error log


def record(call: "Call", what: str, before: object = None, after: object = None) -> None:
    """Log a change: its author, what was changed, and the values before and after, if any. The page shows it, too."""
    change = "" if before is None and after is None else f": {_word(before)} -> {_word(after)}"
    _log.warning("%s by %s%s", what, call.caller.name, change)
    call.gateway.changes.add("action", f"{what} by {call.caller.name}{change}")


def _word(value: object) -> str:
    return "nothing" if value is None else str(value)
