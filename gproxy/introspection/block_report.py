"""The report on code that blocks the event loop: whose request, which handler, which line, how long."""

import linecache
import math
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final

from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.stacks import outwards
from gproxy.observe.log import Origin
from gproxy.runtime.user_files import is_own, is_users

#: Seconds between two reports on the same handler and line.
_PERIOD: Final = 10.0
#: The most handlers and lines that are remembered for that.
_MOST_KEYS: Final = 1000
#: The most frames of a report, the innermost ones.
_MOST_FRAMES: Final = 40
#: The file, the line and the function of a frame.
Place = tuple[str, int, str]


@dataclass
class BlockReport:
    """A report on one block, as far as it is known. `beat` is the beat of the loop before it, in monotonic seconds."""

    beat: float
    origin: Origin
    #: The frames, outermost first.
    stack: list[Place]
    #: The line at which the loop is blocked; None if only compiled code runs.
    place: Place | None
    #: Seconds that the loop was blocked when it was last looked at.
    seconds: float
    #: Number of blocks by the same handler and line since the last report; negative: this one is not reported.
    omitted: int = 0
    #: The stack as text, once it is read.
    lines: list[str] = field(default_factory=list)
    #: True if the arbiter has logged it, because the loop did not turn.
    is_announced: bool = False

    @property
    def is_logged(self) -> bool:
        """True unless a report on the same handler and line was made a short time ago."""
        return self.omitted >= 0

    def message(self, worker: int) -> str:
        """Return the line of the report."""
        origin = self.origin
        begin = f"{origin.request_id} {origin.method} {origin.path}: " if origin.request_id else ""
        where = f" ({Path(self.place[0]).name}:{self.place[1]})" if self.place else ""
        more = f"; {self.omitted} more since the last report" if self.omitted > 0 else ""
        blocked = f"has blocked worker {worker} for {self.seconds * 1000:.0f} ms"
        return f"{begin}{self._subject()} {blocked}{where}{more}"

    def _subject(self) -> str:
        if self.origin.handler:
            return f"handler {self.origin.handler}"
        if self.origin.request_id:
            return "the gateway"
        return f"greenlet {self.stack[0][2]}" if self.stack else "the event loop"

    def read_lines(self) -> None:
        """Read the lines of the stack from the files of the code: not in the loop, for a disk may take its time."""
        self.lines = [_line(*place) for place in self.stack]

    def fields(self) -> dict[str, Any]:
        """Return what the monitor gets."""
        place = f"{self.place[0]}:{self.place[1]}" if self.place else ""
        stack = [f"{file}:{line} {name}" for file, line, name in self.stack]
        return {"seconds": self.seconds, "place": place, "stack": stack} | self.origin._asdict()


class ReportThrottle:
    """The throttle of reports: at most one for each key within 10 seconds."""

    def __init__(self) -> None:
        #: When each key was last reported, with the number of further ones since.
        self._keys: dict[tuple[str, str, int], tuple[float, int]] = {}

    def admit(self, key: tuple[str, str, int], now: float) -> int:
        """Return the number of reports that were omitted since the last one; -1 if this one is to be omitted too."""
        since, omitted = self._keys.get(key, (-math.inf, 0))
        if now - since < _PERIOD:
            self._keys[key] = since, omitted + 1
            return -1
        if len(self._keys) >= _MOST_KEYS:
            self._keys.clear()
        self._keys[key] = now, 0
        return omitted


def stack_of(frame: FrameType | None, code: HandlerCode) -> list[Place]:
    """Return the innermost frames, outermost first, without those of the gateway itself and of imports."""
    shown = (one for one in outwards(frame) if one in code or not (is_own(one.f_code.co_filename) or _imports(one)))
    return [*map(_place, islice(shown, _MOST_FRAMES))][::-1]


def place_of(frame: FrameType | None, code: HandlerCode) -> Place | None:
    """Return the innermost line of a handler or of the user's modules; else the innermost line at all."""
    found = next((one for one in outwards(frame) if one in code or is_users(one.f_code.co_filename)), frame)
    return None if found is None else _place(found)


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib")


def _place(frame: FrameType) -> Place:
    return frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname


def _line(file: str, number: int, name: str) -> str:
    source = linecache.getline(file, number).strip()
    return f"{file}:{number} in {name}{': ' if source else ''}{source}"
