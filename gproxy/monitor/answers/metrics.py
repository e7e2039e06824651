"""`GET /metrics`: what the metrics handler shows, without a handler in any chain."""

from gproxy.handlers.metrics import exposition
from gproxy.http.response import Response
from gproxy.monitor.api.operation import Call


def metrics(call: Call) -> Response:
    """Return the metrics of all workers, in the format that the Accept header asks for."""
    accept, gateway = call.request.headers.lookup("accept") or "", call.gateway
    page, media_type = exposition(gateway.rows(), accept, gateway.find_exemplars)
    return Response(200, page, {"Content-Type": media_type})
