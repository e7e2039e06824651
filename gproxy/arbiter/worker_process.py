"""A worker process as the arbiter sees it: a fresh interpreter with a process id and a control socket."""

import os
import signal
import socket
import sys
from enum import IntEnum
from time import monotonic
from typing import Final, NamedTuple, Self

from gproxy.arbiter.control import Control

#: Signals that a terminal or process manager sends to the whole group. They are for the arbiter: a worker starts with
#: these blocked and ignores them.
GROUP_SIGNALS: Final = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU}
)
#: Makes a worker write its stacks to the control socket.
STACK_SIGNAL: Final = signal.SIGUSR2

_FOR_THE_ARBITER: Final = frozenset(
    {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
)


class ExitStatus(NamedTuple):
    """The end of a process: its exit code, or the signal that killed it."""

    code: int | None
    signal: int | None

    @classmethod
    def of(cls, status: int) -> "ExitStatus":
        """Return the exit status of what waitpid returned."""
        code = os.waitstatus_to_exitcode(status)
        return cls(code, None) if code >= 0 else cls(None, -code)

    @property
    def is_clean(self) -> bool:
        """True if the process ended by itself with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is None:
            return f"exited with status {self.code}"
        try:
            return f"was killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"was killed by signal {self.signal}"


class WorkerState(IntEnum):
    """The state of a worker process, in the order in which a worker passes them."""

    STARTING = 0  # imports and builds
    BUILT = 1  # its settings are valid; waits for `open`
    OPENING = 2
    READY = 3  # waits for `accept`
    SERVING = 4
    DRAINING = 5


class CannotStartError(Exception):
    """A failure to create a process or its control socket."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot start a worker: {error.strerror}")


class WorkerProcess:
    """A worker process, from its start to its end."""

    def __init__(self, pid: int, number: int, generation_number: int, control: Control) -> None:
        self.pid = pid
        self.number = number
        self.generation_number = generation_number
        self.control = control
        self.state = WorkerState.STARTING
        #: Monotonic time of its last message.
        self.last_message = monotonic()
        self.served_since = 0.0
        #: True once `share` was sent; true once the worker has confirmed it.
        self.is_shared = self.is_sharing = False
        #: True once its listeners are closed.
        self.has_closed = False
        #: True once its slow start was logged.
        self.is_slow = False
        #: True while it is being killed for sending no heartbeat.
        self.is_hung = False
        #: True if the arbiter has killed it on purpose: its end is not an error.
        self.is_discarded = False

    @classmethod
    def spawn(cls, generation: int, number: int) -> Self:
        """Start a worker process, which imports and then waits for `build`. Raises CannotStartError."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise CannotStartError(error) from None
        ours.setblocking(False)
        with theirs:
            theirs.set_inheritable(True)
            flags = f"-m gproxy.server.worker --generation {generation} --worker {number} --control {theirs.fileno()}"
            environ = {name: value for name, value in os.environ.items() if name not in _FOR_THE_ARBITER}
            command = [sys.executable, *path_flags(), *flags.split()]
            try:
                pid = os.posix_spawn(sys.executable, command, environ, setsigmask=GROUP_SIGNALS)
            except OSError as error:
                ours.close()
                raise CannotStartError(error) from None
        return cls(pid, number, generation, Control(ours))

    def __str__(self) -> str:
        return f"worker {self.number} (generation {self.generation_number}, pid {self.pid})"

    def send(self, name: str, *arguments: object, fds: tuple[int, ...] = ()) -> None:
        self.control.send(name, *arguments, fds=fds)

    def accept(self) -> None:
        """Let the worker accept connections."""
        self.state = WorkerState.SERVING
        self.served_since = monotonic()
        self.send("accept")

    def share(self) -> None:
        """Announce to the worker that other workers serve beside it."""
        if not self.is_shared:
            self.is_shared = True
            self.send("share")

    def unshare(self) -> None:
        """Announce to the worker that it serves alone again."""
        self.is_shared = self.is_sharing = False
        self.send("unshare")

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def path_flags() -> list[str]:
    """Return the interpreter flags that keep the working directory off the import path.

    A user's module there must not replace one of the gateway or of the standard library. If the gateway itself runs
    from the working directory, there is no flag.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 as in sys.path
    except OSError:  # the working directory was removed
        return ["-P"]
    return [] if sys.path and sys.path[0] == here else ["-P"]


def name_process(name: str) -> None:
    """Set the process name in `ps` and `top`, at most 15 bytes."""
    try:
        with open("/proc/self/comm", "w") as comm:  # noqa: PTH123 pathlib costs an arbiter's start
            comm.write(name)
    except OSError:
        pass
