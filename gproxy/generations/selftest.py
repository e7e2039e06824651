"""The self-test of a new generation: `[server] selftest`, through the real chains and backends, before it serves.

It runs in a worker of its own, which counts nothing that others see, and ends after it.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from operator import attrgetter
from types import FrameType
from typing import Any, Final, cast

import gevent
from gevent.monkey import get_original

from gproxy.config.ini.convert import places
from gproxy.config.ini.parser import RawSection
from gproxy.config.types.matchers import as_set
from gproxy.config.types.selftest import SelfTestLine
from gproxy.generations.ask import Ask

#: Seconds for all lines together.
LIMIT: Final = 10.0
#: Seconds after the limit in which the event loop has to end the test; then it counts as blocked.
_MARGIN: Final = 1.0
_LATE: Final = f"did not finish within the {LIMIT:g} s of the self-test"

_get_ident, _start_new_thread, _allocate_lock = get_original(
    "_thread", ["get_ident", "start_new_thread", "allocate_lock"]
)


class SelfTest:
    """The lines of the self-test, in the section `[server]`.

    `place` returns the line of user code that raised an exception, as ` (FILE:LINE)`.
    """

    def __init__(
        self,
        lines: Sequence[SelfTestLine],
        section: RawSection,
        ask: Ask,
        place: Callable[[BaseException], str],
    ) -> None:
        belows = places(tuple[SelfTestLine, ...], section.options["selftest"].text)
        self._lines = list(zip(lines, belows, strict=True))
        self._section = section
        self._ask = ask
        self._place = place
        self._reasons: list[str] = []
        self._is_late = False
        #: The line under way.
        self._current = self._lines[0]

    def run(self, blocked: Callable[[list[str]], object], limit: float = LIMIT) -> list[str]:
        """Run all lines, and return why some have failed, each with its FILE:LINE.

        If the event loop is blocked at the end of the time, `blocked` gets the reasons instead, in another thread.
        """
        done = _allocate_lock()
        with done:
            _start_new_thread(self._guard, (done, limit + _MARGIN, _get_ident(), blocked))
            running = gevent.spawn(self._run)
            running.join(limit)
            if not running.ready():
                self._fail(f"{self._current[0]} {_LATE}{self._place_of_function(running.gr_frame)}")
                self._is_late = True
                running.kill(block=False)
        return list(self._reasons)

    def _guard(self, done: Any, seconds: float, main: int, blocked: Callable[[list[str]], object]) -> None:  # noqa: ANN401 a lock of gevent's original
        """Report a test that keeps the loop from turning; runs in a thread of its own."""
        if not done.acquire(timeout=seconds):
            where = sys._current_frames()[main]  # noqa: SLF001 there is no other way
            self._fail(f"{self._current[0]} blocks the event loop, and {_LATE}{_written(where)}")
            blocked(list(self._reasons))

    def _run(self) -> None:
        for current in self._lines:
            self._current, line = current, current[0]
            try:
                reason = self._call(line) if line.function else self._request(line)
            except BaseException as error:  # user code may raise anything, such as gevent.Timeout
                if self._is_late:  # it is the end of this greenlet
                    raise
                reason = f"failed: {_written_error(error)}{self._place(error)}"
            if reason:
                self._fail(f"{line} {reason}")

    def _fail(self, message: str) -> None:
        self._reasons.append(str(self._section.problem("selftest", message, below=self._current[1])))

    def _request(self, line: SelfTestLine) -> str:
        """Return what came instead of the expected statuses, or an empty text."""
        response, reason = self._ask.exchange(line.method, line.target, is_kept=False)
        if response.status in as_set(line.statuses):
            return ""
        expected = ", ".join(map(str, line.statuses))
        return f"answered {response.status}{f' ({reason})' if reason else ''}; expected {expected}"

    def _call(self, line: SelfTestLine) -> str:
        """Return why the function has failed, or an empty text."""
        return "returned False" if _function(line)(self._ask) is False else ""

    def _place_of_function(self, innermost: FrameType | None) -> str:
        """Return the line at which the function is, if the current line has one."""
        line = self._current[0]
        code = getattr(_function(line), "__code__", None) if line.function else None
        return next((_written(frame) for frame, _ in traceback.walk_stack(innermost) if frame.f_code is code), "")


def _function(line: SelfTestLine) -> Callable[[Ask], object]:
    assert line.function is not None  # noqa: S101 the callers look
    found = attrgetter(line.function.attribute)(import_module(line.function.module))
    return cast("Callable[[Ask], object]", found)


def _written_error(error: BaseException) -> str:
    """Return the type and the message; of an assertion the message, or its source line if it has none."""
    if isinstance(error, AssertionError):
        return str(error) or traceback.extract_tb(error.__traceback__)[-1].line or "AssertionError"
    return f"{type(error).__name__}: {error}"


def _written(frame: FrameType) -> str:
    return f" ({frame.f_code.co_filename}:{frame.f_lineno})"
