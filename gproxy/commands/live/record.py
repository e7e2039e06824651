"""`gproxy record`: records exchanges of the running gateway in a file, until a limit, a time, or Ctrl-C."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor
from gproxy.commands.live.record_file import RecordFile
from gproxy.config.types.units import parse_bytes, parse_percent, parse_seconds, plural
from gproxy.recording.json_lines import from_json
from gproxy.recording.record import RecordHeader
from gproxy.recording.recorder import redaction_of, rule_of
from gproxy.recording.rule import MOST_BODY

_BODIES: Final = "64KiB"
_LIMIT: Final = 1000
_FOR: Final = "5m"
#: The options that select exchanges, with their texts.
_SELECTING: Final = {
    "route": ("R", "only requests on this route"),
    "path": ("P", "only paths of this pattern; * stands for any characters"),
    "client": ("NET", "only clients of this address or network; unix: those on unix sockets"),
    "status": ("S", "only responses with these statuses, such as 5xx,404"),
    "slower": ("TIME", "only requests that take at least this long, such as 500ms"),
    "sample": ("SHARE", "only this share of the requests that match, such as 10%%"),
}
#: Why a recording has ended.
_ENDED: Final = {"limit": "the limit is reached", "time": "the time is over", "request": "ended on request"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to record, and where."""
    for name, (metavar, text) in _SELECTING.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text)
    parser.add_argument("--limit", metavar="N", type=int, default=_LIMIT, help=f"most requests; default: {_LIMIT}")
    parser.add_argument("--for", metavar="TIME", dest="time", default=_FOR, help=f"longest time; default: {_FOR}")
    text = f"record bodies, up to so many bytes of each; without a size {_BODIES}; default: no bodies"
    parser.add_argument("--bodies", metavar="SIZE", nargs="?", const=_BODIES, help=text)
    text = "keep the values of this header field, parameter or cookie; user: the names of users; repeatable"
    parser.add_argument("--keep", metavar="NAME", action="append", default=[], help=text)
    text = "hide more: json:$.card in JSON bodies, path:/reset/* in paths; repeatable"
    parser.add_argument("--redact", metavar="RULE", action="append", default=[], help=text)
    parser.add_argument("--har", action="store_true", help="write an HTTP Archive (HAR 1.2)")
    text = "new file, for its owner only; the extension .gz compresses it"
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help=text)
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Record, and return 0; 1 if the file cannot be written, or the recording ends before its time, in one worker too.

    Raises ArgumentError for wrong options.
    """
    wanted = _options(options)
    return ask_monitor(options, partial(_record, wanted))


def _options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options as the API takes them. Raises ArgumentError for wrong ones: no file is created then."""
    wanted = {name: getattr(options, name) for name in _SELECTING if getattr(options, name) is not None}
    keep = [name.strip() for text in options.keep for name in text.split(",") if name.strip()]
    given = {"sample": options.sample, "slower": options.slower, "for": options.time, "bodies": options.bodies}
    for name, (parse, example) in _UNITS.items():
        try:
            if given[name] is not None:
                parse(given[name])
        except ValueError as error:
            text = str(error) or f"expected a value such as {example}"
            raise argparse.ArgumentError(None, f"--{name}: {text}") from None
    if options.limit < 1:
        raise argparse.ArgumentError(None, "--limit: expected a number above 0")
    try:
        plain = {name: wanted.get(name, "") for name in ("route", "path", "client", "status")}
        bodies = parse_bytes(options.bodies or "0")
        rule_of({**plain, "keep": keep, "redact": options.redact, "bodies": bodies}, b"", lambda _: True)
    except ValueError as error:
        raise argparse.ArgumentError(None, f"{error}") from None
    wanted |= {"limit": options.limit, "for": options.time, "keep": ",".join(keep)}
    wanted |= {"redact": "\n".join(options.redact)}
    return wanted if options.bodies is None else {**wanted, "bodies": options.bodies}


def _time(text: str) -> None:
    if parse_seconds(text) <= 0:
        raise ValueError("expected a time above 0")


def _size(text: str) -> None:
    if not 0 < parse_bytes(text) <= MOST_BODY:
        raise ValueError("expected a size up to 1MiB")


#: How the values of options with units are read, with an example.
_UNITS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "sample": (parse_percent, "10%"), "slower": (parse_seconds, "500ms"), "for": (_time, "5m"),
    "bodies": (_size, "64KiB"),
}  # fmt: skip


def _record(wanted: Mapping[str, Any], client: AdminClient, options: argparse.Namespace) -> int:
    try:
        file = RecordFile(options.output, is_har=options.har)
    except FileExistsError:
        raise AdminError(f"{options.output} exists; remove it, or write another file") from None
    except OSError as error:
        raise AdminError(f"{options.output}: {error.strerror}") from None
    return _Recording(client, wanted, file, is_json=options.json).run()


class _Recording:
    """A recording under way: from the monitor's lines to the file."""

    def __init__(self, client: AdminClient, wanted: Mapping[str, Any], file: RecordFile, *, is_json: bool) -> None:
        self._client = client
        self._wanted = wanted
        self._file = file
        self._is_json = is_json
        #: The name of the recording at the monitor; empty before it has begun.
        self._name = ""
        self._dropped = self._failed = 0
        self._why = ""
        self._is_stopping = False
        self._shows_progress = sys.stderr.isatty()

    def run(self) -> int:
        """Record to the end, and return the exit code. Raises AdminError if nothing has begun."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        problem, is_full = "", False
        try:
            for line in _lines(self._client.pieces("/v1/recordings", "POST", self._wanted)):
                self._take(json.loads(line))
            problem = "" if self._why else "the monitor has ended"
        except AdminError as error:
            problem = str(error)
        except KeyboardInterrupt:
            self._why = "interrupted"
        except OSError as error:
            problem, is_full = f"{self._file.path}: {error.strerror or error}", True
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if not self._name and not is_full:
            self._file.remove()
            raise AdminError(problem or "the recording has not begun")
        return self._finish(problem, is_full=is_full)

    def _stop(self, _: int, __: FrameType | None) -> None:
        """End the recording, and read what is still on its way; a second signal ends at once."""
        if self._is_stopping or not self._name:
            raise KeyboardInterrupt
        self._is_stopping = True
        try:
            self._client.send("DELETE", f"/v1/recordings/{self._name}")
        except AdminError:
            raise KeyboardInterrupt from None

    def _take(self, content: Mapping[str, Any]) -> None:
        if "request" in content:
            self._file.add(from_json(content))
        elif "begun" in content:
            self._begin(content["begun"])
        elif "progress" in content:
            self._note(content["progress"])
        elif "end" in content:
            self._why = content["end"]["why"]
            self._count(content["end"])

    def _begin(self, facts: Mapping[str, Any]) -> None:
        rule = {name: value for name, value in self._wanted.items() if name not in {"keep", "redact"}}
        options = {
            "keep": [name for name in self._wanted["keep"].split(",") if name],
            "redact": [text for text in self._wanted["redact"].split("\n") if text],
        }
        redacted = redaction_of(options, b"").describe()
        self._file.begin(RecordHeader(facts["created"], facts["gproxy"], facts["settings"], rule, redacted))
        self._name = facts["name"]
        self._say(f"recording in {self._file.path} for {self._wanted['for']}; Ctrl-C ends it")

    def _count(self, progress: Mapping[str, int]) -> None:
        self._dropped, self._failed = progress["dropped"], progress.get("failed", 0)

    def _note(self, progress: Mapping[str, int]) -> None:
        self._count(progress)
        self._file.flush()
        if self._shows_progress:
            self._say(f"\r{self._counts()}\x1b[K", end="")

    def _finish(self, problem: str, *, is_full: bool) -> int:
        try:
            self._file.close(is_full=is_full)
        except OSError as error:
            problem = problem or f"{self._file.path}: {error.strerror or error}"
        start = "\r\x1b[K" if self._shows_progress else ""
        why = problem or _ENDED.get(self._why, self._why)
        self._say(f"{start}{why}: {self._counts()} in {self._file.path}")
        if self._failed:
            problem = f"a fault has ended the recording in {plural(self._failed, 'worker')}; the error log has it"
            self._say(problem)
        if self._is_json:
            counts = {"recorded": self._file.count, "dropped": self._dropped}
            print(json.dumps({"file": str(self._file.path), **counts, "ended": self._why or "failed"}))
        return 1 if problem else 0

    def _counts(self) -> str:
        dropped = f", {self._dropped} dropped because they came too fast" if self._dropped else ""
        return f"{plural(self._file.count, 'exchange')}{dropped}"

    @staticmethod
    def _say(text: str, end: str = "\n") -> None:
        print(text, end=end, file=sys.stderr, flush=True)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the whole lines of the pieces; one that is cut off is no exchange."""
    rest: list[bytes] = []
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line])
            rest.clear()
        rest.append(last)
