"""Health and readiness of the gateway, answered without a backend."""

import json
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cachetools import TTLCache

from gproxy.config.types import Network, Seconds
from gproxy.config.types.addresses import LOOPBACK
from gproxy.handlers.steps.own_paths import OwnPathsStep
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Handler
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_trusted
from gproxy.runtime import Runtime


@dataclass
class Health:
    """Health pages: `path` is 200 with a report while the process lives; `ready_path` is 503 while it is stopping.

    The status is `up`, `degraded` or `draining`. It is `degraded` if an upstream has no healthy backend or an open
    circuit breaker, if Redis is unavailable, if a key set is stale or missing, or if a handler fails whose requests
    go on: with `on_error` `open` or `skip`, or with `mode = report`. Uptime is in seconds, memory is the
    resident set in bytes; the two and the greenlet count are at most `cache` old. These three, the attempts at each
    backend and the states of Redis and key sets are those of the worker that answers. The health of backends is shared
    by all workers.

    Clients outside of the networks in `details` see these three, the status and, per upstream, how many backends are
    healthy.
    """

    #: True for a handler that answers requests by design, so that it has no `mode`.
    answers_requests: ClassVar[bool] = True

    path: str = field(default="/health", metadata={"doc": "path of the health report"})
    ready_path: str = field(
        default="/ready", metadata={"doc": "path that is 503 while stopping, else 200; for a load balancer"}
    )
    cache: Seconds = field(
        default=Seconds(1.0), metadata={"doc": "maximum age of the worker's figures; 0s: measured for each request"}
    )

    details: tuple[Network, ...] = field(
        default=LOOPBACK,
        metadata={
            "doc": "networks that see addresses, process ids, failures and reasons; peers on unix sockets always do"
        },
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        for name, path in (("path", self.path), ("ready_path", self.ready_path)):
            if not path.startswith("/"):
                raise ValueError(f"{name}: {path!r} is not a path; expected one that starts with /")
        if self.path == self.ready_path:
            raise ValueError("ready_path: is the same as path; expected another path")
        self._step = OwnPathsStep(frozenset((self.path, self.ready_path)), self._answer)

    def open(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._figures: TTLCache[str, dict[str, Any]] = TTLCache(1, self.cache, runtime.monotonic)

    @property
    def __call__(self) -> Handler:
        """The step, which the chain calls in place of the handler."""
        return self._step

    def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            raise HTTPError(405, f"{request.method} is not allowed here; expected GET or HEAD", {"Allow": "GET, HEAD"})
        return self._health(request.client) if request.path == self.path else self._ready()

    def _health(self, client: str) -> Response:
        upstreams, admission, store = self._runtime.backends(), self._runtime.admission(), self._runtime.store
        keys, handlers = dict(map(_named, self._runtime.keys())), self._runtime.handlers()
        status, figures = self._status(upstreams, admission, keys, handlers), self._measured()
        if not is_trusted(client, self.details):
            public = {name: figures[name] for name in ("uptime", "memory", "greenlets")}
            return _json(200, {"status": status, **public, "upstreams": _counted(upstreams)})
        report = {"status": status, **figures, "upstreams": upstreams}
        report |= {"admission": admission} if admission else {}
        report |= {"keys": keys} if keys else {}
        report |= {"handlers": handlers} if handlers else {}
        return _json(200, report | ({"store": store.snapshot()} if store else {}))

    def _ready(self) -> Response:
        if not self._runtime.stopping:
            return _json(200, {"status": "ready"})
        response = _json(503, {"status": "draining"})
        response.headers.put("Retry-After", "retry-after", "1")
        return response

    def _status(
        self,
        upstreams: dict[str, list[dict[str, Any]]],
        admission: dict[str, dict[str, Any]],
        keys: dict[str, dict[str, Any]],
        failing: dict[str, dict[str, Any]],
    ) -> str:
        if self._runtime.stopping:
            return "draining"
        store = self._runtime.store
        works = all(any(map(_is_healthy, backends)) for backends in upstreams.values()) and (not store or store.is_up)
        works = works and not failing and all(key_set["state"] == "fresh" for key_set in keys.values())
        return "up" if works and not any(map(_is_broken, admission.values())) else "degraded"

    def _measured(self) -> dict[str, Any]:
        figures = self._figures.get("figures")
        if figures is None:
            figures = self._figures["figures"] = {
                "worker": self._runtime.worker,
                "pid": os.getpid(),
                "uptime": round(self._runtime.monotonic() - self._runtime.started, 3),
                "memory": self._runtime.process.memory(),
                "greenlets": self._runtime.process.greenlets(),
            }
        return figures


def _counted(upstreams: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, int]]:
    return {
        name: {"healthy": sum(map(_is_healthy, backends)), "backends": len(backends)}
        for name, backends in upstreams.items()
    }


def _named(key_set: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return key_set["name"], {fact: value for fact, value in key_set.items() if fact != "name"}


def _is_healthy(backend: dict[str, Any]) -> bool:
    return str(backend["state"]).startswith("healthy")


def _is_broken(admission: dict[str, Any]) -> bool:
    return "breaker" in admission and admission["breaker"] != "closed"


def _json(status: int, content: dict[str, Any]) -> Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(status, json.dumps(content).encode(), headers)
