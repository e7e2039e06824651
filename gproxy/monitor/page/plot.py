"""A graph of the history as SVG: lines over the time, with marks for what happened."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Self

from gproxy.monitor.views.model import MARKS

#: The size of a plot in its own units; the style sheet stretches it.
WIDTH: Final = 900
HEIGHT: Final = 100
#: So many intervals without a sample break a line.
_GAP: Final = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """The vertical axis: linear from 0 to `top`, or logarithmic from `least` to `top`."""

    top: float
    least: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float], *, is_log: bool) -> Self:
        """Return the scale for these values, none of which is 0."""
        top = max(values, default=1.0)
        return cls(top, min(top / 10, *values) if is_log and values else 0.0)

    def height(self, value: float) -> float:
        """Return the height of a value, from 0 to 1."""
        if not self.least:
            return value / self.top
        return math.log(value / self.least) / math.log(self.top / self.least) if value > self.least else 0.0


def plot(graph: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Return the figure of a graph. `figures` has the Unix times `since` and `until`, `times`, `series` and `marks`."""
    lines = [(label, figures["series"].get(name, [])) for name, label in graph["lines"]]
    scale = Scale.of([value for _, values in lines for value in values if value], is_log=graph["kind"] == "log")
    keys, paths = "", ""
    for index, (label, values) in enumerate(lines):
        points = path(figures, values, scale)
        area = f'<path class="area" d="{_closed(points)}"/>' if not index and points else ""
        paths += f'{area}<path class="k{index}" d="{points}"/>'
        keys += f'<span class="key k{index}">{escape(label)}</span>'
    marks = "".join(_mark(mark, figures) for mark in figures["marks"] if mark["kind"] in MARKS)
    title = escape(graph["title"])
    return (
        f'<figure class="graph" id="g-{escape(graph["id"])}"><figcaption><strong>{title}</strong>{keys}</figcaption>'
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{title}">'
        f'<path class="grid" d="M0 0H{WIDTH}M0 {HEIGHT / 2:g}H{WIDTH}M0 {HEIGHT}H{WIDTH}"/>{marks}{paths}</svg>'
        f'<p class="axis"><span>{_begin(figures)}</span><span>now</span></p></figure>'
    )


def path(figures: Mapping[str, Any], values: Sequence[float | None], scale: Scale) -> str:
    """Return the line through the values; a gap breaks it, be it of values or of samples."""
    found, last = "", -math.inf
    for when, value in zip(figures["times"], values, strict=False):
        if value is None:
            last = -math.inf
            continue
        begin = "M" if when - last > _GAP * figures["interval"] else "L"
        found += f"{begin}{_x(when, figures):.1f} {HEIGHT * (1 - scale.height(value)):.1f}"
        last = when
    return found


def _closed(points: str) -> str:
    """Return the area below each unbroken part of a line."""
    closed = ""
    for part in points.split("M")[1:]:
        first, last = part.split("L")[0], part.split("L")[-1]
        closed += f"M{part}L{last.split()[0]} {HEIGHT}L{first.split()[0]} {HEIGHT}Z"
    return closed


def _x(when: float, figures: Mapping[str, Any]) -> float:
    since: float = figures["since"]
    until: float = figures["until"]
    return WIDTH * (when - since) / (until - since)


def _mark(mark: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    x, kind = _x(mark["when"], figures), MARKS[mark["kind"]]
    return f'<path class="mark {kind}" d="M{x:.1f} 0V{HEIGHT}"><title>{escape(mark["text"])}</title></path>'


def _begin(figures: Mapping[str, Any]) -> str:
    seconds = figures["until"] - figures["since"]
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
