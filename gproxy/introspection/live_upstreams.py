"""The upstreams of a worker with the state of each backend, and the changes of backends by operators."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from gproxy.runtime import Runtime


class LiveUpstream(Protocol):
    """An upstream, as operators see and change it."""

    @property
    def name(self) -> str: ...
    def snapshot(self) -> list[dict[str, Any]]: ...
    def admission(self) -> dict[str, Any]: ...
    def change(self, backend: str, fields: Mapping[str, Any] | None, /) -> dict[str, Any] | None:
        """Change the backend, or end its change (None); return its state and weight before; None for an unknown one."""


class LiveUpstreams(Protocol):
    """The gateway, as far as it has upstreams."""

    @property
    def upstreams(self) -> list[LiveUpstream]: ...


class View(Protocol):
    """The worker, as far as it has upstreams."""

    @property
    def gateway(self) -> LiveUpstreams: ...
    @property
    def runtime(self) -> Runtime: ...


def upstreams(view: View) -> Iterator[Mapping[str, Any]]:
    """Yield each upstream: its backends, its limit and its breaker."""
    for upstream in view.gateway.upstreams:
        yield {"name": upstream.name, "backends": upstream.snapshot(), **upstream.admission()}


def override(view: View, upstream: str, backend: str, fields: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Change a backend, or end its change; yield its state before. Raises LookupError and ValueError."""
    found = next((one for one in view.gateway.upstreams if one.name == upstream), None)
    if found is None:
        raise LookupError(f"unknown upstream {upstream!r}")
    before = found.change(backend, fields)
    if before is None:
        raise LookupError(f"upstream {upstream} has no backend {backend!r}")
    yield {"before": before}
