"""The trace function of a worker, which reaches chosen greenlets only.

Python has one trace function for a thread, and all greenlets of a worker share its main thread. Without a filter a step
of one request would stop in the code of another. The function is set by `sys.settrace`, which Python 3.12 and later
build on `sys.monitoring`: the filter is needed there for the same reason.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from greenlet import getcurrent, greenlet

#: A trace function: a frame, an event and its argument; it returns what traces the lines of the frame.
Trace = Callable[[FrameType, str, Any], Any]


class GreenletTraceFilter:
    """A trace function that passes the calls of each traced greenlet to its own function, and ignores all others."""

    def __init__(self) -> None:
        self._traces: dict[greenlet, Trace] = {}
        self._before: Any = None

    def add(self, trace: Trace) -> None:
        """Trace the greenlet that calls. Its caller must return at once: what it calls first is traced."""
        if not self._traces:
            self._before = sys.gettrace()
        self._traces[getcurrent()] = trace
        sys.settrace(self)  # again for each greenlet: Python 3.11 tells only the one that runs

    def remove(self, traced: greenlet) -> None:
        """Trace this greenlet no longer; with the last one, what traced before returns."""
        if self._traces.pop(traced, None) is not None and not self._traces:
            sys.settrace(self._before)
            self._before = None

    def remove_own(self) -> None:
        """Trace the greenlet that calls no longer."""
        self.remove(getcurrent())

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ANN401 as in sys.settrace
        """Trace a call: by the function of the greenlet that runs, or not at all."""
        trace = self._traces.get(getcurrent())
        return None if trace is None else trace(frame, event, arg)

    def __len__(self) -> int:
        return len(self._traces)


#: The filter of this process.
TRACES: Final = GreenletTraceFilter()
