"""The gateway as its monitor sees it: settings, the arbiter's report, the lines to workers, and what was gathered."""

from collections.abc import Mapping
from typing import Any

from gproxy.arbiter.control import Control
from gproxy.config.sections.settings import Settings
from gproxy.monitor.arbiter_orders import ArbiterOrders
from gproxy.monitor.worker_lines import WorkerLines, WorkerRef


class WatchedGateway:
    """The gateway that a monitor watches. Operations read it, ask its workers, and give orders to its arbiter."""

    def __init__(self, settings: Settings, generation: int, control: Control) -> None:
        #: The settings of the generation that serves, without live handlers.
        self.settings = settings
        self.generation = generation
        #: What the arbiter reports: reloads, their outcomes, the states of the workers.
        self.arbiter_state: Mapping[str, Any] = {}
        self.lines = WorkerLines(self.receive)
        self.orders = ArbiterOrders(control)

    def receive(self, worker: WorkerRef, kind: str, when: float, fields: Mapping[str, Any]) -> None:
        """Take a record that a worker feeds: its kind, its Unix time and its fields."""
