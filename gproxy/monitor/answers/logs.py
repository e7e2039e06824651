"""`GET /v1/logs`: the end of a log, and what is added to it."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gproxy.config.sections.settings import LogSettings
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.monitor.api.operation import Call, Parameter
from gproxy.monitor.streams.log_tail import MOST, file_end, follow_file
from gproxy.monitor.streams.subscriptions import Record

PARAMETERS: Final = (
    Parameter(
        "source", "text", "access: the file of [log] access; tap: the lines of the workers; error: the error log",
        ("access", "error", "tap"),
    ),
    Parameter("follow", "boolean", "further entries as server-sent events"),
    Parameter("lines", "number", f"the last entries, from 0 to {MOST}; default: {MOST // 10}"),
)  # fmt: skip


def logs(call: Call) -> dict[str, Any] | Response:
    """Return the last entries of a log, or a stream of them. Raises HTTPError."""
    source, count = call.values.get("source", "access"), call.values.get("lines", MOST // 10)
    if not 0 <= count <= MOST:
        raise HTTPError(400, f"lines: expected a number from 0 to {MOST}")
    if call.values.get("follow"):
        return _stream(call, source, count)
    if source == "error":
        return {"source": source, "file": None, "entries": call.gateway.logs.errors.last(count)}
    file = _file(call.gateway.settings.log) if source == "access" else None
    if file is None:
        raise HTTPError(409, f"{_without_file(source)}; add follow to read the lines of the workers from now on")
    return {"source": source, "file": str(file), "entries": _end(file, count)}


def _stream(call: Call, source: str, count: int) -> Response:
    logs = call.gateway.logs
    if logs.is_full:
        raise HTTPError(503, "too many clients follow logs", {"Retry-After": "10"})
    if source == "error":
        records: Iterator[Record | None] = logs.errors.follow(count)
    else:
        file = _file(call.gateway.settings.log) if source == "access" else None
        records = logs.tap.follow() if file is None else _followed(file, count)
    return Response(200, logs.stream(records), {"Content-Type": "text/event-stream"})


def _file(log: LogSettings) -> Path | None:
    """Return the first file of the access log; None without one. What is read from a pipe would be lost to others."""
    paths = (Path(one.text) for one in log.access if one.address is None and one.text not in {"-", "off"})
    return next(filter(_keeps_lines, paths), None)


def _keeps_lines(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # it is not there yet, or who reads it says why it cannot be read
        return True


def _without_file(source: str) -> str:
    return "tap has no past" if source == "tap" else "[log] access has no file that keeps its lines"


def _followed(file: Path, count: int) -> Iterator[Record | None]:
    """Return the lines of a file that can be read now, and those to come. Raises HTTPError."""
    _end(file, 0)
    return follow_file(file, count)


def _end(file: Path, count: int) -> list[Record]:
    try:
        return file_end(file, count)
    except OSError as error:
        raise HTTPError(500, f"{file} cannot be read: {error.strerror}") from None
