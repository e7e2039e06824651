"""A worker process as the arbiter sees it: a process id, a state and a control socket."""

import os
import signal
from collections.abc import Sequence
from enum import IntEnum
from time import monotonic
from typing import NamedTuple

from gproxy.arbiter import messages
from gproxy.arbiter.control import Control
from gproxy.arbiter.messages import NOTICES, Message
from gproxy.arbiter.spawn import Spawned


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


class WorkerProcess:
    """A worker process, from its start to its end."""

    def __init__(self, spawned: Spawned) -> None:
        self.generation_number, self.number, self.pid, control = spawned
        self.control = Control(control, NOTICES)
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

    def __str__(self) -> str:
        return f"worker {self.number} (generation {self.generation_number}, pid {self.pid})"

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        self.control.send(message, fds)

    def accept(self) -> None:
        """Let the worker accept connections."""
        self.state = WorkerState.SERVING
        self.served_since = monotonic()
        self.send(messages.Accept())

    def share(self) -> None:
        """Announce to the worker that other workers serve beside it."""
        if not self.is_shared:
            self.is_shared = True
            self.send(messages.Share())

    def unshare(self) -> None:
        """Announce to the worker that it serves alone again."""
        self.is_shared = self.is_sharing = False
        self.send(messages.Unshare())

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass
