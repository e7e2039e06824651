"""The screen of `gproxy top`: figures, and three panes of which one has the selection. Made with rich."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from gproxy.commands.live.top_snapshot import Row, Snapshot
from gproxy.observe import readable

#: The columns of the panes: label, width (0: what is left), and whether it is a number.
_COLUMNS: Final = {
    "routes": (("ROUTE", 0, False), ("REQ/S", 8, True), ("ERRORS", 8, True), ("P50", 9, True), ("P99", 9, True)),
    "backends": (
        ("BACKEND", 0, False), ("UPSTREAM", 12, False), ("STATE", 22, False), ("ACTIVE", 7, True),
        ("SENT", 8, True), ("FAILED", 7, True),
    ),
    "requests": (
        ("AGE", 7, True), ("PHASE", 8, False), ("ROUTE", 12, False), ("BACKEND", 18, False), ("REQUEST", 0, False),
    ),
}  # fmt: skip
PANES: Final = tuple(_COLUMNS)
#: The fewest lines of a pane: its head and one row.
_LEAST: Final = 2
_KEYS: Final = "q quit  Tab next pane  ↑↓ select  x cut  d drain"
_DIM: Final = Style(dim=True)
_HEAD: Final = Style(bold=True)
_CHOSEN: Final = Style(bold=True, underline=True)
_SELECTED: Final = Style(reverse=True)
_BAD: Final = Style(color="red", bold=True)


@dataclass(slots=True)
class Screen:
    """The content of the screen: a snapshot, the selection, and a question or a message in the last line."""

    snapshot: Snapshot
    pane: str = "requests"
    selected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PANES, 0))
    message: str = ""
    is_lost: bool = False

    @property
    def rows(self) -> Sequence[Row]:
        """The rows of the pane that has the selection."""
        return self.snapshot.panes[self.pane]

    @property
    def row(self) -> Row | None:
        """The selected row."""
        return self.rows[self.selected[self.pane]] if self.rows else None

    def show(self, snapshot: Snapshot) -> None:
        """Show another moment; the selection stays at its row if the row is still there."""
        keys = {pane: rows[self.selected[pane]].key for pane, rows in self.snapshot.panes.items() if rows}
        self.snapshot, self.is_lost = snapshot, False
        for pane, rows in snapshot.panes.items():
            places = {row.key: place for place, row in enumerate(rows)}
            same = places.get(keys.get(pane, ""), self.selected[pane])
            self.selected[pane] = max(0, min(same, len(rows) - 1))

    def move(self, steps: int) -> None:
        """Move the selection."""
        self.selected[self.pane] = max(0, min(self.selected[self.pane] + steps, len(self.rows) - 1))

    def next_pane(self) -> None:
        """Give the selection to the next pane."""
        self.pane = PANES[(PANES.index(self.pane) + 1) % len(PANES)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or options.max_height
        lines = [*self._head(), *self._panes(width, height - 4)][: height - 1]
        for line in (*lines, *[Text()] * (height - 1 - len(lines)), self._foot()):
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line

    def _head(self) -> Iterator[Text]:
        shown, figures = self.snapshot, self.snapshot.figures
        state = "the monitor does not answer" if self.is_lost else f"{shown.silent} silent" if shown.silent else "live"
        head = Text(f"{shown.title}  generation {shown.generation}  workers {shown.workers}  ", _HEAD)
        head.append(f"lag {_time(figures, 'lag')}  blocks {figures.get('blocks', 0):.0f}  ")
        yield head.append(state, _BAD if state != "live" else _DIM)
        yield Text(
            f"req/s {_rate(figures, 'requests')}  errors/s {_rate(figures, 'errors')}  p50 {_time(figures, 'p50')}  "
            f"p99 {_time(figures, 'p99')}  in flight {figures.get('in_flight', 0):.0f}"
        )
        reasons = "  ".join(f"{reason} {readable.rate(rate)}/s" for reason, rate in shown.reasons.items())
        none = "errors that backends answered with" if figures.get("errors") else "no errors"
        yield Text(reasons or none, _BAD if reasons else _DIM)

    def _foot(self) -> Text:
        return Text(self.message or _KEYS, _HEAD if self.message else _DIM)

    def _panes(self, width: int, height: int) -> Iterator[Text]:
        """Yield the lines of all panes; the one with the selection gets what the others do not need."""
        counts = {pane: len(rows) + 1 for pane, rows in self.snapshot.panes.items()}
        third = max(_LEAST, height // len(PANES))
        sizes = {pane: min(counts[pane] + 1, third) for pane in PANES}
        sizes[self.pane] += max(0, height - sum(sizes.values()))
        for pane in PANES:
            yield from self._pane(pane, width, sizes[pane])

    def _pane(self, pane: str, width: int, size: int) -> Iterator[Text]:
        is_chosen = pane == self.pane
        labels = [label for label, *_ in _COLUMNS[pane]]
        yield Text(_line(pane, labels, width), _CHOSEN if is_chosen else _DIM)
        rows, place = self.snapshot.panes[pane], self.selected[pane]
        most = max(1, size - 1)
        first = max(0, min(place - most // 2, len(rows) - most)) if is_chosen else 0
        for index, row in enumerate(rows[first : first + most], first):
            is_selected = is_chosen and index == place
            text = _line(pane, row.cells, width, ">" if is_selected else " ")
            yield Text(text, _SELECTED if is_selected else "")
        if not rows:
            yield Text("  none", _DIM)


def _line(pane: str, texts: Sequence[str], width: int, mark: str = " ") -> str:
    """Return the texts in the columns of the pane, behind the mark of the selection."""
    columns = _COLUMNS[pane]
    left = max(8, width - 2 - sum(size + 1 for _, size, _ in columns if size))
    sizes = [size or left for _, size, _ in columns]
    shown = (
        readable.printable(text)[:size].rjust(size) if is_number else readable.printable(text)[:size].ljust(size)
        for text, size, (_, _, is_number) in zip(texts, sizes, columns, strict=True)
    )
    return f"{mark} {' '.join(shown)}".rstrip()


def _rate(figures: Mapping[str, float], name: str) -> str:
    return readable.rate(figures.get(name, 0.0))


def _time(figures: Mapping[str, float], name: str) -> str:
    return readable.duration(figures.get(name))
