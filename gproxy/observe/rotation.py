"""The decisions of log rotation: when to rotate, the name of the old file, and which files expire. No file access here.

`access.log` of the 22nd becomes `access.log.2026-11-22`, a second one of that day `access.log.2026-11-22.1`, and
so on. With compression, `access.log.2026-11-22.gz` is a rotated file too; without, it belongs to another program.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable

from gproxy.observe.local_time import local

_TWO_DAYS = 48 * 3600


def day(when: float) -> str:
    """Return the local date of `when` (epoch seconds), as 2026-11-22."""
    return local(when).strftime("%Y-%m-%d")


def next_midnight(now: float) -> float:
    """Return the first second (epoch) after `now` (epoch seconds) that has a later local date."""
    # Searched in the calendar, not computed: a day has 23 to 25 hours, and where clocks change at midnight, 00:00 may
    # be missing or come twice.
    today = day(now)
    seconds = range(int(now), int(now) + _TWO_DAYS)
    return float(seconds[bisect_left(seconds, True, key=lambda second: day(second) > today)])


def is_due(size: int, now: float, *, limit: int | None, midnight: float) -> bool:
    """Return whether a file of `size` bytes has reached its `limit` or its `midnight`; an empty file never has."""
    return size > 0 and (now >= midnight or (limit is not None and size >= limit))


def rotated_name(name: str, date: str, names: Iterable[str], *, compressed: bool) -> str:
    """Return the new name of the log `name` with lines of `date`, given the `names` in its directory."""
    numbers = [number for taken, number, _ in _rotated(name, names, compressed) if taken == date]
    # After the highest number, not in the first gap: `keep` removes the oldest, and numbers must keep the order.
    return f"{name}.{date}.{numbers[-1] + 1}" if numbers else f"{name}.{date}"


def expired(name: str, names: Iterable[str], keep: int, *, compressed: bool) -> list[str]:
    """Return the rotated files of the log `name` to delete so that `keep` stay, oldest first."""
    files = [file for _, _, file in _rotated(name, names, compressed)]
    return files[: max(0, len(files) - keep)]


def uncompressed(name: str, names: Iterable[str]) -> list[str]:
    """Return the uncompressed rotated files of the log `name`, oldest first."""
    return [file for _, _, file in _rotated(name, names, compressed=False)]


def _rotated(name: str, names: Iterable[str], compressed: bool) -> list[tuple[str, int, str]]:
    ending = r"(?:\.gz)?" if compressed else ""
    pattern = re.compile(re.escape(name) + r"\.([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.([1-9][0-9]*))?" + ending)
    matches = filter(None, map(pattern.fullmatch, names))
    return sorted((match[1], int(match[2] or 0), match[0]) for match in matches)
