"""The cells of the page's tables: values as people read them, with what a column is sorted by."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gproxy.monitor.times import rfc3339
from gproxy.monitor.views.model import Cell, State
from gproxy.observe import readable

NONE: Final = readable.NONE
#: The longest text of a cell; a path may have 8 KB.
_LONGEST: Final = 300

#: The state that a word stands for, and so the shape and the colour beside it.
STATES: Final[Mapping[str, State]] = {
    "healthy": "ok", "closed": "ok", "serves": "ok", "answers": "ok", "succeeded": "ok",
    "trial": "warn", "draining": "warn", "half_open": "warn", "starts": "warn", "drains": "warn",
    "unhealthy": "bad", "open": "bad", "silent": "bad", "failed": "bad",
    "down": "off", "leaving": "off", "ended": "off",
}  # fmt: skip


def text(value: object) -> Cell:
    """Return a text, shortened; what is behind may be whatever a stranger has sent."""
    if value is None or value == "":
        return NONE
    found = str(value)
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"


def number(value: float | None, digits: int = 0) -> Cell:
    """Return a number with so many decimals."""
    return _sorted_by(value, readable.number(value, digits))


def rate(value: float | None) -> Cell:
    """Return a rate."""
    return _sorted_by(value, readable.rate(value))


def duration(seconds: float | None) -> Cell:
    """Return a duration."""
    return _sorted_by(seconds, readable.duration(seconds))


def age(seconds: float | None) -> Cell:
    """Return how long ago something was, or how old it is."""
    return _sorted_by(seconds, readable.age(seconds))


def _sorted_by(value: float | None, shown: str) -> Cell:
    """Return the text of a number, with the number itself, by which a column is sorted."""
    return shown if value is None else {"t": shown, "s": round(value, 6)}


def clock(when: float) -> Cell:
    """Return a Unix time; the page shows it in the zone of its reader."""
    return {"t": clock_text(when), "s": when, "time": when}


def clock_text(when: float) -> str:
    """Return a Unix time as text: `10:02:11 UTC`."""
    return f"{rfc3339(when)[11:19]} UTC"


def share(value: float | None) -> Cell:
    """Return a share from 0 to 1 in percent."""
    return _sorted_by(value, readable.share(value))


def errors(value: float, count: float) -> Cell:
    """Return the share of errors, marked if there are any."""
    cell = share(value / count if count else None)
    if isinstance(cell, str) or not value:
        return cell
    return {**cell, "state": "bad" if value / count >= 0.05 else "warn"}


def size(count: float | None) -> Cell:
    """Return a number of bytes."""
    return _sorted_by(count, readable.size(count))


def state(word: str, why: str = "", kind: State | None = None) -> Cell:
    """Return a state: its word, with the reason, and the shape and the colour that it has."""
    shown = word.replace("_", "-")
    return {"t": f"{shown}: {why}" if why else shown, "s": word, "state": kind or STATES.get(word, "none")}


def code(value: object) -> Cell:
    """Return a text in a font of fixed width."""
    return {"t": str(text(value)), "code": True}


def bar(parts: Sequence[tuple[str, float]], total: float) -> Cell:
    """Return a duration with the parts that it consists of."""
    shown = [(name, seconds, readable.duration(seconds)) for name, seconds in parts if seconds > 0]
    return {"t": readable.duration(total), "s": round(total, 6), "bar": shown}


def doing(actions: Sequence[Mapping[str, Any]]) -> Cell:
    """Return the actions of a row."""
    return {"t": "", "actions": actions}
