"""The page as HTML: complete with values, so that it is of use in curl, in lynx and without scripts.

The script shows the same content in the same elements, and then changes what has changed. All texts are escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from gproxy.monitor.page.plot import plot
from gproxy.monitor.views.model import Cell

Content = Mapping[str, Any]
_TEMPLATE: Final = files("gproxy.monitor.page").joinpath("index.html").read_text("utf-8")
#: The parts of a time account have so many colours; further parts have the last one.
COLOURS: Final = 6


def page(content: Content, values: Mapping[str, str], titles: Mapping[str, str], figures: Content) -> str:
    """Return the page that shows the content of a view. `values` are further texts of the template."""
    parts = {
        **{name: escape(text) for name, text in values.items() if name != "theme"},
        "theme": f' data-theme="{values["theme"]}"' if values["theme"] in {"light", "dark"} else "",
        "view": escape(content["view"]),
        "view_title": escape(content["title"]),
        "views": "\n".join(_link(name, title, content["view"]) for name, title in titles.items()),
        "content": "\n".join(_content(content, figures)),
    }
    pieces = _TEMPLATE.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _link(name: str, title: str, current: str) -> str:
    here = ' aria-current="page"' if name == current else ""
    return f'<li><a href="/?view={name}"{here}>{escape(title)}</a></li>'


def _content(content: Content, figures: Content) -> Iterable[str]:
    notes = "".join(f'<li class="note {state}">{escape(text)}</li>' for state, text in content["notes"])
    yield f'<ul class="notes"{"" if notes else " hidden"}>{notes}</ul>'
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{_cell(cell)}</dd></div>" for name, cell in content["facts"])
    yield f'<dl class="facts"{"" if facts else " hidden"}>{facts}</dl>'
    if content["graphs"]:
        yield '<div class="graphs">'
        yield from (plot(graph, figures) for graph in content["graphs"])
        yield "</div>"
    yield from map(_table, content["tables"])


def _table(table: Content) -> str:
    name, columns, rows = escape(table["id"]), table["columns"], table["rows"]
    caption = escape(table["caption"])
    head = "".join(
        f'<th role="columnheader" scope="col" class="{kind}">{escape(label)}</th>' for label, kind in columns
    )
    body = "".join(_row(cells, columns) for _, cells in rows)
    shown = "" if rows else " hidden"
    return (
        f'<section id="t-{name}" aria-labelledby="h-{name}"><div class="head"><h3 id="h-{name}">{caption}</h3></div>'
        f'<table role="table"{shown}><caption>{caption}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>{_below(table)}</section>'
    )


def _below(table: Content) -> str:
    count, shown = table["count"], len(table["rows"])
    commands = "".join(f"<code>{escape(one)}</code> " for one in table["commands"])
    hint = f"<noscript><p>As a command: {commands}</p></noscript>" if commands else ""
    if not shown:
        return f'<p class="empty">{escape(table["empty"])}</p>{hint}'
    return f'<p class="empty">{shown} of {count} are shown.</p>{hint}' if shown < count else hint


def _row(cells: Sequence[Cell], columns: Sequence[tuple[str, str]]) -> str:
    found = zip(cells, columns, strict=True)
    return f'<tr role="row">{"".join(_data(cell, label, kind) for cell, (label, kind) in found)}</tr>'


def _data(cell: Cell, label: str, kind: str) -> str:
    kind = kind if isinstance(cell, str) or "actions" not in cell else "nothing"
    return f'<td role="cell" class="{kind}" data-label="{escape(label)}">{_cell(cell)}</td>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<span>{escape(cell)}</span>"
    text = escape(cell["t"])
    if "state" in cell:
        return f'<span class="state {cell["state"]}">{text}</span>'
    if "bar" in cell:
        return f"<span>{text}</span>{_bar(cell['bar'])}"
    if "actions" in cell:
        return ""
    return f'<span class="code">{text}</span>' if cell.get("code") else f"<span>{text}</span>"


def _bar(parts: Sequence[tuple[str, float, str]]) -> str:
    """Return the parts of a time account as a bar, with a list of their names and times."""
    total = sum(seconds for _, seconds, _ in parts) or 1.0
    drawn, listed, start = "", "", 0.0
    for index, (name, seconds, text) in enumerate(parts):
        colour, width = f"p{min(index, COLOURS - 1)}", 100 * seconds / total
        drawn += f'<rect class="{colour}" x="{start:.2f}%" width="{width:.2f}%" height="100%"/>'
        listed += f'<li class="{colour}">{escape(name)} {escape(text)}</li>'
        start += width
    return f'<svg class="bar" aria-hidden="true">{drawn}</svg><ul class="parts">{listed}</ul>'
