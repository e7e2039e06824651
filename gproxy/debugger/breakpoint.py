"""`breakpoint()` in the workers of `gproxy dev`: it stops one request, and all others are served.

The prompt is on the terminal of `gproxy dev`. If it has none, the breakpoint waits for `gproxy debug --attach`.
"""

import fcntl
import logging
import math
import os
import sys
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.monkey import get_original

from gproxy.config.sections.settings import Settings
from gproxy.debugger.claim import Claim
from gproxy.debugger.session import TURN, DebugSession, paused
from gproxy.debugger.terminal import Terminal
from gproxy.http.request import Request
from gproxy.runtime import Runtime
from gproxy.runtime.command_part import CommandPart
from gproxy.runtime.served import served_request

_log = logging.getLogger("gproxy")

#: The variable in which `gproxy dev` passes on the path of its terminal.
TERMINAL: Final = "GPROXY_TERMINAL"
#: Seconds for which a breakpoint waits for `gproxy debug --attach`.
_ATTACH_SECONDS: Final = 120.0
#: Seconds between two tries to get the terminal, which a breakpoint of another worker has.
_TRY_EVERY: Final = 0.1
#: The thread that calls, also under gevent, which gives each greenlet a number of its own.
_thread: Final = get_original("_thread", "get_ident")


class WaitingTerminals:
    """The terminals of `gproxy debug --attach` that wait for a breakpoint, with the seconds that each may hold it."""

    def __init__(self) -> None:
        self._claims: list[tuple[Claim, float]] = []
        self._has_more = Event()

    def offer(self, claim: Claim, hold: float) -> None:
        """Add a terminal."""
        self._claims.append((claim, hold))
        self._has_more.set()

    def forget_closed(self) -> None:
        """Remove the terminals that have gone."""
        self._claims = [one for one in self._claims if not one[0].is_closed]

    def wait(self, what: dict[str, object], seconds: float) -> tuple[Terminal, float] | None:
        """Return a terminal and its seconds; None if none comes within `seconds`."""
        ends = monotonic() + seconds
        while (left := ends - monotonic()) > 0:
            while self._claims:
                claim, hold = self._claims.pop(0)
                if claim.ask(what):
                    return claim.terminal(), hold
            self._has_more.wait(left)
            self._has_more.clear()
        return None


#: The terminals of this process.
WAITING: Final = WaitingTerminals()


class DevBreakpoint(CommandPart):
    """The part of `gproxy dev` that is called by `breakpoint()`, unless PYTHONBREAKPOINT names something else."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        self._path = os.environ.get(TERMINAL, "")
        self._main_thread = _thread()
        if not os.environ.get("PYTHONBREAKPOINT"):
            sys.breakpointhook = self

    def __call__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 as in sys.breakpointhook
        """Stop at the frame that calls; a second breakpoint waits for its turn, while the clocks stand still."""
        frame = sys._getframe(1)  # noqa: SLF001 the frame of the caller
        if _thread() != self._main_thread:
            _log.warning("breakpoint() at %s is ignored: it is in another thread than the gateway", _place(frame))
            return
        session = TURN.of_greenlet() or self._session(frame)
        if session is not None:
            session.stop_at(frame)

    def _session(self, frame: FrameType) -> DebugSession | None:
        """Return a session for the greenlet that calls; None if no terminal comes."""
        request = served_request()
        with paused(request):
            TURN.take(wait=True)
            try:
                found = self._terminal(frame, request)
            except BaseException:
                TURN.give_back()
                raise
        if found is None:
            TURN.give_back()
            _log.warning("breakpoint() at %s: no terminal has come; it goes on", _place(frame))
            return None
        session = DebugSession(found[0], request, found[1])
        if request is not None:
            request.at_end(session.end)
        elif isinstance(here := gevent.getcurrent(), gevent.Greenlet):
            here.rawlink(lambda _: session.end())
        return session

    def _terminal(self, frame: FrameType, request: Request | None) -> tuple[Terminal, float] | None:
        """Wait for the terminal of the command, or for one that attaches; return it with the seconds that it has."""
        fd = self._open()
        if fd is not None:
            return Terminal(fd), math.inf
        place, socket = _place(frame), next((one for one in self.settings.admin.bind if one.kind == "unix"), None)
        how = f"gproxy debug --attach --admin {socket}" if socket is not None else "start gproxy dev in a terminal"
        _log.warning("breakpoint() at %s waits for a terminal: %s", place, how)
        what = {"worker": self.runtime.worker, "method": "breakpoint", "path": place}
        return WAITING.wait(what | {"id": request.id if request is not None else ""}, _ATTACH_SECONDS)

    def _open(self) -> int | None:
        """Return a descriptor of the command's terminal, once no other worker has it; None without one.

        A process in the background must not read: the terminal would send it, and the arbiter, a signal.
        """
        if not self._path:
            return None
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if os.tcgetpgrp(fd) == os.getpgrp():
                _lock(fd)
                return fd
        except OSError:  # it is not the terminal that controls this process
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None


def _lock(fd: int) -> None:
    """Wait until no other process has the terminal. Closing the descriptor gives it back."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        gevent.sleep(_TRY_EVERY)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
