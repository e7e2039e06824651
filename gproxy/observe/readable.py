"""Values as people read them, on the page of operators and in terminals."""

from typing import Final

#: The text of a value that is not there.
NONE: Final = "\u2013"
#: Between thousands: a narrow blank.
_THOUSANDS: Final = "\u202f"
_SIZES: Final = ("B", "kB", "MB", "GB", "TB")
#: The least age for each unit, in seconds.
_AGES: Final = ((172_800.0, 86_400, "d"), (7_200.0, 3_600, "h"), (120.0, 60, "min"), (0.0, 1, "s"))


def printable(text: str) -> str:
    """Return a text from a stranger without control characters, which would change the terminal."""
    return "".join(letter if letter.isprintable() or letter == _THOUSANDS else "?" for letter in text)


def number(value: float | None, digits: int = 0) -> str:
    """Return a number with so many decimals, and its thousands apart."""
    return NONE if value is None else f"{value:,.{digits}f}".replace(",", _THOUSANDS)


def rate(value: float | None) -> str:
    """Return a rate: the larger it is, the fewer decimals it has."""
    if value is None:
        return NONE
    return number(value, 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2)


def duration(seconds: float | None) -> str:
    """Return a duration in three digits: `850 µs`, `12.3 ms`, `1.25 s`, `3 min`."""
    if seconds is None:
        return NONE
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        ms = seconds * 1000
        return f"{ms:.2f} ms" if ms < 10 else f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s" if seconds < 120 else age(seconds)


def age(seconds: float | None) -> str:
    """Return an age in its largest unit: `12 s`, `4 min`, `3 h`, `9 d`."""
    if seconds is None:
        return NONE
    size, unit = next((size, unit) for least, size, unit in _AGES if seconds >= least or not least)
    return f"{max(seconds, 0.0) / size:.0f} {unit}"


def share(value: float | None) -> str:
    """Return a share from 0 to 1 in percent; a small one is not rounded to 0."""
    if value is None:
        return NONE
    percent = value * 100
    if not percent:
        return "0 %"
    return "< 0.1 %" if percent < 0.1 else f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def size(count: float | None) -> str:
    """Return a number of bytes: `47 MB`."""
    if count is None:
        return NONE
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.{0 if value >= 10 or not unit else 1}f} {_SIZES[unit]}"
