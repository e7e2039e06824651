"""pdb for one greenlet of a worker: its commands can neither end the process nor read anything but the terminal."""

import pdb  # noqa: T100 this is the debugger
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Final, Protocol

from gevent import GreenletExit
from greenlet import getcurrent

from gproxy.debugger.trace_filter import TRACES
from gproxy.http.errors import ClientGone
from gproxy.runtime.expired import Expired

#: Where a step never stops: the debugger itself, and what lies between two handlers.
_SKIPPED: Final = (
    "gproxy.debugger.*", "gproxy.gateway.chain", "gproxy.gateway.policy.*", "gproxy.gateway.watch.*",
    "gproxy.runtime.live_rules", "contextlib",
)  # fmt: skip
_PASSING: Final = (Expired, ClientGone, GreenletExit)
#: pdb of Python 3.14 can trace by sys.monitoring, past the filter of greenlets.
_BACKEND: Final[dict[str, Any]] = {"backend": "settrace"} if sys.version_info >= (3, 14) else {}


class Console(Protocol):
    """The file that pdb reads from and writes to."""

    def readline(self) -> str: ...
    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...


class _OwnConsole:
    """The console for the greenlet that makes it; for all others the file in whose place it is.

    While a command runs, pdb has the console in place of `sys.stdin` and `sys.stdout`. A command may wait, and then
    other requests print.
    """

    def __init__(self, console: Console, file: object) -> None:
        self._owner = getcurrent()
        self._console = console
        self._file = file

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 any attribute of a file
        return getattr(self._console if getcurrent() is self._owner else self._file, name)


class Prompt(pdb.Pdb):
    """pdb over a console. Whatever ends the debugging lets the request go on.

    `stopped` is a block in which the request stands still. `detached` is called once the debugging ends.
    """

    def __init__(
        self, console: Console, stopped: Callable[[], AbstractContextManager[None]], detached: Callable[[], None]
    ) -> None:
        lines: Any = _OwnConsole(console, sys.stdin)
        output: Any = _OwnConsole(console, sys.stdout)
        super().__init__(stdin=lines, stdout=output, skip=_SKIPPED, nosigint=True, readrc=False, **_BACKEND)
        self.use_rawinput = False
        self._stopped = stopped
        self._detached = detached
        self._owner = getcurrent()
        self._depth = 0
        #: True until the first stop within a call that is entered.
        self._is_entering = False
        #: True once the debugging has ended.
        self.is_over = False

    @property
    def is_stopped(self) -> bool:
        """True while the prompt waits for a command or runs one."""
        return self._depth > 0

    def begin(self, frame: FrameType) -> None:
        """Prepare to trace from this frame outwards, which does not stop yet."""
        self.reset()
        outer: FrameType | None = frame
        while outer is not None:
            outer.f_trace = self.trace_dispatch
            self.botframe = outer
            outer = outer.f_back

    def enter(self) -> None:
        """Stop at the first line of what the greenlet calls next."""
        self.set_step()
        self._is_entering = True
        TRACES.add(self.trace_dispatch)

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ANN401 as in sys.settrace
        """Trace an event of the owner's greenlet: a generator may run in another one."""
        if self.is_over or getcurrent() is not self._owner:
            return None
        found = super().trace_dispatch(frame, event, arg)
        return None if self.is_over else found

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Stop at a call, unless the first line of what is called comes next."""
        if not self._is_entering:
            super().user_call(frame, argument_list)

    def cmdloop(self, intro: Any = None) -> None:  # noqa: ANN401 as in cmd
        """Read commands until one of them lets the request go on."""
        self._is_entering = False
        self._depth += 1
        try:
            if self._depth > 1:  # the commands of a breakpoint
                super().cmdloop(intro)
                return
            with self._stopped():
                super().cmdloop(intro)
        finally:
            self._depth -= 1

    def _error_exc(self) -> None:
        """Show the exception of a command, unless it is the end of the request."""
        error = sys.exception()
        if isinstance(error, _PASSING):
            raise error
        super()._error_exc()  # type: ignore[misc]

    def set_continue(self) -> None:
        """Stop at breakpoints only; without any, end the debugging."""
        self._set_stopinfo(self.botframe, None, -1)  # type: ignore[attr-defined]
        if not self.breaks:
            self.detach()

    def set_quit(self) -> None:
        """End the debugging: pdb would end the program."""
        self.detach()

    def detach(self) -> None:
        """End the debugging, and trace nothing more."""
        if self.is_over:
            return
        self.is_over = True
        self._set_stopinfo(self.botframe, None, -1)  # type: ignore[attr-defined]
        self.clear_all_breaks()
        TRACES.remove(self._owner)
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 the only way to one's own frames
        while frame is not None:
            if getattr(frame.f_trace, "__self__", None) is self:
                frame.f_trace = None
            frame = frame.f_back
        self._detached()

    def do_quit(self, arg: str) -> bool:  # noqa: ARG002 as in cmd
        """q(uit): end the debugging; the request goes on."""
        self.detach()
        return True

    do_q = do_exit = do_EOF = do_quit  # noqa: N815 as in cmd

    def do_clear(self, arg: str) -> Any:  # noqa: ANN401 as in cmd
        """cl(ear) [file:line | number ...]: clear these breakpoints, or all; pdb would ask at the worker's input."""
        if arg:
            return super().do_clear(arg)
        return self.clear_all_breaks()

    do_cl = do_clear

    def do_run(self, arg: str) -> None:  # noqa: ARG002 as in cmd
        """Say that the command does not fit a request that others wait for."""
        self.error("this command is not available in a gateway")

    do_restart = do_debug = do_interact = do_run

    def help_pdb(self) -> None:
        """Print the manual: pdb would start a pager in the worker."""
        self.message(pdb.__doc__)
