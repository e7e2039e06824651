"""The content of a view, as JSON: facts, notes and tables. The first page and the script show the same content.

A cell is a text, or an object with the text `t` and what else the cell has: `s` what the column is sorted by, `state`,
`bar`, `actions`, `more`, and with it `by` for a module of the page that shows the details. A row has a key, so that the
script changes only what has changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

#: A text, or an object.
Cell = str | Mapping[str, Any]
#: ok: as it should be; warn: look at it; bad: act; off: not in use, by intention; none: neutral.
State = Literal["ok", "warn", "bad", "off", "none"]
#: What a graph shows; `log`: durations on a logarithmic scale.
Scale = Literal["rate", "duration", "log", "number"]

#: The changes that are marks of graphs, with the state that a mark has.
MARKS: Final[Mapping[str, State]] = {"reload": "none", "reload_failed": "bad", "ejected": "bad", "block": "warn"}
#: The most rows of a table that are sent; a note says how many there are.
MOST_ROWS: Final = 2000


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `columns` have a label and a kind: text, number or wide; rows have a key and a cell for each column."""

    id: str
    caption: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    empty: str = "nothing"
    #: Commands that give the same, to copy.
    commands: Sequence[str] = ()
    #: True if new rows come in while a reader works with the others.
    flows: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the table as JSON has it."""
        flows = {"flows": True} if self.flows else {}
        return {
            **flows,
            "id": self.id, "caption": self.caption, "columns": self.columns, "empty": self.empty,
            "commands": self.commands, "rows": self.rows[:MOST_ROWS], "count": len(self.rows),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """A view: notes on what is wrong, facts, actions for the whole, graphs, and tables."""

    notes: Sequence[tuple[State, str]] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    graphs: Sequence[Mapping[str, Any]] = ()
    actions: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[Table] = field(default_factory=tuple)

    def describe(self) -> dict[str, Any]:
        """Return the view as JSON has it."""
        return {
            "notes": self.notes, "facts": self.facts, "graphs": self.graphs, "actions": self.actions,
            "tables": [table.describe() for table in self.tables],
        }  # fmt: skip


def graph(identity: str, title: str, kind: Scale, **lines: str) -> dict[str, Any]:
    """Return a graph of figures about the gateway: `lines` are their names, each with its label."""
    return {"id": identity, "title": title, "kind": kind, "lines": list(lines.items())}


def difference(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is new in a view: notes, facts and actions whole, of tables the changed cells; None if nothing is.

    A row that was there has an object of its changed cells by their index, a new one a list of all. `keys` are the
    keys of all rows in their order, if the order or the rows differ.
    """
    new = {name: now[name] for name in ("notes", "facts", "actions") if now[name] != before[name]}
    earlier = {table["id"]: table for table in before["tables"]}
    tables = [changed for table in now["tables"] if (changed := _changed(table, earlier.get(table["id"])))]
    return {**new, "tables": tables} if new or tables else None


def _changed(table: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if before is None:
        return dict(table)
    known = dict(before["rows"])
    rows = [(key, _new(cells, known.get(key))) for key, cells in table["rows"] if known.get(key) != cells]
    changed: dict[str, Any] = {"id": table["id"], "rows": rows, "count": table["count"]}
    keys = [key for key, _ in table["rows"]]
    if keys != list(known):
        changed["keys"] = keys
    return changed if rows or "keys" in changed else None


def _new(cells: Sequence[Cell], before: Sequence[Cell] | None) -> Sequence[Cell] | dict[int, Cell]:
    if before is None or len(before) != len(cells):
        return cells
    return {place: cell for place, cell in enumerate(cells) if cell != before[place]}


def action(
    label: str,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    ask: str = "",
    command: str = "",
    inputs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return an action: a request of the API, the question that confirms it, and the command that does the same.

    `inputs` are fields that the reader fills in; `{name}` in the command stands for one.
    """
    made = {"label": label, "method": method, "path": path, "body": body or {}, "ask": ask, "command": command}
    return {**made, "inputs": inputs}


def field_of(name: str, label: str, *, value: str = "", kind: str = "text", optional: bool = False) -> dict[str, Any]:
    """Return a field of an action."""
    return {"name": name, "label": label, "value": value, "kind": kind, "optional": optional}


def unique(rows: Iterable[tuple[str, Sequence[Cell]]]) -> list[tuple[str, Sequence[Cell]]]:
    """Return the rows with a number behind each key that another row has too."""
    seen: dict[str, int] = {}
    found = []
    for key, cells in rows:
        count = seen[key] = seen.get(key, 0) + 1
        found.append((key if count == 1 else f"{key}#{count}", cells))
    return found
