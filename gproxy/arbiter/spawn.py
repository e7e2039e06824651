"""The start of a worker process: a fresh interpreter with one end of a socket pair.

The command line imports this file alone, and starts the first worker before it imports the rest of the arbiter.
"""

import os
import signal
import socket
import sys
from typing import Final, NamedTuple

#: Signals that a terminal or process manager sends to the whole group. They are for the arbiter: a worker starts with
#: these blocked and ignores them.
GROUP_SIGNALS: Final = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU}
)
#: Makes a worker write its stacks to the control socket. It would kill a worker that has no handler for it yet, so it
#: is blocked until then.
STACK_SIGNAL: Final = signal.SIGUSR2

_FOR_THE_ARBITER: Final = frozenset(
    {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
)


class CannotStartError(Exception):
    """A failure to create a process or its control socket."""

    def __init__(self, error: OSError, what: str = "worker") -> None:
        super().__init__(f"cannot start a {what}: {error.strerror}")


class Spawned(NamedTuple):
    """A started worker process: its place, its process id, and the arbiter's end of its control socket."""

    generation: int
    number: int
    pid: int
    control: socket.socket


def spawn(generation: int, number: int) -> Spawned:
    """Start a worker process, which imports and then waits for `build`. Raises CannotStartError."""
    return Spawned(
        generation, number, *spawn_module(f"gproxy.server.worker --generation {generation} --worker {number}")
    )


def spawn_module(module: str, what: str = "worker") -> tuple[int, socket.socket]:
    """Start a process that runs the module, with these arguments; return its id and our end of its control socket.

    Raises CannotStartError.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise CannotStartError(error, what) from None
    ours.setblocking(False)
    with theirs:
        theirs.set_inheritable(True)
        flags = f"-m {module} --control {theirs.fileno()}"
        environ = {name: value for name, value in os.environ.items() if name not in _FOR_THE_ARBITER}
        command = [sys.executable, *path_flags(), *flags.split()]
        try:
            pid = os.posix_spawn(sys.executable, command, environ, setsigmask={*GROUP_SIGNALS, STACK_SIGNAL})
        except OSError as error:
            ours.close()
            raise CannotStartError(error, what) from None
    return pid, ours


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
