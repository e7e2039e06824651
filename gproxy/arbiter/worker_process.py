"""A worker as the arbiter sees it: a fresh interpreter, known by its process id, spoken to through a socket."""

import os
import signal
import socket
import sys
from enum import IntEnum
from time import monotonic
from typing import Final, Self

from gproxy.arbiter.control import Control

#: Signals that reach the whole group, from a terminal or a process manager, are for the arbiter. A worker starts with
#: these blocked and takes no notice of them.
GROUP_SIGNALS: Final = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU}
)
#: Has a worker write where it is.
STACK_SIGNAL: Final = signal.SIGUSR2

_FOR_THE_ARBITER: Final = frozenset(
    {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
)


class WorkerState(IntEnum):
    """How far a worker has come."""

    STARTING = 0  # imports and builds
    BUILT = 1  # its settings are fine; waits for sockets
    OPENING = 2
    READY = 3  # waits to be told to accept
    SERVING = 4
    DRAINING = 5


class CannotStartError(Exception):
    """The system has no room for another process, or for what it takes to speak to one."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"no worker can be started: {error.strerror}")


class WorkerProcess:
    """One worker, from its start to its end."""

    def __init__(self, pid: int, number: int, generation_number: int, control: Control) -> None:
        self.pid = pid
        self.number = number
        self.generation_number = generation_number
        self.control = control
        self.phase = WorkerState.STARTING
        #: When it last said anything; on the monotonic clock.
        self.heard = monotonic()
        self.served_since = 0.0
        #: Told that it is not alone, and whether it has said that it knows.
        self.is_shared = self.is_sharing = False
        #: It accepts nothing any more.
        self.has_closed = False
        #: It was said that its start takes long.
        self.is_slow = False
        #: Its hub hangs; it is being replaced.
        self.is_hung = False
        #: Killed by us, and nobody is to wonder.
        self.is_discarded = False

    @classmethod
    def spawn(cls, generation: int, number: int) -> Self:
        """Start one. It imports, and then waits for `build`. Raises CannotStartError."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise CannotStartError(error) from None
        ours.setblocking(False)
        with theirs:
            theirs.set_inheritable(True)
            words = f"-m gproxy.server.worker --generation {generation} --worker {number} --control {theirs.fileno()}"
            environ = {name: value for name, value in os.environ.items() if name not in _FOR_THE_ARBITER}
            command = [sys.executable, *path_flags(), *words.split()]
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
        """Let it take connections."""
        self.phase = WorkerState.SERVING
        self.served_since = monotonic()
        self.send("accept")

    def share(self) -> None:
        """Tell it that others serve beside it."""
        if not self.is_shared:
            self.is_shared = True
            self.send("share")

    def unshare(self) -> None:
        """Tell it that it is alone again."""
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
    """A module of the user's in the working directory must not stand in for one of ours or of the standard library.

    Unless it is from there that we run.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 as in sys.path
    except OSError:  # it is gone
        return ["-P"]
    return [] if sys.path and sys.path[0] == here else ["-P"]


def name_process(name: str) -> None:
    """What `ps` and `top` call it; at most 15 bytes."""
    try:
        with open("/proc/self/comm", "w") as comm:  # noqa: PTH123 pathlib costs an arbiter's start
            comm.write(name)
    except OSError:
        pass


def describe_end(status: int) -> str:
    """How a process ended, by what waitpid says."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
