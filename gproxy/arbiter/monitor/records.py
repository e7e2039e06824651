"""The records of the arbiter's error log, for the monitor: standard error cannot be read back."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

#: The most records that wait for a monitor that starts.
_KEPT: Final = 100


class RecordHandler(logging.Handler):
    """A handler of `logging` that passes the fields of each record to `send`, and keeps the last ones."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send
        self.kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def attach(self, logger: logging.Logger) -> None:
        """Add the handler to the logger, whose handlers a change of the settings replaces."""
        if self not in logger.handlers:
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        try:
            fields = _fields(record)
            self.kept.append(fields)
            self._send(fields)
        except Exception:  # noqa: BLE001 as in logging.StreamHandler
            self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record; `time` is a Unix time."""
    stack = {"stack": record.stack_info.split("\n")} if record.stack_info else {}
    return {
        "time": record.created,
        "level": record.levelname.lower(),
        "logger": record.name,
        "pid": record.process,
        "message": record.getMessage(),
        **stack,
    }
