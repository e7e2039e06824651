"""What `gproxy logs` prints: lines, fields, counts and tables, as text and as JSON."""

import heapq
import json
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from gproxy.commands.logs.grouping import SHARES, Group, Groups
from gproxy.commands.logs.search import Columns
from gproxy.observe.access_files.layout import LINE, Layout, Row
from gproxy.observe.access_files.moments import iso
from gproxy.observe.log import escape

_MINUTE: Final = 60.0
#: Figures of a group: the heading, and the width of the column.
_HEADINGS: Final = (("count", 9), ("rate/s", 9), ("errors", 7), ("p50", 9), ("p95", 9), ("p99", 9), ("bytes", 13))


class LineWriter:
    """The form in which lines are printed: as they are, as chosen fields, or as JSON."""

    def __init__(self, fields: Sequence[str], *, is_json: bool) -> None:
        self.required = dict.fromkeys(fields, "fields")
        self._fields = fields
        self._is_json = is_json

    def write(self, layout: Layout, lines: Iterable[bytes]) -> None:
        """Print lines of one layout."""
        if self._fields or self._is_json:
            lines = (self._formed(layout, line) for line in lines)
        rest = memoryview(b"".join(line + b"\n" for line in lines))
        while rest:  # without a buffer (python -u) a write may be partial
            rest = rest[sys.stdout.buffer.write(rest) :]

    def _formed(self, layout: Layout, line: bytes) -> bytes:
        values = values_of(layout, line)
        chosen = {name: values[name] for name in self._fields or layout.names}
        if self._is_json:
            return json.dumps(chosen, separators=(",", ":")).encode()
        texts = ("-" if value in ("", None) else escape(str(value)) for value in chosen.values())
        return "\t".join(texts).encode("utf-8", "backslashreplace")


def values_of(layout: Layout, line: bytes) -> dict[str, str | float | None]:
    """Return the values of a line of this layout by the names of its fields; times in ISO 8601."""
    match = layout.pattern(_all(layout)).fullmatch(line)
    raw = dict(zip(layout.names, match.groups(b""), strict=False)) if match else {}
    return {name: iso(text) if name == "time" else layout.read(name, text) for name, text in raw.items()}


@lru_cache(maxsize=64)
def _all(layout: Layout) -> frozenset[str]:
    return frozenset(layout.names)


class Lines:
    """A sink that prints each line."""

    wanted = frozenset({LINE})

    def __init__(self, writer: LineWriter) -> None:
        self.required = writer.required
        self._writer = writer

    def take(self, columns: Columns, rows: list[Row]) -> None:
        self._writer.write(columns.layout, (row[0] for row in rows))

    def finish(self, seconds: float | None) -> None:
        """Print nothing further."""


class Collection:
    """A sink that keeps the fields of each line."""

    wanted = frozenset({LINE})

    def __init__(self) -> None:
        self.required: dict[str, str] = {}
        self.lines: list[dict[str, str | float | None]] = []

    def take(self, columns: Columns, rows: list[Row]) -> None:
        self.lines += (values_of(columns.layout, row[0]) for row in rows)


class Slowest:
    """A sink that prints the slowest requests, the slowest first."""

    wanted = frozenset({LINE, "duration"})

    def __init__(self, writer: LineWriter, most: int) -> None:
        self.required = {**writer.required, "duration": "slowest"}
        self._writer = writer
        self._most = most
        #: Duration, number, layout and line, as a heap. The number decides among equal durations: the first one stays.
        self._found: list[tuple[float, int, Layout, bytes]] = []
        self._number = 0

    def take(self, columns: Columns, rows: list[Row]) -> None:
        place = columns.places["duration"]
        for row in rows:
            duration = float(row[place])
            self._number -= 1
            if len(self._found) < self._most:
                heapq.heappush(self._found, (duration, self._number, columns.layout, row[0]))
            elif duration > self._found[0][0]:
                heapq.heapreplace(self._found, (duration, self._number, columns.layout, row[0]))

    def finish(self, seconds: float | None) -> None:  # noqa: ARG002 no rate is printed
        """Print the lines."""
        for _, _, layout, line in sorted(self._found, key=lambda one: (-one[0], -one[1])):
            self._writer.write(layout, [line])


class Count:
    """A sink that prints the number of lines."""

    wanted: frozenset[str] = frozenset()

    def __init__(self, *, is_json: bool) -> None:
        self.required: dict[str, str] = {}
        self._count = 0
        self._is_json = is_json

    def take(self, columns: Columns, rows: list[Row]) -> None:  # noqa: ARG002 any layout counts
        self._count += len(rows)

    def finish(self, seconds: float | None) -> None:  # noqa: ARG002 no rate is printed
        """Print the number."""
        print(json.dumps({"count": self._count}) if self._is_json else self._count)


class Table:
    """A sink that prints the figures of groups. A figure whose fields the lines lack is `-`, or null."""

    def __init__(self, by: str, *, is_json: bool) -> None:
        self._by = by
        self._groups = Groups(by)
        self._is_json = is_json
        self.wanted = self._groups.wanted
        self.required = self._groups.required
        self._missing: set[str] = set()

    def take(self, columns: Columns, rows: list[Row]) -> None:
        self._missing |= self.wanted - columns.places.keys()
        self._groups.take(columns, rows)

    def finish(self, seconds: float | None) -> None:
        """Print the groups. `seconds` is the length of the period; None: from the first to the last request."""
        if seconds is None and (span := self._groups.span):
            seconds = span[1] - span[0]
        figures = [self._figures(name, group, seconds) for name, group in self._groups.result()]
        if self._is_json:
            print(json.dumps({"by": self._by, "seconds": seconds, "groups": figures}))
            return
        print("".join(f"{heading:>{width}}" for heading, width in _HEADINGS), "", self._by)
        for one in figures:
            print(_text(one), "", escape(str(one["name"])))

    def _figures(self, name: str, group: Group, seconds: float | None) -> dict[str, object]:
        length = _MINUTE if self._by == "minute" else seconds
        figures = {
            "name": name or "-",
            "count": group.count,
            "rate": round(group.count / max(length, 1.0), 3) if length is not None else None,
            "errors": round(group.errors / group.count, 6) if "status" not in self._missing else None,
            "bytes": group.bytes if "size" not in self._missing else None,
        }
        percentiles = group.durations.percentiles(SHARES)
        return figures | {f"p{share * 100:.0f}": value for share, value in zip(SHARES, percentiles, strict=True)}


def _text(figures: dict[str, object]) -> str:
    rate, errors = figures["rate"], figures["errors"]
    texts = (
        str(figures["count"]),
        f"{rate:.2f}" if isinstance(rate, float) else "-",
        f"{errors:.1%}" if isinstance(errors, float) else "-",
        *(_duration(figures[name]) for name in ("p50", "p95", "p99")),
        str(figures["bytes"]) if figures["bytes"] is not None else "-",
    )
    return "".join(f"{text:>{width}}" for text, (_, width) in zip(texts, _HEADINGS, strict=True))


def _duration(value: object) -> str:
    if not isinstance(value, float):
        return "-"
    return f"{value * 1000:.1f}ms" if value < 1 else f"{value:.2f}s"
