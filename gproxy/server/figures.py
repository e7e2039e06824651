"""What the metrics say about client connections."""

from collections.abc import Sequence

from gproxy.observe.metrics import Metrics
from gproxy.server.listener import Server


def show(servers: Sequence[Server], metrics: Metrics) -> None:
    """Have the metrics follow what is open."""

    def in_flight() -> int:
        return sum(connection.request is not None for server in servers for connection in server.connections)

    metrics.watch("gproxy_connections", (), lambda: sum(len(server.connections) for server in servers))
    metrics.watch("gproxy_requests_in_flight", (), in_flight)
