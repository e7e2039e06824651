"""A generation: one reading of the settings, its workers and their sockets."""

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from gproxy.arbiter import messages
from gproxy.arbiter.backoff import Backoff
from gproxy.arbiter.generations.file_watch import listed, watched_files
from gproxy.arbiter.generations.history import Reading
from gproxy.arbiter.generations.trial import Trial
from gproxy.arbiter.sockets import CannotListenError, is_reachable, listen, silence
from gproxy.arbiter.systemd import bind_to
from gproxy.arbiter.worker_process import WorkerProcess, WorkerState
from gproxy.config.file_stamp import FileStamp
from gproxy.config.ini.files import absolute, include_patterns, pack, read_files
from gproxy.config.load import Overrides, load_process
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import LogSettings
from gproxy.config.sections.trace import TraceSettings
from gproxy.config.types import Address

Sockets = Mapping[Address, socket.socket]

_log = logging.getLogger("gproxy")

#: The id of this gateway in Via: of all workers of all generations.
_INSTANCE: Final = os.urandom(4).hex()
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


class Generation:
    """A reading of the settings with its workers and sockets.

    Every worker gets the same bytes and the same code, even if a file changes meanwhile. `earlier` is a reading to
    return to; None: read the files.
    """

    def __init__(
        self,
        number: int,
        path: str,
        overrides: Overrides,
        inherited: Sequence[int],
        earlier: Reading | None = None,
    ) -> None:
        self.number = number
        self.path = path
        self._overrides = overrides
        #: Settings and code, for a later rollback too.
        self.reading = replace(earlier, generation=number) if earlier else Reading(number, read_files(path, os.environ))
        self.settings_files = self.reading.files
        server, log, admin, trace = load_process(self.settings_files, overrides)
        if server and inherited:
            self._overrides = {**overrides, ("server", "bind"): bind_to(inherited, server.bind)}
            server, log, admin, trace = load_process(self.settings_files, self._overrides)
        self.server = server or ServerSettings()
        #: The absolute paths and patterns of the files that `reload = on` watches: included ones, and those of `watch`.
        self.patterns = [absolute(one) for one in include_patterns(self.settings_files[0], os.environ)]
        self.patterns += [absolute(os.path.join(os.path.dirname(path), one)) for one in self.server.watch]  # noqa: PTH118, PTH120
        #: These files and those of the settings as they are now: what a rollback has left is no change.
        self.stamps = {name: FileStamp.of(name) for name in self._watched()}
        self.log = log or LogSettings()
        self.admin = admin or AdminSettings()
        self.trace = trace or TraceSettings()
        #: The self-test of new settings and code; None without one, and for a return to what has served before.
        self.trial = Trial() if self.server.selftest and earlier is None else None
        #: True once the first worker has built the settings and the sockets are open.
        self.is_built = False
        self.worker_count = 1
        self.workers: list[WorkerProcess] = []
        self.backoff = Backoff()
        self.sockets: dict[Address, socket.socket] = {}
        #: Files of user code that the workers have imported, with their stamps at the first import.
        self.files: dict[str, FileStamp | None] = {}

    def _watched(self) -> set[str]:
        """Return the files to watch, besides those of user code."""
        settings = {absolute(file.path) for file in self.settings_files}
        return settings | set(watched_files(self.patterns)) if self.server.reload else settings

    def add(self, worker: WorkerProcess) -> None:
        """Add a worker, and send it the settings to build, with the code that earlier ones have imported."""
        self.workers.append(worker)
        given = self.path, self.overrides, _INSTANCE, self.log.errors
        build = messages.Build(*given, tests=self.is_on_trial, read_at=self.reading.time)
        with self.packed() as fd:
            worker.send(build, [fd, *self.reading.code.fds])

    @property
    def is_on_trial(self) -> bool:
        """True until the self-test is over, if there is one; its worker is the only one until then."""
        return self.trial is not None and not self.trial.is_over

    @property
    def overrides(self) -> list[list[str]]:
        """The options of the command line: section, option and text of each."""
        return [[*place, text] for place, text in self._overrides.items()]

    @property
    def has_monitor(self) -> bool:
        """True if the gateway has a monitor process, which serves the admin listener and sends the traces."""
        return bool(self.admin.bind or self.trace.endpoint)

    @contextmanager
    def packed(self) -> Iterator[int]:
        """Return a descriptor with the files of the settings, for another process; it is closed at the end."""
        fd = os.memfd_create("gproxy-settings")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(pack(self.settings_files))
            yield fd
        finally:
            os.close(fd)

    def release(self, worker: WorkerProcess) -> bool:
        """Remove the worker; return whether it was still one of the generation's."""
        if worker not in self.workers:
            return False
        self.workers.remove(worker)
        return True

    def open(self, open_sockets: Sockets) -> None:
        """Open the sockets that are not in `open_sockets`, or that no client reaches. Raises CannotListenError."""
        for address in self.server.bind:
            try:
                self.sockets[address] = _reusable(address, open_sockets) or listen(address)
            except CannotListenError as error:
                self.close(open_sockets)
                raise CannotListenError(f"{error}{_bind_conflict(address, open_sockets)}") from None
        self.worker_count = usable_cores() if self.server.workers == "auto" else self.server.workers
        self.is_built = True

    def close(self, but: Sockets) -> list[int]:
        """Close the sockets that are not in `but`; return their indexes in `bind`.

        The workers have copies of the sockets, and close these when their queues are empty.
        """
        closed = []
        for index, (address, sock) in enumerate(self.sockets.items()):
            if but.get(address) is not sock:
                silence(address, sock)
                sock.close()
                closed.append(index)
        self.sockets = {address: sock for address, sock in self.sockets.items() if but.get(address) is sock}
        return closed

    def missing(self) -> list[int]:
        """Return the numbers of the workers that are missing."""
        taken = {worker.number for worker in self.workers}
        return [number for number in range(1, self.worker_count + 1) if number not in taken]

    def accept(self, worker: WorkerProcess) -> None:
        """Let the worker accept connections."""
        worker.accept()
        self.backoff.note_serving()

    def note_files(self, files: Iterable[str]) -> None:
        """Note the files of user code and error pages that a worker has read."""
        for file in files:
            if file not in self.files:
                self.files[file] = FileStamp.of(file)

    def warn_of_newer_files(self, number: int) -> None:
        """Log the files that a worker reads in another version, if it starts now, than the first worker did."""
        read = self.files.keys() - self.reading.code.files
        changed = sorted(file for file in read if FileStamp.of(file) != self.files[file])
        if changed:
            what = "worker %d reads newer files than generation %d did: %s changed; HUP lets all workers read them"
            _log.warning(what, number, self.number, listed(changed))

    def pause(self, number: int) -> float:
        """Return the seconds before another worker of this number starts, after a quick end or a failed start."""
        is_last = all(worker.state >= WorkerState.DRAINING for worker in self.workers)
        return self.backoff.pause(number, is_last=is_last)

    def may_open(self, worker: WorkerProcess) -> bool:
        """Return whether the worker waits only for `open`; a generation's first worker opens before the others."""
        is_first = bool(self.workers) and worker is self.workers[0]
        return worker.state is WorkerState.BUILT and self.is_built and (is_first or self.is_opened())

    def is_opened(self) -> bool:
        """Return whether one of the workers has opened its parts."""
        return any(WorkerState.READY <= worker.state < WorkerState.KILLED for worker in self.workers)

    def is_ready(self) -> bool:
        """Return whether all workers of the generation wait only for `accept`."""
        return (
            self.is_built and not self.missing() and all(worker.state is WorkerState.READY for worker in self.workers)
        )

    def __str__(self) -> str:
        addresses = ", ".join(map(str, self.sockets))
        return addresses if self.worker_count == 1 else f"{addresses} with {self.worker_count} workers"


def _reusable(address: Address, open_sockets: Sockets) -> socket.socket | None:
    sock = open_sockets.get(address)
    if sock is None or is_reachable(sock):
        return sock
    _log.warning("%s: its file was removed or replaced; opening a new socket there", address)
    return None


def _bind_conflict(address: Address, open_sockets: Sockets) -> str:
    """Explain a bind failure that our own listener on another interface causes. Only a restart can change it."""
    for other in open_sockets:
        if address.kind == other.kind == "tcp" and address.port == other.port and address.host != other.host:
            return f" by {other} of this gateway; only a restart can change this"
    return ""


def usable_cores() -> int:
    """Return the number of cores that the process may use, within the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text().split()
        return min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores
