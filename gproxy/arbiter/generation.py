"""The workers of one reading of the settings, and the sockets they accept from."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gproxy.arbiter.sockets import CannotListenError, listen, silence
from gproxy.arbiter.systemd import bind_to
from gproxy.arbiter.worker_process import WorkerProcess, WorkerState
from gproxy.config.load import Overrides, load_process
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import LogSettings
from gproxy.config.types import Address

Sockets = Mapping[Address, socket.socket]

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


class Generation:
    """Every worker of it gets the same text, whatever becomes of the file meanwhile."""

    def __init__(self, number: int, path: str, overrides: Overrides, inherited: Sequence[int]) -> None:
        self.number = number
        self._path = path
        self._overrides = overrides
        self._text = _text(path)
        server, log = load_process(Path(path), self._text, overrides)
        if server and inherited:
            self._overrides = {**overrides, ("server", "bind"): bind_to(inherited, server.bind)}
            server, _ = load_process(Path(path), self._text, self._overrides)
        self.server = server or ServerSettings()
        self.log = log or LogSettings()
        #: The first to be started has said that the settings are fine.
        self.is_built = False
        self.worker_count = 1
        self.workers: list[WorkerProcess] = []
        self.sockets: dict[Address, socket.socket] = {}
        #: What it was built from, besides the settings.
        self.files: set[str] = set()

    @property
    def was_read(self) -> bool:
        """Could we read the file ourselves?"""
        return self._text is not None

    def add(self, worker: WorkerProcess) -> None:
        """Have it build what the settings say."""
        self.workers.append(worker)
        overrides = [(section, option, text) for (section, option), text in self._overrides.items()]
        fd = os.memfd_create("gproxy-settings") if self._text is not None else -1
        if self._text is None:  # it will find out why
            worker.send("build", self._path, overrides)
            return
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(self._text)
            worker.send("build", self._path, overrides, fds=(fd,))
        finally:
            os.close(fd)

    def open(self, open_sockets: Sockets) -> None:
        """Open what is not open yet. Raises CannotListenError."""
        for address in self.server.bind:
            try:
                self.sockets[address] = open_sockets.get(address) or listen(address)
            except CannotListenError as error:
                self.close(open_sockets)
                raise CannotListenError(f"{error}{_in_the_way(address, open_sockets)}") from None
        self.worker_count = usable_cores() if self.server.workers == "auto" else self.server.workers
        self.is_built = True

    def close(self, but: Sockets) -> list[int]:
        """Close those that `but` does not have; which they are, in the order of `bind`.

        The processes that accept from them have copies, and close these when nothing more is in the queue.
        """
        closed = []
        for index, (address, sock) in enumerate(self.sockets.items()):
            if address not in but:
                silence(address, sock)
                sock.close()
                closed.append(index)
        self.sockets = {address: sock for address, sock in self.sockets.items() if address in but}
        return closed

    def missing(self) -> list[int]:
        """The numbers of workers that should be there and are not."""
        taken = {worker.number for worker in self.workers}
        return [number for number in range(1, self.worker_count + 1) if number not in taken]

    def may_open(self, worker: WorkerProcess) -> bool:
        """Does the worker wait for nothing but the word to open? The first of a generation opens before the others."""
        is_first = bool(self.workers) and worker is self.workers[0]
        return worker.phase is WorkerState.BUILT and self.is_built and (is_first or self.is_opened())

    def is_opened(self) -> bool:
        """Has one of its workers been able to open what it needs?"""
        return any(worker.phase >= WorkerState.READY for worker in self.workers)

    def is_ready(self) -> bool:
        """Every worker that is wanted waits for the word."""
        return (
            self.is_built and not self.missing() and all(worker.phase >= WorkerState.READY for worker in self.workers)
        )

    def __str__(self) -> str:
        addresses = ", ".join(map(str, self.sockets))
        return addresses if self.worker_count == 1 else f"{addresses} with {self.worker_count} workers"


def _in_the_way(address: Address, open_sockets: Sockets) -> str:
    """It may be ourselves who have the port, on all interfaces or on one of them; an exchange leaves no gap."""
    for other in open_sockets:
        if address.kind == other.kind == "tcp" and address.port == other.port and address.host != other.host:
            return f" by {other}, where we listen; that changes with a restart only"
    return ""


def _text(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def usable_cores() -> int:
    """Those we may run on, within what a container is granted of them."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text().split()
        return min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores
