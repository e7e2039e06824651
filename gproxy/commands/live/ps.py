"""`gproxy ps`: the workers of a running gateway, then its requests in flight, the oldest first."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor
from gproxy.config.problems import suggest
from gproxy.config.types.units import parse_seconds, plural
from gproxy.observe import readable

_WORKER_HEAD: Final = ("WORKER", "GEN", "PID", "STATE", "UP", "CPU", "MEMORY", "FILES", "CONNS", "REQUESTS")
_GENERATION_HEAD: Final = f"{'GEN':>6} {'WORKERS':>7} {'AGE':>7} {'REQUESTS':>8} {'ERRORS':>6} {'P99':>7}"
_REQUEST_HEAD: Final = f"{'AGE':>7} {'PHASE':8}{'LEFT':>7}  {'ROUTE':15} REQUEST"
#: A frame begins with this; it is shortened at its beginning, which is a folder.
_FRAME: Final = "    at "
#: The parameters of GET /v1/requests that are options.
_FILTERS: Final = ("route", "phase", "older")

#: The fields of a request that are seconds.
_SECONDS: Final = frozenset({"age", "remaining", "paused", "duration"})

Entry = Mapping[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the filters, and how to show what is found."""
    add_admin_options(parser)
    parser.add_argument("--route", metavar="NAME", help="only requests of this route")
    parser.add_argument("--phase", metavar="PHASE", help="only requests in this phase, such as handler or wait")
    parser.add_argument("--older", type=_time, metavar="TIME", help="only requests in flight for longer, such as 2s")
    parser.add_argument("--id", metavar="ID", help="one request, with its stack")
    parser.add_argument("--stack", action="store_true", help="with the frames of each request")


def _time(text: str) -> str:
    """Return the text of a time. Raises ArgumentTypeError for any other."""
    try:
        parse_seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; expected one such as 2s") from None
    return text


def run(options: argparse.Namespace) -> int:
    """Print workers and requests, or one request."""
    return ask_monitor(options, _print_one if options.id else _print_all)


def _print_one(client: AdminClient, options: argparse.Namespace) -> None:
    entry = client.get(f"/v1/requests/{quote(options.id, safe='')}")
    print(json.dumps(entry, indent=2) if options.json else "\n".join(_details(entry)))


def _print_all(client: AdminClient, options: argparse.Namespace) -> None:
    query = {name: value for name in _FILTERS if (value := getattr(options, name))}
    stack = {"stack": "yes"} if options.stack else {}
    with ThreadPoolExecutor(2) as side_by_side:  # a worker that hangs costs each answer a second
        asked = side_by_side.submit(client.get, "/v1/requests", query | stack)
        status = client.get("/v1/status")
    workers, generations, probation = status["workers"], status["generations"], status["probation"]
    requests = asked.result()["requests"]
    if options.json:
        print(
            json.dumps(
                {"workers": workers, "generations": generations, "requests": requests, "probation": probation}, indent=2
            )
        )
    else:
        print(describe(workers, requests, _width(), generations))
        if probation is not None:
            print(f"generation {probation['generation']} is on probation until {probation['until']}")
    if options.route and not requests:
        known = [one["name"] for one in client.get("/v1/routes")["routes"]]
        if options.route not in known:
            raise AdminError(f"there is no route {options.route!r}{suggest(options.route, known)}")


def _width() -> int:
    """Return the columns of the terminal; 0 for a file or a pipe, whose lines are not shortened."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def describe(
    workers: Sequence[Entry], requests: Sequence[Entry], width: int = 0, generations: Sequence[Entry] = ()
) -> str:
    """Return the workers, the generations if there are several, and the requests.

    They are at most `width` columns wide; 0 for any width.
    """
    head, *rows = _table([_WORKER_HEAD, *map(_worker, workers)])
    lines = [head]
    for row, entry in zip(rows, workers, strict=True):
        lines += [row, *(f"{_FRAME}{frame}" for frame in entry.get("stack") or ())]  # of a worker that hangs
    if len(generations) > 1:
        lines += ["", _GENERATION_HEAD, *map(_generation, generations)]
    lines += ["", f"{plural(len(requests), 'request')} in flight"]
    if requests:
        lines.append(_REQUEST_HEAD)
    for entry in requests:
        lines += _request(entry)
    return "\n".join(_fitted(line, width) for line in lines)


def _fitted(line: str, width: int) -> str:
    if not width or len(line) <= width:
        return line
    if line.startswith(_FRAME):
        return f"{_FRAME}…{line[len(line) - width + len(_FRAME) + 1 :]}"
    return f"{line[: width - 1]}…"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with aligned columns. A row without figures ends with its state, whose width does not count."""
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in (whole if column > 2 else rows)) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.ljust(width) if name == "STATE" else text.rjust(width)
            for text, width, name in zip(row, widths, _WORKER_HEAD, strict=False)
        ]
        yield " ".join(cells).rstrip()


def _worker(entry: Entry) -> tuple[str, ...]:
    known = f"{entry['worker']}", f"{entry['generation']}", f"{entry['pid']}"
    if not entry["answers"]:
        since = f" since {entry['silent_since']}" if entry.get("silent_since") else ""
        return (*known, f"{entry['error']}{since}")
    state = "draining" if entry["draining"] else "serving"
    figures = f"{entry['descriptors']}", f"{entry['connections']}", f"{entry['requests']}"
    memory = f"{entry['memory'] / 2**20:.0f}MiB"
    return (*known, state, _short(entry["uptime"]), _short(entry["cpu"]), memory, *figures)


def _generation(entry: Entry) -> str:
    p99 = "-" if entry["p99"] is None else readable.duration(entry["p99"])
    counts = f"{entry['requests']:>8} {entry['errors']:>6} {p99:>7}"
    return f"{entry['generation']:>6} {entry['workers']:>7} {_short(entry['age']):>7} {counts}"


def _short(seconds: float) -> str:
    """Return a duration in at most six characters: `0.25s`, `12.3s`, `5m12s`, `3h05m`, `2d04h`."""
    if seconds < 99.95:
        return f"{seconds:.2f}s" if seconds < 9.995 else f"{seconds:.1f}s"
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if hours < 1:
        return f"{minutes}m{int(seconds) % 60:02}s"
    return f"{hours}h{minutes % 60:02}m" if days < 1 else f"{days}d{hours % 24:02}h"


def _request(entry: Entry) -> Iterator[str]:
    """Yield the lines of a request: its phase and what it asks for; its id, its handler and its backend; its stack."""
    remaining = entry["remaining"]
    left = "paused" if isinstance(remaining, str) else "-" if remaining is None else _short(remaining)
    first = f"{_short(entry['age']):>7} {entry['phase']:8}{left:>7}  {entry['route'] or '-':15}"
    yield f"{first} {entry['method']} {entry['path']}"
    yield f"  {'  '.join(filter(None, [entry['id'], *_place(entry), entry['backend']]))}"
    for frame in entry["stack"] or ():
        yield f"{_FRAME}{frame}"


def _place(entry: Entry) -> Iterator[str]:
    """Yield the handler, and the line with the file's name only."""
    if entry["handler"]:
        yield entry["handler"]
    if entry["line"]:
        yield Path(entry["line"]).name


def _details(entry: Entry) -> Iterator[str]:
    """Yield the fields of one request as rows, then its stack and those of the greenlets that it has spawned.

    One that has ended has neither; `gproxy explain` shows its attempts and its time.
    """
    greenlets = enumerate(entry.get("greenlets") or (), 1)
    stacks = {"stack": entry.get("stack") or (), **{f"greenlet {number}": one for number, one in greenlets}}
    for name, value in entry.items():
        if value is not None and value != "" and not isinstance(value, list | dict):
            text = readable.duration(value) if name in _SECONDS and isinstance(value, float) else str(value)
            yield f"{name.replace('_', ' '):11} {readable.printable(text)}"
    for name, frames in stacks.items():
        for number, frame in enumerate(frames):
            yield f"{'' if number else name:11} {frame}"
