"""The messages between the arbiter and a worker: one line of JSON each, its name and its fields: `["stopped", 2]`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, get_origin

from gproxy.config.record import Record


@dataclass(eq=False, repr=False)
class Message(Record):
    """The base of all messages; a subclass with fields is a dataclass of its own."""

    def __str__(self) -> str:
        return type(self).__name__.lower()


# Commands, from the arbiter to a worker.


class Command(Message):
    """A message to a worker."""


@dataclass(eq=False, repr=False)
class Build(Command):
    """Build the settings; their files come packed in a file descriptor.

    The code of user modules that an earlier worker has imported comes in further ones.
    """

    path: str
    overrides: list[list[str]]  # section, option, text
    instance: str  # the gateway's id in Via, the same for all its workers
    errors: str  # the format of the error log, which user code may use when it is imported
    tests: bool  # run the self-test afterwards, in place of serving
    read_at: float  # Unix time at which the settings were read


@dataclass(eq=False, repr=False)
class Open(Command):
    """Open all parts. The descriptors are the shared memory and the listening sockets."""

    shared: bool  # other workers serve beside it


class Accept(Command):
    """Accept connections."""


class Share(Command):
    """Move the state into the shared memory: another worker is going to open."""


class Unshare(Command):
    """Take the state back: no other worker is left."""


class Reopen(Command):
    """Open the access log anew."""


@dataclass(eq=False, repr=False)
class Reloads(Command):
    """The reloads so far, for the metrics; the start is no reload, but counts as the last successful one."""

    generation: int = 0  # the one that serves
    succeeded: int = 0
    failed: int = 0
    last_succeeded: bool = False
    success_time: float = 0.0  # Unix time of the last successful one
    failure: str = ""  # the first reason, if the last one has failed


class WorkerLine(Command):
    """Answer the questions of the monitor on the socket that comes as a descriptor, in place of an earlier one."""


@dataclass(eq=False, repr=False)
class Override(Command):
    """Change a backend as an operator wants."""

    upstream: str
    backend: str
    fields: dict[str, Any]  # of upstream.override.BackendOverride


@dataclass(eq=False, repr=False)
class LogLevel(Command):
    """Give a logger this level for a time; an empty level ends it."""

    level: str
    logger: str


class Unready(Command):
    """Answer 503 to `/ready`: a stop has begun."""


@dataclass(eq=False, repr=False)
class Retire(Command):
    """Drain: a newer generation serves, or fewer workers do."""

    removed: list[int]  # indexes of the listeners whose sockets no other process accepts from


class Stop(Command):
    """Close all listeners and drain."""


class Quit(Command):
    """Exit at once."""


# Notices, from a worker to the arbiter.


class Notice(Message):
    """A message to the arbiter."""


@dataclass(eq=False, repr=False)
class Imported(Notice):
    """The worker has imported user modules; a descriptor has their code."""

    files: list[str]


@dataclass(eq=False, repr=False)
class Built(Notice):
    """The settings are valid."""

    warnings: list[str]
    files: list[str]  # of user code, and error pages


@dataclass(eq=False, repr=False)
class Judged(Notice):
    """The self-test is over; the worker exits."""

    reasons: list[str]  # of its failure; none if it has passed


@dataclass(eq=False, repr=False)
class Failed(Notice):
    """The settings are wrong, or a part cannot be opened; the worker exits with this code."""

    code: int
    reasons: list[str]
    is_logged: bool = False  # by the worker


class Ready(Notice):
    """All parts are open."""


class Shared(Notice):
    """The state is in the shared memory."""


@dataclass(eq=False, repr=False)
class Beat(Notice):
    """The worker is alive. With `probation` it has counted so many requests, and those that failed in handlers."""

    requests: int = 0
    failures: int = 0
    last: str = ""  # the last failure: its handler and its exception


@dataclass(eq=False, repr=False)
class Blocked(Notice):
    """A handler blocks the event loop of the worker; the worker's watchdog sends it, since the loop does not turn."""

    message: str
    stack: list[str]
    origin: list[str]  # the fields of observe.log.Origin


class Closed(Notice):
    """The listeners are closed."""


@dataclass(eq=False, repr=False)
class Lacks(Notice):
    """The settings do not have the backend that `override` has named."""

    upstream: str
    backend: str


@dataclass(eq=False, repr=False)
class Stopped(Notice):
    """The worker has drained; so many requests were cut."""

    cut: int


@dataclass(eq=False, repr=False)
class Malformed(Message):
    """A received line that is no message; the receiver expects it in no state."""

    line: str
    problem: str

    def __str__(self) -> str:
        return f"malformed message {self.line}: {self.problem}"


Kinds = Mapping[str, type[Message]]

COMMANDS: Final[Kinds] = {kind.__name__.lower(): kind for kind in Command.__subclasses__()}
NOTICES: Final[Kinds] = {kind.__name__.lower(): kind for kind in Notice.__subclasses__()}


def encode(message: Message) -> bytes:
    """Return the line of a message."""
    return json.dumps([str(message), *vars(message).values()]).encode() + b"\n"


def decode(line: bytes, kinds: Kinds) -> Message:
    """Return the message of a line, or Malformed if it is none of these kinds."""
    try:
        name, *values = json.loads(line)
        kind = kinds[name]
        _check(kind, values)
        return kind(*values)
    except KeyError:
        problem = "unknown name"
    except (TypeError, ValueError) as error:  # no JSON, or other fields
        problem = str(error)
    return Malformed(line.decode(errors="replace"), problem)


def _check(kind: type[Message], values: Sequence[object]) -> None:
    declared = fields(kind)
    if len(values) != len(declared):
        raise ValueError(f"expected {len(declared)} fields, not {len(values)}")
    for field, value in zip(declared, values, strict=True):
        expected: Any = get_origin(field.type) or field.type
        if not isinstance(value, expected):
            raise TypeError(f"{field.name}: expected {expected.__name__}, not {value!r}")
