"""The gateway as its monitor sees it: settings, the arbiter's report, the lines to workers, and what was gathered."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gevent

from gproxy.arbiter.control import Control
from gproxy.config.sections.settings import Settings
from gproxy.handlers.metrics import FindExemplars, Row, no_exemplars
from gproxy.monitor.gathered.changes import Blocks, Changes
from gproxy.monitor.gathered.figures import Figures
from gproxy.monitor.gathered.history import History
from gproxy.monitor.gathered.recent import RecentRequests
from gproxy.monitor.processes.arbiter_orders import ArbiterOrders
from gproxy.monitor.processes.silent_workers import SilentWorkers
from gproxy.monitor.processes.worker_lines import WorkerLines, WorkerRef
from gproxy.monitor.streams.debug_terminals import DebugTerminals
from gproxy.monitor.streams.events import EventStreams
from gproxy.monitor.streams.log_tail import LogTails
from gproxy.monitor.streams.recordings import Recordings
from gproxy.monitor.times import rfc3339
from gproxy.monitor.views.model import View, difference

#: Takes a record that a worker feeds, with its Unix time.
Consume = Callable[[WorkerRef, float, Mapping[str, Any]], None]


class WatchedGateway:
    """The gateway that a monitor watches. Operations read it, ask its workers, and give orders to its arbiter.

    `rows` returns the metrics of all workers. `config` is the path of the settings file.
    """

    def __init__(
        self,
        settings: Settings,
        generation: int,
        control: Control,
        rows: Callable[[], Iterable[Row]] = list,
        config: str = "",
    ) -> None:
        #: The settings of the generation that serves, without live handlers.
        self.settings = settings
        self.generation = generation
        self.config = config
        #: What the arbiter reports: reloads, their outcomes, the states of the workers.
        self.arbiter_state: Mapping[str, Any] = {}
        self.lines = WorkerLines(self.receive)
        self.orders = ArbiterOrders(control)
        self.silent = SilentWorkers(self.orders)
        self.clock = time.time
        self.changes = Changes()
        self.blocks = Blocks(self.changes)
        self.figures = Figures(rows, History(settings.admin.history), self.changes)
        self.events = EventStreams(self.changes, difference)
        self.rows = rows
        #: What finds the exemplars of histograms, with traces.
        self.find_exemplars: FindExemplars = no_exemplars
        #: The failed and slow requests of the last time.
        self.recent = RecentRequests()
        #: The ends of the logs.
        self.logs = LogTails(self.lines)
        #: The views that the page has besides its own, by name: the title, and the function that looks at the gateway.
        self.views: dict[str, tuple[str, Callable[[WatchedGateway], View]]] = {}
        #: The recordings of exchanges under way.
        self.recordings = Recordings(self.lines)
        #: The terminals of debuggers.
        self.terminals = DebugTerminals(self.lines)
        #: Who takes the records of a kind.
        self._consumers: dict[str, list[Consume]] = {
            "exchange": [self.recent.take],
            "log": [self.logs.errors.take],
            "block": [self.blocks.take],
            "line": [self.logs.tap.take],
            "record": [self.recordings.take],
        }

    def consume(self, kind: str, consume: Consume) -> None:
        """Let the function take the records of a kind, too."""
        self._consumers.setdefault(kind, []).append(consume)

    def sample(self) -> None:
        """Take a sample; the first one is what later ones have grown from."""
        self.figures.sample(time.monotonic(), self.clock())

    def keep_sampling(self) -> None:
        """Take a sample once a second, and send it to the open pages."""
        while True:
            gevent.sleep(1.0 - self.clock() % 1.0)
            self.sample()
            self.events.send_values({"time": rfc3339(self.clock()), **self.figures.latest})

    def receive(self, worker: WorkerRef, kind: str, when: float, fields: Mapping[str, Any]) -> None:
        """Take a record that a worker feeds: its kind, its Unix time and its fields."""
        for consume in self._consumers.get(kind, ()):
            consume(worker, when, fields)
