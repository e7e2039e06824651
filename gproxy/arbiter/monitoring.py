"""What the arbiter asks of a monitor, and a monitor of the arbiter; a gateway without `[admin]` has NoMonitor."""

from typing import Any, Protocol

from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.generations.reload import Reload
from gproxy.arbiter.worker_process import WorkerProcess
from gproxy.config.sections.admin import AdminSettings


class Supervisor(Protocol):
    """The arbiter, as the orders of the monitor use it."""

    def reload(self, reload: Reload, /) -> None:
        """Begin the reload, or let it follow the current one; its replies get the outcome."""

    def scale(self, count: int, cause: str, /) -> None:
        """Run so many workers until the next reload."""

    def report(self) -> dict[str, Any]:
        """Return the state of the arbiter."""


class Monitoring(Protocol):
    """The monitor process, as the arbiter uses it."""

    def prepare(self, admin: AdminSettings, /) -> None:
        """Open the missing sockets of the next generation. Raises CannotListenError."""

    def give_up(self) -> None:
        """Close the sockets that were opened for a generation that is given up."""

    def serve(self, generation: Generation, /) -> None:
        """Serve the settings of the generation: start, continue or end the process."""

    def attach(self, worker: WorkerProcess, /) -> None:
        """Give a worker that is ready what operators have changed, and connect the monitor with it."""

    def detach(self, worker: WorkerProcess, /) -> None:
        """Announce the end of a worker."""

    def lacks(self, worker: WorkerProcess, upstream: str, backend: str, /) -> None:
        """Note that the settings of the worker do not have a backend that an operator has changed."""

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

    def lacks(self, worker: WorkerProcess, upstream: str, backend: str, /) -> None:
        pass

    def close(self) -> None:
        pass
