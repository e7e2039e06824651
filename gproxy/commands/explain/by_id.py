"""`gproxy explain ID`: what happened to a request, in flight or in the past, and what its route and chain are.

The monitor knows requests in flight, and those that failed or were slow lately. The access log has the others.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gproxy.commands.check import built
from gproxy.commands.explain.request import answer
from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.commands.logs.logs import NoLogError, lines_of_id
from gproxy.commands.logs.search import MissingFieldError
from gproxy.commands.routes import Row, table
from gproxy.http.errors import BadMessage
from gproxy.observe import readable

Entry = dict[str, Any]

#: The columns of a bar that is the whole duration.
_BAR: Final = 40
_HEADLINE: Final = ("method", "path", "status", "reason", "duration", "id")
#: The labels of fields in seconds.
_SECONDS: Final = {"age": "age", "paused": "limits paused for", "remaining": "limit expires in"}


def run(options: argparse.Namespace) -> int:
    """Print what is known of the request. Return the exit code: 1 if nothing is. Raises ConfigError."""
    identity: str = options.method
    entry, source = _found(options, identity)
    if entry is None:
        print(f"gproxy explain: no request {identity}: {source}", file=sys.stderr)
        return 1
    way = _way(options, entry)
    log = _log_lines(options, identity)
    if options.json:
        print(json.dumps({"source": source, "request": entry, "log": log, "explanation": way}, indent=2))
    else:
        print("\n\n".join([*report(entry, source, log), *([way] if way else [])]))
    return 0


def _found(options: argparse.Namespace, identity: str) -> tuple[Entry | None, str]:
    """Return the request with its source; None with the reason if it is unknown."""
    why = []
    try:
        return AdminClient.of(options.config, options.admin).get(f"/v1/requests/{identity}"), "the monitor"
    except AdminError as error:
        why.append(str(error))
    try:
        lines = lines_of_id(options.config, identity) if options.config else []
        why += ["the access log has no line with this id"] if options.config else []
    except (NoLogError, MissingFieldError) as error:
        lines = []
        why.append(str(error))
    return (lines[-1], "the access log") if lines else (None, "; ".join(why))


def _log_lines(options: argparse.Namespace, identity: str) -> list[Entry]:
    """Return the last records of the error log with this id; none if no monitor keeps them."""
    try:
        entries = AdminClient.of(options.config, options.admin).get("/v1/logs", {"source": "error"})["entries"]
    except AdminError:
        return []
    return [entry for entry in entries if entry.get("request_id") == identity]


def report(entry: Mapping[str, Any], source: str, log: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the paragraphs about what happened."""
    yield f"{_headline(entry)}\nfrom {source}"
    yield "request\n" + table((name, readable.printable(text)) for name, text in _facts(entry))
    if account := entry.get("account"):
        yield "where the time went\n" + table(bars(account))
    if attempts := entry.get("attempts"):
        yield "attempts\n" + table(map(_attempt, attempts))
    if stack := entry.get("stack"):
        yield "stack\n" + "\n".join(f"  {line}" for line in stack)
    if log:
        yield "log\n" + table(row for one in log for row in _record(one))


def _facts(entry: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the short fields, those of the monitor with labels and units; the access log's are as in the log."""
    is_ended = "started" in entry
    for name, value in entry.items():
        if name == "time" and is_ended:
            yield "ended", f"{value}"
        elif name in _SECONDS and isinstance(value, float):
            if value:
                yield _SECONDS[name], readable.duration(value)
        elif name not in _HEADLINE and _is_short(value):
            yield name, f"{value}"


def _record(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the row of a record of the error log, then its exception with the line that has raised it."""
    yield f"{record['time']}", f"{record['level']} {record['logger']} {record['message']}"
    if exception := record.get("exception"):
        yield "", f"{exception['type']}: {exception['message']}"
        yield from (("", f"at {line}") for line in exception.get("stack", ())[-1:])


def _headline(entry: Mapping[str, Any]) -> str:
    what = f"{entry['id']} {entry['method']} {entry['path']}"
    if "phase" in entry:
        return f"{what}: in flight for {entry['age']:.3f} s: {entry['phase']}"
    reason = f" {entry['reason']}" if entry.get("reason") else ""
    return f"{what}: {entry['status']}{reason} after {entry['duration']:.3f} s"


def _is_short(value: object) -> bool:
    return value is not None and value != "" and not isinstance(value, dict | list)


def bars(account: Mapping[str, float]) -> Sequence[Row]:
    """Return a row for each part of a time account, with a bar; the longest part first."""
    total = sum(account.values()) or 1.0
    parts = sorted(account.items(), key=lambda part: -part[1])
    return [(name, f"{took * 1000:10.1f} ms  {'█' * round(took / total * _BAR)}") for name, took in parts]


def _attempt(attempt: Mapping[str, Any]) -> Row:
    return attempt["backend"], f"{attempt['outcome']} after {attempt['seconds'] * 1000:.1f} ms"


def _way(options: argparse.Namespace, entry: Mapping[str, Any]) -> str:
    """Return what `gproxy explain METHOD TARGET` says; empty without the settings, or for what is no request.

    The headers of the request are not known any more, but for its host.
    """
    if not options.config:
        return ""
    host = entry.get("host") or entry.get("vhost") or ""
    target = f"http://{host}{entry['path']}" if host else entry["path"]
    settings, gateway = built(options.config)
    try:
        return answer(entry["method"], target, [], entry["client"], settings, gateway)
    except (ValueError, BadMessage) as error:
        return f"route: {error}"
