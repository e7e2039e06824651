"""Quantities in the file's syntax: `3s`, `10MB`, `100/minute`, `daily, 10MB`."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, NewType, Self

from gproxy.config.record import Record

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
#: A share, from 0 to 1.
Percent = NewType("Percent", float)

_SECONDS = {"d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1}
_BYTES_LOWER = {unit.lower(): size for unit, size in _BYTES.items()}
_WINDOWS = {"second": Seconds(1.0), "minute": Seconds(60.0), "hour": Seconds(3600.0), "day": Seconds(86400.0)}

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%")
_RATE = re.compile(r"([0-9]{1,15})\s*/\s*(.+)")


def parse_seconds(text: str) -> Seconds:
    """Parse a time (`500ms`, `1.5s`, `2m`, `1h`, `1d`, `0`). Raise ValueError with the problem."""
    number, unit = _split(text)
    if not unit and number:
        raise ValueError(f"write {text}s for seconds")
    if unit and unit not in _SECONDS:
        raise ValueError(f"the units are {', '.join(reversed(_SECONDS))}")
    return Seconds(float(number * _SECONDS[unit or "s"]))


def write_seconds(value: float) -> str:
    """Return the shortest form of a time: `30s`, `500ms`, `1h`."""
    exact = Decimal(str(value))
    if not exact:
        return "0s"
    units = _SECONDS if exact < 1 else {unit: size for unit, size in _SECONDS.items() if size >= 1}
    unit = next((unit for unit, size in units.items() if exact % size == 0), "ms" if exact < 1 else "s")
    return f"{(exact / _SECONDS[unit]).normalize():f}{unit}"


def parse_bytes(text: str) -> Bytes:
    """Parse a size (`10MB` is 10**7, `512KiB` is 2**19, a bare number is bytes). Raise ValueError with the problem."""
    number, unit = _split(text)
    size = number * _BYTES_LOWER.get(unit.lower() or "b", 0)
    if unit and unit.lower() not in _BYTES_LOWER:
        raise ValueError(f"the units are {', '.join(reversed(_BYTES))}")
    if size % 1:
        raise ValueError("the size must be a whole number of bytes")
    return Bytes(int(size))


def plural(count: int, noun: str) -> str:
    """Return the count with its noun: `1 line`, `2 lines`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortened(text: str, most: int) -> str:
    """Return the text in at most so many characters; a longer one ends with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def write_bytes(value: int) -> str:
    """Return the shortest form of a size: `32KiB`, `10MB`, `512`."""
    unit = next((unit for unit, size in _BYTES.items() if value and value % size == 0), "B")
    return f"{value // _BYTES[unit]}{'' if unit == 'B' else unit}"


def parse_percent(text: str) -> Percent:
    """Parse a share (`50%` is 0.5), from 0% to 100%. Raise ValueError with the problem."""
    match = _PERCENT.fullmatch(text)
    if not match:
        raise ValueError
    if (number := Decimal(match[1])) > 100:
        raise ValueError("a percentage must be at most 100%")
    return Percent(float(number / 100))


def write_percent(value: float) -> str:
    """Return the shortest form of a share: `50%`, `0.1%`."""
    return f"{(Decimal(str(value)) * 100).normalize():f}%"


def _split(text: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError
    return Decimal(match[1]), match[2]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rate(Record):
    """A rate: at most `limit` events (at least 1) in each `window` of seconds."""

    noun: ClassVar[str] = "a rate"
    example: ClassVar[str] = "100/minute"

    limit: int
    window: Seconds

    def __post_init__(self) -> None:
        if self.limit < 1 or self.window <= 0:
            raise ValueError("both the number and the time must be more than 0")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `100/minute`, `10/s`, `5/10s` or `1000/2h`. Raise ValueError with the problem."""
        match = _RATE.fullmatch(text)
        if not match:
            raise ValueError
        window = match[2]
        if window in _WINDOWS:
            return cls(int(match[1]), _WINDOWS[window])
        return cls(int(match[1]), parse_seconds(f"1{window}" if window.isalpha() else window))

    def __str__(self) -> str:
        word = next((word for word, window in _WINDOWS.items() if window == self.window), write_seconds(self.window))
        return f"{self.limit}/{word}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rotate(Record):
    """The rotation of a log file: at midnight, at `size` bytes (None: at no size), both, or never."""

    noun: ClassVar[str] = "a rotation rule"
    example: ClassVar[str] = "daily, 10MB"

    daily: bool = False
    size: Bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `daily`, `10MB`, `daily, 10MB` or `never`. Raise ValueError with the problem."""
        words = [word.strip() for word in re.split("[,\n]", text)]
        if words == ["never"]:
            return cls()
        try:
            sizes = [parse_bytes(word) for word in words if word != "daily"]
        except ValueError:
            raise ValueError("write daily, a size such as 10MB, both, or never") from None
        if len(set(words)) < len(words) or len(sizes) > 1 or 0 in sizes:
            raise ValueError("write daily, a size, both, or never")
        return cls("daily" in words, sizes[0] if sizes else None)

    def __str__(self) -> str:
        parts = ["daily"] * self.daily + ([write_bytes(self.size)] if self.size else [])
        return ", ".join(parts) or "never"
