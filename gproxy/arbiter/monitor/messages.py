"""The messages between the arbiter and the monitor, in the form of those between the arbiter and a worker."""

from dataclasses import dataclass
from typing import Any, Final

from gproxy.arbiter.messages import Kinds, Message


class MonitorCommand(Message):
    """A message to the monitor."""


@dataclass(eq=False, repr=False)
class Configure(MonitorCommand):
    """Serve these settings. The descriptor is the packed files.

    In the first message the shared memory and the admin sockets follow. A second descriptor of the memory would release
    all locks of the process when it is closed.
    """

    path: str
    overrides: list[list[str]]  # section, option, text
    generation: int


@dataclass(eq=False, repr=False)
class Attach(MonitorCommand):
    """A worker serves; the descriptor is the line to it."""

    generation: int
    worker: int
    pid: int


@dataclass(eq=False, repr=False)
class Detach(MonitorCommand):
    """The worker has ended."""

    pid: int


@dataclass(eq=False, repr=False)
class Report(MonitorCommand):
    """The state of the arbiter: generation, reloads, and the states of the workers."""

    state: dict[str, Any]


@dataclass(eq=False, repr=False)
class Outcome(MonitorCommand):
    """The order of this number was carried out, or failed."""

    number: int
    succeeded: bool
    result: dict[str, Any]


class Leave(MonitorCommand):
    """Accept no more connections, finish the answers under way, and exit: another monitor takes over."""


@dataclass(eq=False, repr=False)
class Logged(MonitorCommand):
    """A record of the arbiter's error log."""

    fields: dict[str, Any]


class MonitorNotice(Message):
    """A message to the arbiter."""


class Beat(MonitorNotice):
    """The monitor is alive."""


class Serving(MonitorNotice):
    """The monitor accepts connections."""


@dataclass(eq=False, repr=False)
class Order(MonitorNotice):
    """Do this, and answer with its outcome: reload, roll back, scale, keep an override and the like."""

    number: int
    name: str
    arguments: dict[str, Any]


MONITOR_COMMANDS: Final[Kinds] = {kind.__name__.lower(): kind for kind in MonitorCommand.__subclasses__()}
MONITOR_NOTICES: Final[Kinds] = {kind.__name__.lower(): kind for kind in MonitorNotice.__subclasses__()}
