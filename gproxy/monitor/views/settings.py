"""The view of the settings in effect, with their places; secrets as `***`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, Table, View
from gproxy.monitor.watched_gateway import WatchedGateway

_COLUMNS: Final = (("Section", "text"), ("Option", "text"), ("Value", "wide"), ("Where", "text"))
#: The place of an option that the file does not set.
_DEFAULT: Final = "default"


def view(gateway: WatchedGateway) -> View:
    """Return the options that the file sets, then those with their defaults."""
    answer = gateway.lines.ask_one("config")
    if answer is None:
        return View(notes=[("bad", "No worker answers, so the settings are unknown.")])
    options = [(section["title"], option) for section in answer.parts for option in section["options"]]
    given = [one for one in options if one[1]["place"] != _DEFAULT]
    others = [one for one in options if one[1]["place"] == _DEFAULT]
    commands = ("gproxy config", "/v1/config")
    return View(
        tables=[
            Table("given", "What the file sets", _COLUMNS, list(_rows(given)), "Nothing.", commands),
            Table("defaults", "Defaults of the same sections", _COLUMNS[:3], [(k, c[:3]) for k, c in _rows(others)]),
        ]
    )


def _rows(options: list[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    for section, option in options:
        place: str = option["place"]
        file, _, line = place.rpartition(":")
        where = f"{Path(file).name}:{line}" if file.startswith("/") else place.removesuffix(":0")
        value = cells.code(option["value"])
        yield f"{section} {option['name']}", (cells.code(f"[{section}]"), cells.code(option["name"]), value, where)
