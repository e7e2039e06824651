"""The answer to the monitor's question about the worker's process: its memory, descriptors, CPU time and requests."""

import os
import time
from collections.abc import Iterator, Mapping

from gproxy.introspection.worker_view import WorkerView


def status(view: WorkerView) -> Iterator[Mapping[str, object]]:
    """Yield the figures of the process: times in seconds, memory in bytes; the last fields are of its own requests."""
    runtime = view.runtime
    answers, _ = runtime.metrics.own("gproxy_requests_total")
    durations, buckets = runtime.metrics.own("gproxy_request_duration_seconds")
    connections = [connection for listener in view.connections for connection in listener]
    yield {
        "pid": os.getpid(),
        "uptime": runtime.monotonic() - runtime.started,
        "cpu": time.process_time(),
        "memory": runtime.process.memory(),
        "descriptors": runtime.process.descriptors(),
        "connections": len(connections),
        "requests": sum(len(connection.active_requests) for connection in connections),
        "draining": runtime.draining or runtime.stopping,
        "feed_dropped": runtime.feed.dropped if runtime.feed is not None else 0,
        "answered": round(sum(cells[0] for cells in answers.values())),
        "failed": round(sum(cells[0] for (_, code, _), cells in answers.items() if code >= "500")),
        "durations": [sum(cells) for cells in zip(*durations.values(), strict=True)][1:],
        "buckets": buckets.public,
    }
