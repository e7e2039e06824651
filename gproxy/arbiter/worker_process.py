"""A worker process as the arbiter sees it: a process id, a state and a control socket."""

import logging
import os
import signal
from collections.abc import Sequence
from enum import Enum, IntEnum, auto
from time import monotonic, time
from typing import Any, Final, NamedTuple

from gproxy.arbiter import messages
from gproxy.arbiter.control import Control
from gproxy.arbiter.messages import COMMANDS, NOTICES, Message
from gproxy.arbiter.spawn import Spawned

_log = logging.getLogger("gproxy")


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

    STARTING = auto()  # imports and builds
    BUILT = auto()  # its settings are valid; waits for `open`
    OPENING = auto()
    READY = auto()  # waits for `accept`
    SERVING = auto()
    DRAINING = auto()
    CLOSED = auto()  # its listeners are closed; it finishes its requests
    KILLED = auto()  # by the arbiter; what it has sent before is too late


class Sharing(Enum):
    """The place of the state that workers have in common: the worker's own memory, or the shared memory."""

    ALONE = auto()  # in its own memory
    REQUESTED = auto()  # the worker has received `share`
    ACTIVE = auto()  # in the shared memory, as confirmed by `shared`


class Kill(Message):
    """A SIGKILL. It changes the state as a message does, but never passes the socket."""


_STARTING, _BUILT, _OPENING, _READY, _SERVING, _DRAINING, _CLOSED, _KILLED = WorkerState

#: The messages that a worker may receive in all states from OPENING on, and those that it may send from READY on.
_ALLOWED_FROM_OPENING: Final = (
    messages.Share,
    messages.Unshare,
    messages.Reopen,
    messages.Unready,
    messages.Reloads,
    messages.LogLevel,
)
_ALLOWED_FROM_READY: Final = (
    messages.Shared,
    messages.Beat,
    messages.Blocked,
    messages.WorkerLine,
    messages.Override,
    messages.Lacks,
    messages.Imported,
)

#: The state that follows a message, sent or received. What is missing here is an error. `retire` is sent once, so never
#: to a draining worker; it may reach one that has closed itself in the meantime.
TRANSITIONS: Final[dict[tuple[WorkerState, type[Message]], WorkerState]] = {
    (_STARTING, messages.Build): _STARTING,
    (_STARTING, messages.Imported): _STARTING,
    (_STARTING, messages.Failed): _STARTING,
    (_STARTING, messages.Built): _BUILT,
    (_BUILT, messages.Open): _OPENING,
    (_BUILT, messages.Failed): _BUILT,  # a part cannot be opened for the self-test
    (_BUILT, messages.Judged): _BUILT,
    (_BUILT, messages.Imported): _BUILT,  # during the self-test
    (_OPENING, messages.Imported): _OPENING,
    (_OPENING, messages.Failed): _OPENING,
    (_OPENING, messages.Ready): _READY,
    (_READY, messages.Accept): _SERVING,
    (_READY, messages.Retire): _DRAINING,  # at the end of a dry reload
    (_READY, messages.Closed): _CLOSED,  # a command failed; the worker makes room for another one
    (_SERVING, messages.Closed): _CLOSED,  # likewise
    (_SERVING, messages.Retire): _DRAINING,
    (_SERVING, messages.Stop): _DRAINING,
    (_SERVING, messages.Quit): _DRAINING,
    (_DRAINING, messages.Stop): _DRAINING,
    (_DRAINING, messages.Quit): _DRAINING,
    (_DRAINING, messages.Closed): _CLOSED,
    (_CLOSED, messages.Retire): _CLOSED,
    (_CLOSED, messages.Stop): _CLOSED,
    (_CLOSED, messages.Quit): _CLOSED,
    (_CLOSED, messages.Stopped): _CLOSED,
    **{
        (state, kind): state
        for state in (_OPENING, _READY, _SERVING, _DRAINING, _CLOSED)
        for kind in _ALLOWED_FROM_OPENING
    },
    **{(state, kind): state for state in (_READY, _SERVING, _DRAINING, _CLOSED) for kind in _ALLOWED_FROM_READY},
    **{(state, Kill): _KILLED for state in WorkerState},
    **{(_KILLED, kind): _KILLED for kind in (*COMMANDS.values(), *NOTICES.values(), messages.Malformed)},
}
SHARING: Final[dict[tuple[Sharing, type[Message]], Sharing]] = {
    (Sharing.ALONE, messages.Share): Sharing.REQUESTED,
    (Sharing.REQUESTED, messages.Shared): Sharing.ACTIVE,
    (Sharing.ACTIVE, messages.Unshare): Sharing.ALONE,
}


class WorkerProcess:
    """A worker process, from its start to its end."""

    def __init__(self, spawned: Spawned) -> None:
        self.generation_number, self.number, self.pid, control = spawned
        self.control = Control(control, NOTICES)
        self.state = WorkerState.STARTING
        #: Unix time since when the worker has this state.
        self.state_since = time()
        self.sharing = Sharing.ALONE
        #: Monotonic time of its last message.
        self.last_message = monotonic()
        #: Monotonic time of `accept`; 0: it has never served.
        self.served_since = 0.0
        self.slow_start_was_logged = False
        #: True if it is killed because it hangs: its stacks are logged.
        self.is_hung = False
        #: True once its end is known: its process id may be another process's by now.
        self.is_reaped = False

    @property
    def names(self) -> dict[str, object]:
        """The fields of a line in the error log about this worker."""
        return {"worker": self.number, "generation": self.generation_number}

    def __str__(self) -> str:
        return f"worker {self.number} (generation {self.generation_number}, pid {self.pid})"

    def report(self) -> dict[str, Any]:
        """Return the worker's place and its state, for the monitor."""
        return {
            "worker": self.number,
            "generation": self.generation_number,
            "pid": self.pid,
            "state": self.state.name.lower(),
            "state_since": self.state_since,
        }

    def apply(self, message: Message) -> bool:
        """Change the state as the tables say; return False if the worker is killed, so that nothing else is to be done.

        A message that the tables do not have is logged, and kills the worker: another one takes its place.
        """
        state = TRANSITIONS.get((self.state, type(message)))
        sharing = self.sharing if state is _KILLED else _next_sharing(self.sharing, message)
        if state is None or sharing is None:
            where = f"{self.state.name}, {self.sharing.name}"
            _log.error("%s: unexpected %s (state %s); killing it", self, message, where)
            self.kill()
            return False
        if state is not self.state:
            self.state_since = time()
        self.state, self.sharing = state, sharing
        return state is not _KILLED

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send the command, unless the worker is killed."""
        if self.apply(message):
            self.control.send(message, fds)

    def accept(self) -> None:
        """Let the worker accept connections."""
        self.send(messages.Accept())
        self.served_since = monotonic()

    def share(self) -> None:
        """Announce to the worker that other workers serve beside it, if it serves alone."""
        if self.sharing is Sharing.ALONE:
            self.send(messages.Share())

    def kill(self) -> None:
        self.apply(Kill())
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self.is_reaped:
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def _next_sharing(sharing: Sharing, message: Message) -> Sharing | None:
    match message:
        case messages.Open(shared):
            return Sharing.ACTIVE if shared else Sharing.ALONE
        case messages.Share() | messages.Shared() | messages.Unshare():
            return SHARING.get((sharing, type(message)))
        case _:
            return sharing
