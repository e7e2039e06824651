"""`gproxy logs`: searches the access log in files, rotated and packed ones too, in order of time."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Final, Protocol

from gproxy.commands.logs.filters import FILTERS, Filter, Slower, Times, Words
from gproxy.commands.logs.grouping import GROUPINGS
from gproxy.commands.logs.output import Collection, Count, Lines, LineWriter, Slowest, Table
from gproxy.commands.logs.search import MissingFieldError, Search, Sink
from gproxy.config.ini.files import parse_files, read_files
from gproxy.config.load import load_process
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.sections.settings import LogSettings
from gproxy.config.types.units import plural
from gproxy.observe.access_files.follow import Follower, first_line
from gproxy.observe.access_files.log_files import DAMAGES, LogFile, opened_files, within
from gproxy.observe.access_files.moments import Period, parse_moment

_METAVARS: Final = {
    "status": "5xx,404",
    "path": "'/users/*'",
    "client": "10.0.0.0/8",
    "id": "ID",
    "method": "GET,POST",
    "reason": "WORD",
}
#: Options whose values may have commas.
_WHOLE: Final = frozenset({"path", "user"})
_SLOWEST: Final = 10
_MOST_SLOWEST: Final = 10_000
_POLL: Final = 0.1  # seconds


class NoLogError(Exception):
    """An access log that cannot be searched; the message says why."""


class _Output(Sink, Protocol):
    def finish(self, seconds: float | None) -> None: ...


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    for name in FILTERS:
        metavar = _METAVARS.get(name, "NAME")
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar=metavar, help=f"only lines of this {name}"
        )
    parser.add_argument("--slower", metavar="500ms", help="only requests that took longer")
    moments = "10m (ago), 12:00, 2026-11-28 or 2026-11-28T12:00"
    parser.add_argument("--since", metavar="TIME", help=f"only requests that began then or later: {moments}")
    parser.add_argument("--until", metavar="TIME", help="only requests that began earlier")
    output = parser.add_mutually_exclusive_group()
    text = f"the N slowest requests (default: {_SLOWEST})"
    output.add_argument("--slowest", type=int, nargs="?", const=_SLOWEST, metavar="N", help=text)
    text = "count, rate, share of errors (5xx), durations and bytes of each: "
    output.add_argument("--by", choices=GROUPINGS, metavar="FIELD", help=text + ", ".join(GROUPINGS))
    output.add_argument("--count", action="store_true", help="the number of lines")
    output.add_argument(
        "--follow", action="store_true", help="wait for new lines; with --since, print older ones first"
    )
    parser.add_argument("--fields", metavar="NAME,...", help="print these fields, separated by tabs")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Search the log. Return the exit code. Raises ArgumentError and ConfigError."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    now = datetime.now().astimezone()
    period = _period(options, now)
    filters = _filters(options)
    if period is not None:
        filters.append(Times(period))
    output = _output(options)
    settings = _settings(options.config)
    search = Search(filters, output, settings.field_names)
    try:
        return _searched(_path(settings), search, period or Period(-inf, inf), output, options, now)
    except MissingFieldError as error:
        raise argparse.ArgumentError(None, str(error)) from None
    except NoLogError as error:
        return _failed(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _failed(f"{error.filename or settings.access[0]}: {error.strerror}")


def lines_of_id(config: str, identity: str) -> list[dict[str, str | float | None]]:
    """Return the fields of each access line of the request with this id, oldest first.

    Raises ConfigError, NoLogError, and MissingFieldError for lines without ids.
    """
    found = Collection()
    settings = _settings(config)
    search = Search([Words("id", [identity])], found, settings.field_names)
    with ExitStack() as stack:
        for file in _opened(_path(settings), stack):
            _search_file(file, search, Period(-inf, inf))
    return found.lines


def _searched(
    path: Path, search: Search, period: Period, output: _Output, options: argparse.Namespace, now: datetime
) -> int:
    with ExitStack() as stack:
        files = _opened(path, stack)
        code = 0
        if options.follow:
            for file in files:
                file.end_with_a_line()
        if not options.follow or options.since:
            for file in within(files, period.since, period.until):
                code |= _search_file(file, search, period)
        if options.follow:
            follower = Follower(path, files, {first_line(file.head) for file in files})
            stack.callback(follower.close)
            _follow(follower, search)
    is_given = options.since is not None
    output.finish(min(period.until, now.timestamp()) - period.since if is_given else None)
    if search.broken:
        print(f"gproxy logs: {plural(search.broken, 'broken line')} skipped", file=sys.stderr)
    return code


def _opened(path: Path, stack: ExitStack) -> list[LogFile]:
    """Return the files of the log, in order of time; the stack closes them. Raises NoLogError."""
    try:
        files = opened_files(path)
    except OSError as error:
        raise NoLogError(f"{path}: {error.strerror}") from None
    for file in files:
        stack.callback(file.close)
    if not files:
        raise NoLogError(f"{path}: no such file; a relative path counts from the working directory")
    return files


def _search_file(file: LogFile, search: Search, period: Period) -> int:
    """Search one file. Return 1 if a part of it cannot be read."""
    try:
        for block in file.blocks(period.since, period.until):
            search.feed(block)
    except BrokenPipeError:
        raise
    except DAMAGES as error:
        return _failed(f"{file.path}: the rest cannot be read: {error}")
    return 0


def _follow(follower: Follower, search: Search) -> None:
    while True:
        for block in follower.poll():
            search.feed(block)
        sys.stdout.flush()
        time.sleep(_POLL)


def _failed(text: str) -> int:
    print(f"gproxy logs: {text}", file=sys.stderr)
    return 1


def _period(options: argparse.Namespace, now: datetime) -> Period | None:
    """Return the period of the options; None without one. Raises ArgumentError."""
    if options.follow and options.until:
        raise argparse.ArgumentError(None, "--follow never ends: --until does not fit")
    name = "since"
    try:
        since = parse_moment(options.since, now) if options.since else None
        name = "until"
        until = parse_moment(options.until, now, after=since) if options.until else None
    except ValueError as error:
        hint = str(error) or "expected 10m, 12:00, 2026-11-28 or 2026-11-28T12:00"
        raise argparse.ArgumentError(None, f"--{name}: {hint}") from None
    if since is None and until is None:
        return None
    if since is not None and until is not None and until <= since:
        raise argparse.ArgumentError(None, "--until is not after --since")
    return Period(since.timestamp() if since else -inf, until.timestamp() if until else inf)


def _filters(options: argparse.Namespace) -> list[Filter]:
    """Return the filters of the options. Raises ArgumentError."""
    found: list[Filter] = []
    name = ""
    try:
        for name, make in FILTERS.items():
            if given := getattr(options, name):
                found.append(make(given if name in _WHOLE else _listed(given)))
        name = "slower"
        if options.slower is not None:
            found.append(Slower(options.slower))
    except ValueError as error:
        raise argparse.ArgumentError(None, f"--{name}: {error}") from None
    return found


def _listed(texts: Sequence[str]) -> list[str]:
    """Return the values of lists that are separated by commas."""
    return [value for text in texts for value in map(str.strip, text.split(",")) if value]


def _output(options: argparse.Namespace) -> _Output:
    """Return what prints the result. Raises ArgumentError."""
    fields = _listed([options.fields or ""])
    if fields and (options.by or options.count):
        raise argparse.ArgumentError(None, "--fields: --by and --count print no lines")
    if options.by:
        return Table(options.by, is_json=options.json)
    if options.count:
        return Count(is_json=options.json)
    writer = LineWriter(fields, is_json=options.json)
    if options.slowest is None:
        return Lines(writer)
    if not 0 < options.slowest <= _MOST_SLOWEST:
        raise argparse.ArgumentError(None, f"--slowest: expected a number from 1 to {_MOST_SLOWEST}")
    return Slowest(writer, options.slowest)


def _settings(config: str) -> LogSettings:
    """Return `[log]` of the settings. Problems elsewhere do not matter. Raises ArgumentError and ConfigError."""
    files = read_files(config, os.environ)
    problems: list[Problem] = []
    sections = parse_files(files, os.environ, problems)
    relevant = [problem for problem in problems if sections is None or problem.section in ("", "log")]
    if relevant:
        raise ConfigError(relevant)
    log = load_process(files, {}).log
    if log is None:
        raise argparse.ArgumentError(None, "[log] has problems; gproxy check reports them")
    return log


def _path(settings: LogSettings) -> Path:
    """Return the file of the log. Raises NoLogError if lines go elsewhere."""
    targets = settings.access
    if found := next((target for target in targets if target.is_file), None):
        return Path(found.text).absolute()
    raise NoLogError(f"[log] access = {', '.join(map(str, targets))}: {_elsewhere(targets[0].text)}")


def _elsewhere(target: str) -> str:
    if target == "off":
        return "there is no access log"
    place = "standard output" if target == "-" else "a syslog server"
    return f"the lines go to {place}; add a file, such as log/access.log, to search them here"
