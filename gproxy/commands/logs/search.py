"""The search in blocks of lines: as bytes where only few lines can match, else by the pattern of a whole line."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from gproxy.commands.logs.filters import Filter, Select
from gproxy.observe.access_files.layout import Layout, Row, layout_of

#: Lines are searched as bytes while fewer than one in so many bytes may match.
_SPARSE: Final = 2000
#: A reload may change the layout, so a line in so many bytes is examined, and the last one of each block.
_SAMPLED: Final = 16 * 1024
#: The most layouts of one search; the lines of further ones are broken.
_MOST_LAYOUTS: Final = 64


class Columns(NamedTuple):
    """The layout of rows, and the place of each field that is wanted and that they have."""

    layout: Layout
    places: dict[str, int]


class Sink(Protocol):
    """A receiver of the rows that were found."""

    #: The fields that it uses if the lines have them; LINE is the whole line.
    wanted: frozenset[str]
    #: Fields that the lines must have, with the option that says so.
    required: dict[str, str]

    def take(self, columns: Columns, rows: list[Row]) -> None:
        """Take rows, in the order of the log."""


class MissingFieldError(Exception):
    """The error for lines that lack a field which an option names."""

    def __init__(self, option: str, field: str, layout: Layout) -> None:
        text = f"lines have no field {field!r}; name it in [log] fields"
        if layout.format == "combined":
            text = f"lines of format = combined have no field {field!r}; write [log] format = ltsv or json"
        super().__init__(f"--{option}: {text}")


class _Bound(NamedTuple):
    """The work of a search on lines of one layout."""

    columns: Columns
    quick: re.Pattern[bytes]
    strict: re.Pattern[bytes]
    selects: Sequence[Select]
    #: Finds what a matching line has; None if most lines may match.
    needle: re.Pattern[bytes] | None


class Search:
    """A search with filters. `expected` are the names of the fields that the settings give lines.

    `broken` counts the lines that are none, as far as they were examined: lines that cannot match are skipped unread.
    """

    def __init__(self, filters: Sequence[Filter], sink: Sink, expected: tuple[str, ...]) -> None:
        self.broken = 0
        self._filters = filters
        self._sink = sink
        self._expected = expected
        self._wanted = sink.wanted | {one.field for one in filters}
        self._bound: _Bound | None = None
        self._all: dict[Layout, _Bound] = {}

    def feed(self, block: bytes) -> None:
        """Search whole lines, each with its end. Raises MissingFieldError."""
        bound = self._bound
        if bound is None:
            self._each(block.split(b"\n")[:-1])
        elif not (bound.needle and self._sparse(block, bound, bound.needle)):
            rows = bound.quick.findall(block)
            if len(rows) == block.count(b"\n"):
                self._take(bound, rows)
            else:
                self._each(block.split(b"\n")[:-1])

    def _sparse(self, block: bytes, bound: _Bound, needle: re.Pattern[bytes]) -> bool:
        """Search only the lines with the needle. Return False without doing so if many have it, or another layout."""
        if not all(bound.strict.fullmatch(line) for line in _samples(block)):
            return False
        lines: list[bytes] = []
        end = 0
        while match := needle.search(block, end):
            begin = block.rfind(b"\n", 0, match.start()) + 1
            end = block.find(b"\n", match.end())
            lines.append(block[begin:end])
            if len(lines) * _SPARSE > len(block) + _SPARSE * 8:
                return False
        self._each(lines)
        return True

    def _each(self, lines: Sequence[bytes]) -> None:
        """Search line by line: the lines may have several layouts, and some may be broken."""
        bound = self._bound
        rows: list[Row] = []
        for line in lines:
            match = bound.strict.fullmatch(line) if bound else None
            if match is None:
                if bound is not None:
                    self._take(bound, rows)
                    rows = []
                found = self._recognize(line)
                if found is None:
                    self.broken += 1
                    continue
                bound = self._bound = found
                match = bound.strict.fullmatch(line)
            rows.append(match.groups(b"") if match else ())
        if bound is not None:
            self._take(bound, rows)

    def _recognize(self, line: bytes) -> _Bound | None:
        layout = layout_of(line)
        if layout is None or self._is_torn(layout) or (layout not in self._all and len(self._all) >= _MOST_LAYOUTS):
            return None
        if layout not in self._all:
            self._all[layout] = self._bind(layout)
        return self._all[layout]

    def _is_torn(self, layout: Layout) -> bool:
        """Return whether a line has only the first fields of another, as a full disk leaves it."""
        names = layout.names
        known = [self._expected, *(one.names for one in self._all)]
        return names not in known and any(names == whole[: len(names)] for whole in known)

    def _bind(self, layout: Layout) -> _Bound:
        required = self._sink.required | {one.field: one.option for one in self._filters}
        for field, option in required.items():
            if field not in layout.names:
                raise MissingFieldError(option, field, layout)
        places = layout.columns(self._wanted)
        return _Bound(
            Columns(layout, places),
            layout.pattern(self._wanted, is_quick=True),
            layout.pattern(self._wanted),
            [one.selector(layout, places[one.field]) for one in self._filters],
            _needle(self._filters, layout),
        )

    def _take(self, bound: _Bound, rows: list[Row]) -> None:
        for select in bound.selects:
            rows = select(rows)
        if rows:
            self._sink.take(bound.columns, rows)


def _samples(block: bytes) -> Iterator[bytes]:
    """Yield the lines to examine: the first one, the last one, and some in between."""
    for place in range(0, len(block), _SAMPLED):
        begin = block.rfind(b"\n", 0, place) + 1
        yield block[begin : block.index(b"\n", begin)]
    yield block[block.rfind(b"\n", 0, len(block) - 1) + 1 : -1]


def _needle(filters: Sequence[Filter], layout: Layout) -> re.Pattern[bytes] | None:
    """Return the pattern of bytes that the lines of the first such filter have."""
    for one in filters:
        texts = one.texts(layout)
        if texts and all(texts):
            found = [text for text in texts if text]
            return re.compile(_alternatives(found))
    return None


def _alternatives(texts: Sequence[bytes]) -> bytes:
    """Return a pattern that begins with what the texts have in common: the beginning is searched fast."""
    length = next(
        (at for at, signs in enumerate(zip(*texts, strict=False)) if len(set(signs)) > 1), len(min(texts, key=len))
    )
    rest = b"|".join(re.escape(text[length:]) for text in texts)
    return re.escape(texts[0][:length]) + b"(?:%b)" % rest
