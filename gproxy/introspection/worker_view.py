"""The parts of a worker that the answers to the monitor's questions look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gproxy.config.sections.settings import Settings
from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.in_flight import OpenConnections
from gproxy.runtime import Runtime


class LiveGateway(Protocol):
    """The gateway of a worker: the live objects of its settings."""

    @property
    def router(self) -> Any: ...  # noqa: ANN401 the types of the gateway and of upstreams are not known here
    @property
    def handlers(self) -> Mapping[str, Any]: ...
    @property
    def upstreams(self) -> Sequence[Any]: ...
    @property
    def background(self) -> Mapping[str, Any]: ...
    @property
    def observers(self) -> list[Any]: ...


@dataclass(frozen=True)
class WorkerView:
    """A worker, as the answers to the monitor's questions see it. `connections` has one item for each listener."""

    settings: Settings
    runtime: Runtime
    gateway: LiveGateway
    connections: Sequence[OpenConnections]
    handler_code: HandlerCode

    @property
    def generation(self) -> int:
        """The number of the generation."""
        return self.runtime.generation

    @property
    def number(self) -> int:
        """The number of the worker within its generation."""
        return self.runtime.worker
