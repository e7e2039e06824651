"""What was measured, as ratios to the first peer and as a table."""

from dataclasses import dataclass
from math import nan
from statistics import median
from typing import NamedTuple

from bench.load import Load


@dataclass(frozen=True)
class Sample:
    """One peer in one round. `cpu`: microseconds a request, `memory`: resident bytes, both of all its processes."""

    load: Load
    cpu: float
    memory: int


class Ratio(NamedTuple):
    """Of requests a second, round by round."""

    median: float
    low: float
    high: float


def ratio(samples, first):
    """How these compare with those of the first peer; not a number if that one answered nothing in some round."""
    if not all(one.load.rate for one in first):
        return Ratio(nan, nan, nan)
    each = [ours.load.rate / theirs.load.rate for ours, theirs in zip(samples, first, strict=True)]
    return Ratio(median(each), min(each), max(each))


def ratios(measured):
    """By peer, for one scenario; the first peer is the yardstick."""
    first = next(iter(measured.values()))
    return {peer: ratio(samples, first) for peer, samples in measured.items()}


def errors(measured):
    """How many requests failed, over all peers; a peer that answers nothing has failed too."""
    return sum(one.load.errors + (not one.load.requests) for samples in measured.values() for one in samples)


_HEADINGS = "peer", "req/s", "ratio", "min..max", "p50 ms", "p99 ms", "CPU us", "RSS MB", "errors"
_WIDTHS = 10, 9, 8, 14, 9, 9, 9, 9, 8


def table(measured):
    """Lines of text: a peer each, medians over the rounds."""
    rows = [_HEADINGS]
    for peer, compared in ratios(measured).items():
        rows.append([peer, *_cells(measured[peer], compared)])
    return [_line(row) for row in rows]


def _cells(samples, compared):
    rate, p50, p99 = (median(getattr(one.load, name) for one in samples) for name in ("rate", "p50", "p99"))
    cpu, memory = (median(getattr(one, name) for one in samples) for name in ("cpu", "memory"))
    spread = f"{compared.low:.2f}..{compared.high:.2f}"
    failed = sum(one.load.errors for one in samples)
    return [
        f"{rate:.0f}", f"{compared.median:.2f}", spread, f"{p50:.2f}", f"{p99:.2f}", f"{cpu:.0f}",
        f"{memory / 1e6:.0f}", str(failed or ""),
    ]  # fmt: skip


def _line(cells):
    first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"  {cells[0]:<{len(first)}}{''.join(others)}".rstrip()
