"""Is the gateway alive, and should it get requests? Answered here, passed on to no backend."""

import json
import os
from dataclasses import dataclass, field
from typing import Any

from cachetools import TTLCache

from gproxy.config.types import Seconds
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime


@dataclass
class Health:
    """`path` is 200 while the process lives, with its figures; `ready_path` turns 503 once it is stopping.

    The status is `up`, `degraded` if an upstream has no healthy backend or an open breaker or if Redis is lost, or
    `draining`. Uptime is in seconds, memory is the resident set in bytes; both and the greenlet count are as old as
    `cache` at most. They are those of the worker that answers, and so are the attempts at each backend and the state
    of Redis; of a backend's health all workers have the same opinion.
    """

    path: str = field(default="/health", metadata={"doc": "where the figures are"})
    ready_path: str = field(default="/ready", metadata={"doc": "503 while stopping, else 200; for a load balancer"})
    cache: Seconds = field(default=Seconds(1.0), metadata={"doc": "how long figures are kept; 0s: taken every time"})

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for name, path in (("path", self.path), ("ready_path", self.ready_path)):
            if not path.startswith("/"):
                raise ValueError(f"{name}: it starts with /")
        if self.path == self.ready_path:
            raise ValueError("ready_path: it must differ from path")
        self._paths = frozenset((self.path, self.ready_path))

    def open(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._figures: TTLCache[str, dict[str, Any]] = TTLCache(1, self.cache, runtime.monotonic)

    def __call__(self, request: Request, next: Next) -> Response:  # noqa: A002
        if request.path not in self._paths:
            return next(request)
        if request.method not in {"GET", "HEAD"}:
            raise HTTPError(405, "GET and HEAD are possible here", {"Allow": "GET, HEAD"})
        return self._health() if request.path == self.path else self._ready()

    def _health(self) -> Response:
        upstreams, admission, store = self._runtime.backends(), self._runtime.admission(), self._runtime.store
        facts = {"status": self._status(upstreams, admission), **self._measured(), "upstreams": upstreams}
        facts |= {"admission": admission} if admission else {}
        return _json(200, facts | ({"store": store.snapshot()} if store else {}))

    def _ready(self) -> Response:
        if not self._runtime.stopping:
            return _json(200, {"status": "ready"})
        response = _json(503, {"status": "draining"})
        response.headers.put("Retry-After", "retry-after", "1")
        return response

    def _status(self, upstreams: dict[str, list[dict[str, Any]]], admission: dict[str, dict[str, Any]]) -> str:
        if self._runtime.stopping:
            return "draining"
        store = self._runtime.store
        works = all(any(map(_is_healthy, backends)) for backends in upstreams.values()) and (not store or store.is_up)
        return "up" if works and not any(map(_is_broken, admission.values())) else "degraded"

    def _measured(self) -> dict[str, Any]:
        figures = self._figures.get("figures")
        if figures is None:
            figures = self._figures["figures"] = {
                "worker": self._runtime.worker,
                "pid": os.getpid(),
                "uptime": round(self._runtime.monotonic() - self._runtime.started, 3),
                "memory": self._runtime.memory(),
                "greenlets": self._runtime.count_greenlets(),
            }
        return figures


def _is_healthy(backend: dict[str, Any]) -> bool:
    return str(backend["state"]).startswith("healthy")


def _is_broken(admission: dict[str, Any]) -> bool:
    return "breaker" in admission and admission["breaker"] != "closed"


def _json(status: int, content: dict[str, Any]) -> Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(status, json.dumps(content).encode(), headers)
