"""`GET /v1/events`: the server-sent events, for the page and for scripts."""

from functools import partial

from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.monitor.api.operation import Call
from gproxy.monitor.views.look import look_at


def events(call: Call) -> Response:
    """Return the stream. Raises HTTPError 503 if there are too many clients."""
    view = call.values.get("view")
    look = partial(look_at, call.gateway, view) if view is not None else None
    last = call.request.headers.lookup("last-event-id") or ""
    after = int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else None
    stream = call.gateway.events.stream(view, look, after)
    if stream is None:
        raise HTTPError(503, "too many clients read events", {"Retry-After": "10"})
    return Response(200, stream, {"Content-Type": "text/event-stream"})
