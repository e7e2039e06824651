"""What was measured, as ratios to the first peer and as tables."""

from dataclasses import dataclass
from math import nan
from operator import attrgetter
from statistics import median
from typing import NamedTuple

from bench.load import Load

#: What is compared, of a sample.
CPU, RATE = attrgetter("cpu"), attrgetter("load.rate")


@dataclass(frozen=True)
class Sample:
    """One peer in one round. `cpu`: microseconds a request, `memory`: resident bytes, both of all its processes."""

    load: Load
    cpu: float
    memory: int


class Ratio(NamedTuple):
    """Of one value to another, round by round."""

    median: float
    low: float
    high: float


def sample(server, generator, seconds):
    """Let the generator ask the server for so long."""
    before = server.cpu()
    load = generator.run(server.port, seconds)
    spent = server.cpu() - before
    return Sample(load, spent / max(1, load.requests) * 1e6, server.memory())


def ratio(samples, first, value):
    """How these compare with those of the first peer; not a number if that one answered nothing in some round."""
    if not all(value(one) for one in first):
        return Ratio(nan, nan, nan)
    each = [value(ours) / value(theirs) for ours, theirs in zip(samples, first, strict=True)]
    return Ratio(median(each), min(each), max(each))


def ratios(measured, value):
    """By peer, for one scenario; the first peer is the yardstick."""
    first = next(iter(measured.values()))
    return {peer: ratio(samples, first, value) for peer, samples in measured.items()}


def errors(measured):
    """How many requests failed, over all peers; a peer that answers nothing has failed too."""
    return sum(one.load.errors + (not one.load.requests) for samples in measured.values() for one in samples)


_HEADINGS = (
    "peer", "CPU us", "ratio", "min..max", "req/s", "ratio", "min..max", "p50 ms", "p99 ms", "RSS MB", "errors",
)  # fmt: skip
_WIDTHS = 10, 9, 8, 13, 10, 8, 13, 9, 9, 9, 8


def table(measured):
    """Lines of text: a peer each, medians over the rounds."""
    cpu, rate = ratios(measured, CPU), ratios(measured, RATE)
    rows = [_HEADINGS, *([peer, *_cells(samples, cpu[peer], rate[peer])] for peer, samples in measured.items())]
    return [_line(row) for row in rows]


def _cells(samples, cpu, rate):
    p50, p99 = (median(getattr(one.load, name) for one in samples) for name in ("p50", "p99"))
    memory = median(one.memory for one in samples)
    failed = sum(one.load.errors for one in samples)
    return [
        f"{median(map(CPU, samples)):.0f}", *_compared(cpu), f"{median(map(RATE, samples)):.0f}", *_compared(rate),
        f"{p50:.2f}", f"{p99:.2f}", f"{memory / 1e6:.0f}", str(failed or ""),
    ]  # fmt: skip


def _compared(ratio):
    return f"{ratio.median:.2f}", f"{ratio.low:.2f}..{ratio.high:.2f}"


def _line(cells):
    first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"  {cells[0]:<{len(first)}}{''.join(others)}".rstrip()


def summary(measured, kinds):
    """Lines of Markdown: gproxy beside each other peer, a table for each kind of scenarios, as the README has them."""
    lines = []
    for kind, scenarios in kinds.items():
        if present := [name for name in scenarios if name in measured]:
            others = list(dict.fromkeys(peer for name in present for peer in measured[name] if peer != "gproxy"))
            titles = [f"{what}, {peer} = 1" for what in ("CPU time", "requests/s") for peer in others]
            lines += ["", f"| {' | '.join([kind, *titles])} |", f"|{'---|' * (1 + len(titles))}"]
            lines += [_row(scenarios[name].about, measured[name], others) for name in present]
    return lines


def _row(about, by_peer, others):
    """A line of the summary; a peer that was not asked has a dash."""
    ours = by_peer["gproxy"]
    compared = [
        f"{ratio(ours, by_peer[peer], value).median:.2f}" if peer in by_peer else "-"
        for value in (CPU, RATE)
        for peer in others
    ]
    return f"| {' | '.join([about, *compared])} |"
