"""The error log as JSON: one object a line, in ASCII. The arbiter loads this file too."""

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

from gproxy.observe.local_time import local

#: The most frames of an exception, the innermost ones: a recursion without end has a thousand.
_MOST_FRAMES: Final = 100
#: The most exceptions that led to one another.
_MOST_CAUSES: Final = 10

Hide = Callable[[str], str]


class JSONFormatter(logging.Formatter):
    """A formatter of records as JSON objects.

    `names` are the number and the generation of this worker, if the process is one. `hide` masks secrets in a text.
    """

    def __init__(self, names: Mapping[str, object], hide: Hide) -> None:
        super().__init__()
        self._names = names
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of the record in one line; what is empty is left away."""
        return json.dumps({name: value for name, value in self.fields(record).items() if value not in ("", None)})

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return all fields of the record."""
        origin = getattr(record, "origin", None)
        names = {name: getattr(record, name, value) for name, value in self._names.items()}
        return {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            **names,
            "message": self._hide(record.getMessage()).rstrip("\n"),
            "request_id": getattr(origin, "request_id", ""),
            "trace_id": getattr(origin, "trace_id", ""),
            "route": getattr(origin, "route", ""),
            "handler": getattr(origin, "handler", ""),
            "exception": self._exception(record.exc_info[1]) if record.exc_info else None,
            "stack": self._hide(record.stack_info).splitlines() if record.stack_info else None,
        }

    def _exception(self, error: BaseException | None, causes: int = _MOST_CAUSES) -> dict[str, Any] | None:
        if error is None:
            return None
        frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
        made: dict[str, Any] = {
            "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
            "message": self._hide(_text_of(error)),
            "stack": [self._hide(_frame_line(frame)) for frame in frames],
        }
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None and causes:
            made["cause"] = self._exception(cause, causes - 1)
        return made


def _frame_line(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}:{frame.lineno} in {frame.name}{f': {frame.line}' if frame.line else ''}"


def _text_of(error: BaseException) -> str:
    """Return the message of the exception, whose class may be the user's."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 a user's __str__ may raise anything
        return "<the exception has no text: its __str__ failed>"


def _timestamp(when: float) -> str:
    """Return the local time with its offset, in milliseconds, as the access log has it."""
    moment = local(int(when))
    zone = moment.strftime("%z")
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{int(when % 1 * 1000):03d}{zone[:3]}:{zone[3:]}"
