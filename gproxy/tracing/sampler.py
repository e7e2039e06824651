"""The decision for each request whether its spans are recorded; it also gives the request its place in a trace."""

from collections.abc import Callable, Mapping
from random import Random
from time import monotonic
from typing import Final

from gproxy.config.sections.trace import TraceSettings
from gproxy.config.types import Rate
from gproxy.http.request import Request
from gproxy.http.trace import TraceIDs
from gproxy.http.trust import Trust
from gproxy.tracing.request_trace import RequestTrace, TraceOutput
from gproxy.tracing.trace_context import RandomIDs, TraceParent, line_of, parse

_PARENT: Final = "traceparent"
_STATE: Final = "tracestate"


class RateCap:
    """A bound on events: at most `rate.limit` within each window, which begins with the first event after the last."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._ends = 0.0
        self._left = 0

    def take(self) -> bool:
        """Count an event, and return True; return False if the window has no room for it."""
        now = self._clock()
        if now >= self._ends:
            self._ends, self._left = now + self._rate.window, self._rate.limit
        if not self._left:
            return False
        self._left -= 1
        return True


class RouteShares:
    """The sampled shares of the routes: `own` by name, else `usual`, also for requests without a route.

    A share is decided by the low half of the trace id, as samplers of OpenTelemetry do.
    """

    def __init__(self, usual: float, own: Mapping[str, float]) -> None:
        self._usual = _bound(usual)
        self._own = {name: _bound(share) for name, share in own.items()}

    def bound(self, request: Request) -> str:
        """Return the text that the low half of a sampled trace id is below, digit by digit."""
        route = request.route
        return self._own.get(route.name, self._usual) if self._own and route is not None else self._usual


def _bound(share: float) -> str:
    return f"{int(share * (1 << 64)):016x}" if share < 1 else "g"  # beyond all digits


class TraceSampler:
    """The rule of `[trace]`: a share of the requests is sampled, or what a trusted client has decided.

    Each request gets its ids, and its backends a traceparent. A malformed or untrusted one starts a new trace, without
    the client's tracestate, which belongs to the other trace.
    """

    def __init__(
        self,
        settings: TraceSettings,
        trust: Trust,
        shares: RouteShares,
        output: TraceOutput,
        *,
        cap: RateCap | None = None,
        random: Random | None = None,
    ) -> None:
        self._parent = settings.parent
        self._trust = trust
        self._shares = shares
        self._output = output
        self._cap = cap or RateCap(settings.max_rate)
        self._ids = RandomIDs(random)

    def wants(self, request: Request) -> bool:
        """Decide, give the request its trace, and return whether it is sampled."""
        text = request.headers.lookup(_PARENT)
        came = None if text is None else parse(text)
        if came is not None and self._is_believed(request):
            return self._begin(request, (came.trace_id, self._ids.take(16), came.span_id), wanted=came.sampled)
        if request.headers.lookup(_STATE) is not None:
            request.headers.discard(_STATE)
        digits = self._ids.take(48)  # PERF: both ids at once
        wanted = digits[16:32] < self._shares.bound(request)
        return self._begin(request, (digits[:32], digits[32:], ""), wanted=wanted, link=came)

    def _is_believed(self, request: Request) -> bool:
        if self._parent == "trusted":
            return self._trust.is_trusted(request.received.peer)
        return self._parent == "always"

    def _begin(self, request: Request, ids: TraceIDs, *, wanted: bool, link: TraceParent | None = None) -> bool:
        sampled = wanted and self._cap.take()
        exchange = request.exchange
        exchange.trace_ids = ids
        if sampled:
            linked = None if link is None else (link.trace_id, link.span_id)
            exchange.trace = RequestTrace(ids, self._output, linked)
        request.headers.put_line(_PARENT, line_of(ids[0], ids[1], sampled=sampled))
        return sampled
