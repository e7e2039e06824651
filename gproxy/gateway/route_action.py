"""The action of a route: forward to an upstream, split between several, mirror, redirect, or a fixed response."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.patterns import CapturedPath, Rewrite
from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import PLAIN, ErrorResponses
from gproxy.gateway.redirect import Redirect
from gproxy.gateway.restore_prefix import RestorePrefix
from gproxy.handlers.respond import Respond
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.rewrite import UNESCAPED, confined, escaped, path_match, reprefixed, tidied
from gproxy.http.set_cookie import SetCookie
from gproxy.http.time_limit import TimeLimit
from gproxy.observe.throttle import Throttle
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.request_buffer import RequestBuffer
from gproxy.upstream.forwarder.request_head import RequestHeadWriter
from gproxy.upstream.forwarder.request_head import composer as compose_for
from gproxy.upstream.mirror import Mirror
from gproxy.upstream.split import Split, StickySplit
from gproxy.upstream.upstream import Upstream


def _unchanged(step: Next) -> Next:
    return step


def _unchanged_head(head: RequestHeadWriter) -> RequestHeadWriter:
    return head


@dataclass(frozen=True)
class ForwardKind:
    """A kind of forward action: its class, and what surrounds the heads, the queue of the upstream, and the rest."""

    make: type[Forward] = Forward
    around_head: Callable[[RequestHeadWriter], RequestHeadWriter] = _unchanged_head
    around_queue: Callable[[Next], Next] = _unchanged
    inside_queue: Callable[[Next], Next] = _unchanged


PLAIN_FORWARD: Final = ForwardKind()


def destination(
    route: RouteSettings,
    upstreams: Mapping[str, Upstream],
    timeout: float,
    throttle: Throttle,
    errors: ErrorResponses = PLAIN,
    kind: ForwardKind = PLAIN_FORWARD,
) -> Next:
    """Return the action: the last step of the route's chain. Forwards are of this kind."""
    if route.respond is not None:
        return _fixed(route.respond, route)
    if route.redirect is not None:
        return Redirect(route.redirect, route.status, path_change(route), _patterns(route))
    shares = [(_forward(route, upstreams[share.name], timeout, errors, kind), share.weight) for share in route.upstream]
    forward: Next = shares[0][0] if len(shares) == 1 else _split(route, shares, upstreams)
    if not route.mirror:
        return forward
    copies = _forward(route, upstreams[route.mirror], timeout, PLAIN, PLAIN_FORWARD)
    return Mirror(forward, copies, share=route.mirror_share, timeout=timeout, route=route.name, throttle=throttle)


def _split(route: RouteSettings, shares: Sequence[tuple[Next, int]], upstreams: Mapping[str, Upstream]) -> Split:
    key = route.split_by
    if key is None or key.kind != "sticky":
        return Split(shares, key)
    random = upstreams[route.upstream[0].name].runtime.random
    return StickySplit(shares, SetCookie(key.name or f"split_{route.name}"), random)


def composer(route: RouteSettings, upstream: UpstreamSettings, instance: str, id_header: str) -> RequestHeadWriter:
    """Return the writer of request heads from this route to that upstream.

    `instance` is the gateway's id in Via, and `id_header` the name of the header of requests' ids.
    """
    return compose_for(
        upstream,
        instance=instance,
        keep=route.keep,
        change=path_change(route),
        stripped=stripped(route),
        id_header=id_header,
    )


def app_head(route: RouteSettings, instance: str, id_header: str) -> RequestHeadWriter:
    """Return the writer of the fields that a backend of the client's own host would get; for an app in its place."""
    return RequestHeadWriter(
        host="client",
        instance=instance,
        keep=route.keep,
        change=path_change(route),
        stripped=stripped(route),
        id_header=id_header,
    )


def path_change(route: RouteSettings) -> Callable[[str], str] | None:
    """Return the function that rewrites paths on this route; None if paths stay as they are."""
    if isinstance(route.rewrite, CapturedPath):
        return partial(_filled, route.rewrite, _patterns(route))
    if route.rewrite is not None:
        return partial(_rewritten, route.rewrite)
    strip, add = route.path[0].prefix.rstrip("/") if route.strip_prefix else "", route.add_prefix.rstrip("/")
    return partial(reprefixed, strip=strip, add=add) if strip or add else None


def _patterns(route: RouteSettings) -> list[re.Pattern[str]]:
    return [path.expression for path in route.path if path.expression is not None]


def _rewritten(rewrite: Rewrite, path: str) -> str:
    """Rewrite a path, matched without dot segments and doubled slashes. Return a path that does not match unchanged."""
    new = rewrite.apply(tidied(path))
    return path if new is None else confined(tidied(new), rewrite.beginning)


def _filled(rewrite: CapturedPath, patterns: Sequence[re.Pattern[str]], path: str) -> str:
    """Return the new path with groups of the pattern that matches. Return a path that does not match unchanged.

    Raises HTTPError 400, see `path_match`.
    """
    match = path_match(path, patterns)
    if match is None:
        return path
    return confined(tidied(rewrite.fill(match, escaped)), rewrite.beginning)


def _forward(
    route: RouteSettings, upstream: Upstream, timeout: float, errors: ErrorResponses, kind: ForwardKind
) -> Next:
    head = composer(route, upstream.settings, upstream.runtime.instance, upstream.runtime.id_header)
    tunnel = TimeLimit.TUNNEL.of(route.tunnel_timeout, f"tunnel_timeout of [route:{route.name}]")
    read = TimeLimit.READ.of(upstream.settings.read_timeout or timeout, f"read_timeout of [upstream:{upstream.name}]")
    forward = kind.make(
        upstream,
        head=kind.around_head(head),
        piece_limit=tunnel if route.stream else read,
        tunnel_limit=tunnel,
        retries=route.retries,
        retry_on=route.retry_on,
        hedge=route.hedge,
        read_ahead=upstream.settings.buffer_response if route.buffer_response is None else route.buffer_response,
    )
    inside = kind.inside_queue(errors.around(_restoring(forward, upstream, route)))
    guarded = _collecting(kind.around_queue(upstream.guard(inside)), route, upstream)
    return compose(upstream.handlers, guarded, errors) if upstream.handlers else guarded


def _restoring(forward: Next, upstream: Upstream, route: RouteSettings) -> Next:
    """Return the action with the stripped prefix in its responses; the action itself if there is none to restore."""
    strip = stripped(route)
    if not strip or not route.restore_prefix:
        return forward
    return RestorePrefix(forward, upstream, strip=strip, add=route.add_prefix.rstrip("/"))


def stripped(route: RouteSettings) -> str:
    """Return the prefix that the route removes, as it stands in a URL; empty for none."""
    return quote(route.path[0].text.rstrip("/"), safe=UNESCAPED) if route.strip_prefix else ""


def _collecting(following: Next, route: RouteSettings, upstream: Upstream) -> Next:
    """Return the step behind one that collects request bodies; the step itself if the route collects none."""
    settings = upstream.settings
    size = settings.buffer_request if route.buffer_request is None else route.buffer_request
    if not size or route.stream:
        return following
    return RequestBuffer(following, upstream.runtime, size=size, spool=settings.retry.spool)


def _fixed(status: int, route: RouteSettings) -> Next:
    """Return a fixed response; an error status without a body gets the usual error response."""
    if status >= 400 and not route.body:
        return partial(_reject, status)
    handler = Respond(status=status, body=route.body, content_type=route.content_type)
    return lambda request: handler(request, _no_next)


def _reject(status: int, _: Request) -> Response:
    raise HTTPError(status, reason="fixed")


def _no_next(_: Request) -> Response:
    raise AssertionError("a fixed response has no next step")
