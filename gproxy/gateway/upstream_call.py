"""The calls of handlers to upstreams: what `runtime.ask` finds under the name of an upstream.

A call is what a route's action is for its requests, with the options of the upstream in place of a route's.
"""

from typing import Final

from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import PLAIN, ErrorResponses
from gproxy.gateway.route_action import PLAIN_FORWARD, ForwardKind
from gproxy.gateway.watch.watched_forward import WATCHED
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.request_buffer import RequestBuffer
from gproxy.upstream.forwarder.request_head import composer
from gproxy.upstream.upstream import Upstream

#: A handler has chosen the headers of a subrequest, so all of them are sent.
_ALL: Final = ("Authorization",)
#: Seconds of a tunnel's longest pause: the default of routes.
_TUNNEL: Final = 3600.0


def upstream_call(
    upstream: Upstream, timeout: float, errors: ErrorResponses = PLAIN, keep: tuple[str, ...] = ()
) -> Next:
    """Return the function that sends a request to the upstream and returns a response, for failures too.

    A client's own request is forwarded as on a route that keeps the headers in `keep`. `timeout` is that of the
    gateway, in seconds: for pieces of a response, if the upstream has none of its own.
    """
    for_handlers, watched = (
        compose([], upstream.guard(_forward(upstream, timeout, keep=_ALL, read_ahead=0, kind=kind)), PLAIN)
        for kind in (PLAIN_FORWARD, WATCHED)
    )
    settings = upstream.settings
    forward = errors.around(_forward(upstream, timeout, keep=keep, read_ahead=settings.buffer_response))
    guarded = upstream.guard(forward)
    if settings.buffer_request:
        spool = settings.retry.spool
        guarded = RequestBuffer(guarded, upstream.runtime, size=settings.buffer_request, spool=spool)
    for_clients = compose(upstream.handlers, guarded, errors)

    def call(request: Request) -> Response:
        if not request.is_subrequest:
            return for_clients(request)
        exchange = request.exchange
        is_watched = exchange.account is not None or exchange.trace.sampled
        return watched(request) if is_watched else for_handlers(request)

    return call


def _forward(
    upstream: Upstream, timeout: float, *, keep: tuple[str, ...], read_ahead: int, kind: ForwardKind = PLAIN_FORWARD
) -> Forward:
    settings, runtime = upstream.settings, upstream.runtime
    section = f"[upstream:{upstream.name}]"
    head = composer(
        settings, instance=runtime.instance, keep=keep, change=None, stripped="", id_header=runtime.id_header
    )
    return kind.make(
        upstream,
        head=kind.around_head(head),
        piece_limit=TimeLimit.READ.of(settings.read_timeout or timeout, f"read_timeout of {section}"),
        tunnel_limit=TimeLimit.TUNNEL.of(_TUNNEL, "tunnel_timeout"),
        retries=None,
        retry_on=None,
        hedge=None,
        read_ahead=read_ahead,
    )
