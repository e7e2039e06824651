"""The local time of log lines: in the zone in which the process has started, whatever user code sets later."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

_SYSTEM_ZONE = Path("/etc/localtime")
_kept: "tzinfo | None" = None


def keep_zone() -> None:
    """Keep the present zone for all later times. Libraries set that of the process: Django does when it is set up.

    A zone in the form of POSIX (`CET-1CEST`) is not kept.
    """
    global _kept  # noqa: PLW0603 the process has one zone
    _kept = _present_zone()


def _present_zone() -> "tzinfo | None":
    from datetime import UTC
    from zoneinfo import ZoneInfo

    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return UTC if name in {"UTC", "UTC0"} else ZoneInfo(name)
        with _SYSTEM_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file)
    except FileNotFoundError:
        return UTC
    except (OSError, ValueError, KeyError):  # KeyError: no zone of this name
        return None


def local(seconds: float) -> "datetime":
    """Return the local time with its offset, of seconds since the epoch."""
    from datetime import datetime  # late: the arbiter, whose lines are text, would load it; once a second at most

    return datetime.fromtimestamp(seconds, _kept) if _kept is not None else datetime.fromtimestamp(seconds).astimezone()


def local_tuple(seconds: float | None = None) -> time.struct_time:
    """Return the local time as `time.localtime` does, but for the zone."""
    if _kept is None:
        return time.localtime(seconds)
    return local(time.time() if seconds is None else seconds).timetuple()
