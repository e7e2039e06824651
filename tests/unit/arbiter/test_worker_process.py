"""The states of a worker process: which messages change them, which come too late, and which are errors."""

import signal
import socket

import pytest

from gproxy.arbiter.messages import COMMANDS, NOTICES, Beat, Built, Failed, Malformed, Open, Ready, Retire, Stopped
from gproxy.arbiter.spawn import Spawned
from gproxy.arbiter.worker_process import (
    SHARING,
    TRANSITIONS,
    ExitStatus,
    Kill,
    Sharing,
    WorkerProcess,
    WorkerState,
)

KINDS = {**COMMANDS, **NOTICES, "malformed": Malformed, "kill": Kill}

#: The state that follows each message, by the state before it; "-" is an error, "=" no change.
GRID = """
            STARTING  BUILT    OPENING  READY    SERVING   DRAINING  CLOSED   KILLED
build       =         -        -        -        -         -         -        =
open        -         OPENING  -        -        -         -         -        =
accept      -         -        -        SERVING  -         -         -        =
share       -         -        =        =        =         =         =        =
unshare     -         -        =        =        =         =         =        =
reopen      -         -        =        =        =         =         =        =
reloads     -         -        =        =        =         =         =        =
workerline  -         -        -        =        =         =         =        =
override    -         -        -        =        =         =         =        =
loglevel    -         -        =        =        =         =         =        =
unready     -         -        =        =        =         =         =        =
retire      -         -        -        DRAINING DRAINING  -         =        =
stop        -         -        -        -        DRAINING  =         =        =
quit        -         -        -        -        DRAINING  =         =        =
imported    =         =        =        =        =         =         =        =
built       BUILT     -        -        -        -         -         -        =
judged      -         =        -        -        -         -         -        =
failed      =         =        =        -        -         -         -        =
ready       -         -        READY    -        -         -         -        =
shared      -         -        -        =        =         =         =        =
beat        -         -        -        =        =         =         =        =
blocked     -         -        -        =        =         =         =        =
closed      -         -        -        CLOSED   CLOSED    CLOSED    -        =
lacks       -         -        -        =        =         =         =        =
stopped     -         -        -        -        -         -         =        =
malformed   -         -        -        -        -         -         -        =
kill        KILLED    KILLED   KILLED   KILLED   KILLED    KILLED    KILLED   =
"""
HEAD, *ROWS = [line.split() for line in GRID.strip().splitlines()]


def make(kind):
    """A message of the kind; its fields have no part in the transitions."""
    fields = {
        "build": ("g.ini", [], "1f", "text", False, 1.5),
        "judged": ([],),
        "open": (False,),
        "retire": ([],),
        "imported": ([],),
        "built": ([], []),
        "failed": (1, []),
        "blocked": ("7f: blocked", [], []),
        "stopped": (0,),
        "override": ("users", "10.0.0.1:80", {}),
        "loglevel": ("debug", "gproxy"),
        "lacks": ("users", "10.0.0.1:80"),
        "malformed": ('["beet"]', "unknown name"),
    }
    return KINDS[kind](*fields.get(kind, ()))


class Process(WorkerProcess):
    """A worker process that notes its signals."""

    def __init__(self, state=WorkerState.STARTING, sharing=Sharing.ALONE):
        sock, self.far = socket.socketpair()
        super().__init__(Spawned(3, 2, 4711, sock))
        self.state, self.sharing = state, sharing
        self.signals = []

    def signal(self, number):
        self.signals.append(number)

    def received(self):
        self.control.close()
        with self.far:
            return self.far.recv(1000)


def test_the_grid_has_every_message_and_every_state():
    assert [row[0] for row in ROWS] == list(KINDS)
    assert [state.name for state in WorkerState] == HEAD


@pytest.mark.parametrize("state", WorkerState, ids=lambda state: state.name)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_message_in_each_state(row, state):
    kind, after = row[0], row[state]
    expected = {"-": None, "=": state}.get(after) or (None if after == "-" else WorkerState[after])
    assert TRANSITIONS.get((state, KINDS[kind])) is expected


@pytest.mark.parametrize("state", WorkerState, ids=lambda state: state.name)
@pytest.mark.parametrize("kind", [row[0] for row in ROWS])
def test_what_the_table_does_not_have_is_logged_and_kills_the_worker(kind, state, caplog):
    sharing = {"shared": Sharing.REQUESTED, "unshare": Sharing.ACTIVE}.get(kind, Sharing.ALONE)
    worker = Process(state, sharing)
    expected = TRANSITIONS.get((state, KINDS[kind]))
    message = make(kind)
    assert worker.apply(message) == (expected not in (None, WorkerState.KILLED))
    assert worker.state is (expected or WorkerState.KILLED)
    assert worker.signals == ([] if expected else [signal.SIGKILL])
    said = f"worker 2 (generation 3, pid 4711): unexpected {message} (state {state.name}, {sharing.name}); killing it"
    assert caplog.messages == ([] if expected else [said])
    assert worker.received() == b""


@pytest.mark.parametrize("sharing", Sharing, ids=lambda sharing: sharing.name)
@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("share", Sharing.ALONE, Sharing.REQUESTED),
        ("shared", Sharing.REQUESTED, Sharing.ACTIVE),
        ("unshare", Sharing.ACTIVE, Sharing.ALONE),
    ],
)
def test_sharing_passes_three_states_in_one_order(kind, before, after, sharing):
    assert SHARING.get((sharing, KINDS[kind])) is (after if sharing is before else None)
    worker = Process(WorkerState.SERVING, sharing)
    assert worker.apply(make(kind)) == (sharing is before)
    assert worker.state is (WorkerState.SERVING if sharing is before else WorkerState.KILLED)
    assert worker.sharing is (after if sharing is before else sharing)
    worker.received()


def test_a_worker_that_opens_beside_others_shares_from_the_start():
    for shared, sharing in ((True, Sharing.ACTIVE), (False, Sharing.ALONE)):
        worker = Process(WorkerState.BUILT)
        worker.send(Open(shared))
        assert (worker.state, worker.sharing) == (WorkerState.OPENING, sharing)
        assert worker.received() == b'["open", %s]\n' % str(shared).lower().encode()


def test_share_is_sent_once():
    worker = Process(WorkerState.SERVING)
    worker.share()
    worker.share()
    worker.apply(make("shared"))
    worker.share()
    assert worker.received() == b'["share"]\n'


@pytest.mark.parametrize("message", [Built([], []), Failed(1, []), Ready(), Beat(), Stopped(1), make("shared")])
def test_what_a_killed_worker_has_sent_before_is_too_late_and_no_error(message, caplog):
    worker = Process(WorkerState.OPENING)
    worker.kill()
    assert not worker.apply(message)
    assert (worker.state, caplog.messages) == (WorkerState.KILLED, [])
    worker.received()


def test_a_killed_worker_gets_no_command():
    worker = Process(WorkerState.SERVING)
    worker.kill()
    worker.send(Retire([]))
    worker.share()
    assert worker.received() == b""


@pytest.mark.parametrize(
    ("status", "clean", "text"),
    [
        (0, True, "exited with status 0"),
        (10 << 8, False, "exited with status 10"),
        (9, False, "was killed by SIGKILL"),
        (60, False, "was killed by signal 60"),
    ],
)
def test_an_exit_status(status, clean, text):
    found = ExitStatus.of(status)
    assert (found.is_clean, str(found)) == (clean, text)
