"""Ratios of CPU time as a picture: a part for each kind of scenarios, in it a group of bars for each scenario.

Each peer has a colour; the picture is readable by day and by night.
"""

from html import escape
from math import isnan

#: Okabe and Ito's, which people who do not see all colours can tell apart; none is lost on white or black.
_COLOURS = "#8c8c8c", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#d55e00"
#: gproxy's own.
_OURS = "#0072b2"
_LEFT, _WIDTH, _RIGHT = 110, 520, 60
_BAR, _GAP, _HEADING, _TOP, _BOTTOM = 14, 14, 26, 44, 34

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.value { font-size: 11px; }
.kind { font-weight: 600; }
.axis, .whisker { stroke: #1f2328; fill: none; }
.grid { stroke: #8c8c8c; stroke-opacity: .3; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.axis, .whisker { stroke: #e6edf3; }
}
"""


def svg(compared, peers, kinds):
    """The picture as text. `compared`: scenario to peer to Ratio; `kinds`: what a part is about to its scenarios."""
    step = _nice_step(_largest(compared))
    end = step * -(-_largest(compared) // step)
    parts, bottom = _parts(compared, peers, kinds, _WIDTH / end)
    inside = "\n".join([*_grid(step, end, bottom, peers[0]), *_legend(peers), *parts])
    width, height = _LEFT + _WIDTH + _RIGHT, bottom + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="CPU time a request, as a ratio to {escape(peers[0])}">\n'
        f"<style>{_STYLE}</style>\n{inside}\n</svg>\n"
    )


def _parts(compared, peers, kinds, scale):
    """The parts with their headings, and where they end."""
    parts, top = [], _TOP
    for kind, scenarios in kinds.items():
        present = [name for name in scenarios if name in compared]
        if present:
            parts.append(f'<text class="kind" x="{_LEFT}" y="{top + 12}">{escape(kind)}</text>')
            top += _HEADING
        for name in present:
            parts += _group(name, compared[name], colours(peers), top, scale)
            top += len(compared[name]) * _BAR + _GAP
    return parts, top


def colours(peers):
    """A colour for each; gproxy always has the same."""
    others = [peer for peer in peers if peer != "gproxy"]
    return {**dict(zip(others, _COLOURS, strict=False)), "gproxy": _OURS}


def _largest(compared):
    highest = [ratio.high for by_peer in compared.values() for ratio in by_peer.values() if not isnan(ratio.high)]
    return max([1.0, *highest])


def _nice_step(largest):
    """Between two lines of the grid: at most eight of them."""
    return next(step for step in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if largest / step <= 8)


def _grid(step, end, bottom, yardstick):
    scale = _WIDTH / end
    for number in range(round(end / step) + 1):
        x = _LEFT + number * step * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{number * step:g}</text>'
    yield f'<line class="axis" x1="{_LEFT + scale:.1f}" y1="{_TOP - 6}" x2="{_LEFT + scale:.1f}" y2="{bottom}"/>'
    yield f'<text x="{_LEFT}" y="{bottom + 29}">CPU time a request, {escape(yardstick)} = 1, shorter is better; whiskers: min to max</text>'


def _legend(peers):
    x = _LEFT
    for peer, colour in ((peer, colours(peers)[peer]) for peer in peers):
        yield f'<rect x="{x}" y="12" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 17}" y="22">{escape(peer)}</text>'
        x += 40 + 7 * len(peer)


def _group(scenario, by_peer, colour, top, scale):
    middle = top + len(by_peer) * _BAR / 2 + 4
    yield f'<text x="{_LEFT - 10}" y="{middle:g}" text-anchor="end">{escape(scenario)}</text>'
    for number, (peer, ratio) in enumerate(by_peer.items()):
        if not isnan(ratio.median):
            title = f"{scenario}, {peer}: {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
            yield from _bar(ratio, top + number * _BAR, scale, colour[peer], title)


def _bar(ratio, top, scale, colour, title):
    middle = top + _BAR / 2
    low, high = (_LEFT + value * scale for value in (ratio.low, ratio.high))
    yield (
        f'<rect class="bar" x="{_LEFT}" y="{top + 1:g}" width="{ratio.median * scale:.1f}" height="{_BAR - 2}" '
        f'fill="{colour}"><title>{escape(title)}</title></rect>'
    )
    if ratio.low < ratio.high:
        ends = "".join(f"M{x:.1f} {middle - 3:g}v6" for x in (low, high))
        yield f'<path class="whisker" d="M{low:.1f} {middle:g}H{high:.1f}{ends}"/>'
    yield f'<text class="value" x="{high + 5:.1f}" y="{middle + 4:g}">{ratio.median:.2f}</text>'
