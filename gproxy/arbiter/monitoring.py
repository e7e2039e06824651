"""What the arbiter asks of a monitor; and the monitor of a gateway without `[admin]`, which does nothing."""

from collections.abc import Callable
from typing import Any, Protocol

from gproxy.arbiter.generation import Generation
from gproxy.arbiter.worker_process import WorkerProcess
from gproxy.config.sections.admin import AdminSettings

#: Answers an order: whether it succeeded, and its result.
Reply = Callable[[bool, dict[str, Any]], None]
#: Carries an order out: its name, its arguments, and the reply, which may come later.
Orders = Callable[[str, dict[str, Any], Reply], None]


class Monitoring(Protocol):
    """The monitor process, as the arbiter uses it."""

    def prepare(self, admin: AdminSettings, /) -> None:
        """Open the missing sockets of the next generation. Raises CannotListenError."""

    def give_up(self) -> None:
        """Close the sockets that were opened for a generation that is given up."""

    def serve(self, generation: Generation, /) -> None:
        """Serve the settings of the generation: start, continue or end the process."""

    def attach(self, worker: WorkerProcess, /) -> None:
        """Connect the monitor with a worker that is ready."""

    def detach(self, worker: WorkerProcess, /) -> None:
        """Announce the end of a worker."""

    def report(self, state: dict[str, Any], /) -> None:
        """Pass the state of the arbiter on."""

    def close(self) -> None:
        """End the process and close the sockets, when the gateway stops."""


class NoMonitor:
    """A monitor that does nothing."""

    def prepare(self, admin: AdminSettings, /) -> None:
        pass

    def give_up(self) -> None:
        pass

    def serve(self, generation: Generation, /) -> None:
        pass

    def attach(self, worker: WorkerProcess, /) -> None:
        pass

    def detach(self, worker: WorkerProcess, /) -> None:
        pass

    def report(self, state: dict[str, Any], /) -> None:
        pass

    def close(self) -> None:
        pass
