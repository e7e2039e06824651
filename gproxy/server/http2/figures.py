"""What a process counts of HTTP/2 with its clients."""

from gproxy.runtime import Runtime


class HTTP2Figures:
    """The counts of all connections of a process, for its metrics."""

    __slots__ = ("client_resets", "connections", "floods", "gateway_resets", "streams")

    def __init__(self, runtime: Runtime) -> None:
        #: Open connections, and their streams whose greenlets have not ended.
        self.connections = self.streams = 0
        #: Streams that clients have reset, and that the gateway has.
        self.client_resets = self.gateway_resets = 0
        #: Connections that were closed because their budget was spent.
        self.floods = 0
        watch = runtime.metrics.watch
        watch("gproxy_http2_connections", (), lambda: self.connections)
        watch("gproxy_http2_streams", (), lambda: self.streams)
        watch("gproxy_http2_resets_total", ("client",), lambda: self.client_resets)
        watch("gproxy_http2_resets_total", ("gateway",), lambda: self.gateway_resets)
        watch("gproxy_http2_floods_total", (), lambda: self.floods)
