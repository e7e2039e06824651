"""Moments: what `--since` and `--until` mean, and the times of access lines."""

import re
from calendar import timegm
from collections.abc import Callable
from datetime import datetime, time, timedelta
from math import ceil
from typing import Final

from gproxy.config.types.units import parse_seconds
from gproxy.observe.access_files.layout import Row

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_combined: Final = re.compile(rb"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)").fullmatch
_is_combined: Final = re.compile(r"(\d\d)/(\w{3})/(\d{4}):([\d:]+) ([+-]\d\d)(\d\d)").fullmatch
_is_clock: Final = re.compile(r"\d{1,2}:\d\d(:\d\d)?").fullmatch
_is_date: Final = re.compile(r"\d{4}-\d\d-\d\d").match
#: The number of distinct times and offsets whose results are kept.
_KEPT: Final = 100_000
#: A time that no log reaches, in seconds since the epoch.
_LATEST: Final = 4e9


def moment(raw: bytes) -> float | None:
    """Return the time of an access line in seconds since the epoch; None if it is not valid."""
    if match := _combined(raw):
        day, month, *numbers, sign, hours, minutes = match.groups()
        year, hour, minute, second = map(int, numbers)
        shift = (int(hours) * 60 + int(minutes)) * (-60 if sign == b"-" else 60)
        return timegm((year, _MONTHS.get(month, 1), int(day), hour, minute, second)) - shift
    try:
        return datetime.fromisoformat(raw.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None


def minute(raw: bytes) -> bytes:
    """Return the minute of a time, with its offset. All times of a minute have the same."""
    return raw[:17] + raw[20:] if raw[2:3] == b"/" else raw[:16] + raw[23:]


def iso(raw: bytes) -> str:
    """Return a time or a minute of an access line in ISO 8601."""
    text = raw.decode("latin-1")
    if not (match := _is_combined(text)):
        return text
    day, month, year, clock, hours, minutes = match.groups()
    return f"{year}-{_MONTHS.get(month.encode(), 1):02}-{day}T{clock}{hours}:{minutes}"


def parse_moment(text: str, now: datetime, *, after: datetime | None = None) -> datetime:
    """Return the moment that an option names: `10m` ago, the last `12:00`, `2026-11-28`, `2026-11-28T12:00`.

    With `after`, a clock time that the last day had before that is the one of the next day. Raises ValueError.
    """
    try:
        if _is_clock(text):
            return _last(time.fromisoformat(text.zfill(5 if text.count(":") == 1 else 8)), now, after)
        if _is_date(text):
            return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise ValueError from None  # the text of the error names no option
    return now - timedelta(seconds=parse_seconds(text))


def _last(clock: time, now: datetime, after: datetime | None) -> datetime:
    """Return the last moment with this clock time; if that is not after the other moment, the next one."""
    found = datetime.combine(now.date(), clock).astimezone()
    if found > now:
        found = datetime.combine(now.date() - timedelta(days=1), clock).astimezone()
    if after is not None and found <= after:
        found = datetime.combine(found.date() + timedelta(days=1), clock).astimezone()
    return found


class Period:
    """The times from `since` to `until`, in seconds since the epoch; the end is outside."""

    def __init__(self, since: float, until: float) -> None:
        self.since = since
        self.until = until
        self._bounds: dict[bytes, tuple[bytes, bytes]] = {}
        self._decided: dict[bytes, bool] = {}

    def selector(self, place: int, log_format: str) -> Callable[[list[Row]], list[Row]]:
        """Return what selects the rows whose time, which is at this place, lies in the period."""
        if log_format == "combined":
            return lambda rows: [row for row in rows if self._has_moment(row[place])]
        return lambda rows: self._select(rows, place)

    def _has_moment(self, raw: bytes) -> bool:
        found = self._decided.get(raw)
        if found is None:
            if len(self._decided) > _KEPT:
                self._decided.clear()
            when = moment(raw)
            found = self._decided[raw] = when is not None and self.since <= when < self.until
        return found

    def _select(self, rows: list[Row], place: int) -> list[Row]:
        """Select by text, which has the order of time among times with the same offset."""
        offsets = {row[place][23:] for row in rows}
        if len(offsets) == 1:
            low, high = self._of(*offsets)
            return [row for row in rows if low <= row[place] < high]
        return [row for row in rows if self._has_moment(row[place])]

    def _of(self, offset: bytes) -> tuple[bytes, bytes]:
        if offset not in self._bounds:
            if len(self._bounds) > _KEPT:
                self._bounds.clear()
            try:
                self._bounds[offset] = _text(self.since, offset), _text(self.until, offset)
            except ValueError:  # no offset of a time zone
                self._bounds[offset] = b"", b""
        return self._bounds[offset]


def _text(when: float, offset: bytes) -> bytes:
    """Return the first time in milliseconds that is not before `when`, as a line with this offset has it."""
    if not 0 <= when < _LATEST:
        return b"0" if when < 0 else b"9999"
    zone = datetime.fromisoformat(f"2026-01-01T00:00:00{offset.decode('latin-1')}").tzinfo
    exact = datetime.fromtimestamp(0, zone) + timedelta(milliseconds=ceil(when * 1000))
    return exact.isoformat(timespec="milliseconds").encode()
