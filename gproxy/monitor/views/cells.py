"""The cells of the page's tables: values as people read them, with what a column is sorted by."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gproxy.monitor.times import rfc3339
from gproxy.monitor.views.model import Cell, State

#: What stands for a value that is not there.
NONE: Final = "\u2013"
#: The longest text of a cell; a path may have 8 KB.
_LONGEST: Final = 300
_SIZES: Final = ("B", "kB", "MB", "GB", "TB")
#: The least age for each unit, in seconds.
_AGES: Final = ((172_800.0, 86_400, "d"), (7_200.0, 3_600, "h"), (120.0, 60, "min"), (0.0, 1, "s"))

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
    """Return a number with so many decimals, its thousands apart."""
    return NONE if value is None else {"t": f"{value:,.{digits}f}".replace(",", "\u202f"), "s": round(value, 3)}


def rate(value: float | None) -> Cell:
    """Return a rate: fewer decimals, the larger it is."""
    if value is None:
        return NONE
    return number(value, 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2)


def duration(seconds: float | None) -> Cell:
    """Return a duration from microseconds to minutes, in three digits."""
    if seconds is None:
        return NONE
    return {"t": duration_text(seconds), "s": round(seconds, 6)}


def duration_text(seconds: float) -> str:
    """Return a duration as text: `850 µs`, `12.3 ms`, `1.25 s`, `3 min`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        ms = seconds * 1000
        return f"{ms:.2f} ms" if ms < 10 else f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s" if seconds < 120 else age_text(seconds)


def age(seconds: float | None) -> Cell:
    """Return how long ago something was, or how old it is."""
    return NONE if seconds is None else {"t": age_text(seconds), "s": round(seconds)}


def age_text(seconds: float) -> str:
    """Return an age in its largest unit: `12 s`, `4 min`, `3 h`, `9 d`."""
    size, unit = next((size, unit) for least, size, unit in _AGES if seconds >= least or not least)
    return f"{max(seconds, 0) / size:.0f} {unit}"


def clock(when: float) -> Cell:
    """Return a Unix time; the page shows it in the zone of its reader."""
    return {"t": clock_text(when), "s": when, "time": when}


def clock_text(when: float) -> str:
    """Return a Unix time as text: `10:02:11 UTC`."""
    return f"{rfc3339(when)[11:19]} UTC"


def share(value: float | None) -> Cell:
    """Return a share from 0 to 1 in percent; a small one is not rounded to 0."""
    if value is None:
        return NONE
    percent = value * 100
    shown = (
        "0 %"
        if not percent
        else "< 0.1 %"
        if percent < 0.1
        else f"{percent:.1f} %"
        if percent < 10
        else f"{percent:.0f} %"
    )
    return {"t": shown, "s": round(value, 5)}


def errors(value: float, count: float) -> Cell:
    """Return the share of errors, marked if there are any."""
    cell = share(value / count if count else None)
    if isinstance(cell, str) or not value:
        return cell
    return {**cell, "state": "bad" if value / count >= 0.05 else "warn"}


def size(count: float | None) -> Cell:
    """Return a number of bytes."""
    if count is None:
        return NONE
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if value >= 10 or not unit else 1
    return {"t": f"{value:.{digits}f} {_SIZES[unit]}", "s": count}


def state(word: str, why: str = "", kind: State | None = None) -> Cell:
    """Return a state: its word, with the reason, and the shape and the colour that it has."""
    shown = word.replace("_", "-")
    return {"t": f"{shown}: {why}" if why else shown, "s": word, "state": kind or STATES.get(word, "none")}


def code(value: object) -> Cell:
    """Return a text in a font of fixed width."""
    return {"t": str(text(value)), "code": True}


def bar(parts: Sequence[tuple[str, float]], total: float) -> Cell:
    """Return a duration with the parts that it consists of."""
    shown = [(name, seconds, duration_text(seconds)) for name, seconds in parts if seconds > 0]
    return {"t": duration_text(total), "s": round(total, 6), "bar": shown}


def doing(actions: Sequence[Mapping[str, Any]]) -> Cell:
    """Return the actions of a row."""
    return {"t": "", "actions": actions}
