"""A copy of a share of the requests for a second upstream, whose answers nobody waits for.

A copy leaves once its request is over, so it neither delays nor disturbs it, and only if its whole body has passed by
then. So many are under way at most; what would be more is not sent, and counted in the log.
"""

import logging
from collections.abc import Callable
from copy import copy
from time import monotonic
from typing import Final

import gevent
from gevent.pool import Pool

from gproxy.config.types.route_action import Share
from gproxy.http.body import NO_BODY, Body
from gproxy.http.framing import Reader
from gproxy.http.handler import Next
from gproxy.http.request import Deadline, Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired

_log = logging.getLogger("gproxy")

#: A request with a larger body is not copied, in bytes.
MAX_BODY: Final = 64 * 1024
#: Copies under way at most, for each route.
MOST: Final = 100
#: How often the log says what was left out, in seconds.
_PERIOD: Final = 10.0


class Mirror:
    """Asks `first`, and afterwards `second` too, for a share of the requests."""

    def __init__(self, first: Next, second: Next, *, share: Share, timeout: float, route: str) -> None:
        self.first = first
        self._second = second
        self._share = share.millionths
        self._timeout = timeout
        self._route = route
        self._turn = 0
        self._copies = Pool(MOST)
        self._left_out = 0
        self._silent_until = 0.0

    def __call__(self, request: Request) -> Response:
        if request.upgrade is None and self._is_chosen() and (body := _kept(request.body)) is not None:
            request.at_end(self._later(request, body))
        return self.first(request)

    def close(self) -> None:
        """Give up what is under way."""
        self._copies.kill()

    def _is_chosen(self) -> bool:
        self._turn += self._share
        if self._turn < Share.WHOLE:
            return False
        self._turn -= Share.WHOLE
        return True

    def _later(self, request: Request, body: Callable[[], Body | None]) -> Callable[[], None]:
        """The request as it is now: on the way back handlers may change it."""
        twin = copy(request)
        twin.headers = request.headers.copy()
        twin.client_stream = twin.upgrade = None
        twin.context = {}

        def send() -> None:
            whole = body()
            if whole is not None:
                twin.body = whole
                self._send(twin)

        return send

    def _send(self, twin: Request) -> None:
        if self._copies.full():
            self._leave_out()
        else:
            self._copies.spawn(self._ask, twin)

    def _leave_out(self) -> None:
        self._left_out += 1
        if monotonic() >= self._silent_until:
            _log.warning("route %s: %d requests were not mirrored: %d are under way", self._route, self._left_out, MOST)
            self._left_out, self._silent_until = 0, monotonic() + _PERIOD

    def _ask(self, twin: Request) -> None:
        """Under a timeout of its own; what goes wrong with a backend is in the log by then, and nobody else's."""
        twin.deadline = Deadline()
        twin.deadline.set(monotonic() + self._timeout)
        try:
            with gevent.Timeout(self._timeout, Expired(TimeLimit.DEADLINE)):
                response = self._second(twin)
                for _ in () if isinstance(response.body, bytes) else response.body:
                    pass
        except (Exception, Expired) as error:
            _log.debug("%s: mirrored in vain: %s", twin.id, error)
        finally:
            twin.end()


class _Keeping:
    """A body's reader that keeps what passes, while that is not too much."""

    def __init__(self, reader: Reader, at_hand: bytes) -> None:
        self._reader = reader
        self.kept: list[bytes] = [at_hand]
        self.size = len(at_hand)
        self.done = reader.done
        self.trailers = reader.trailers

    def next_piece(self) -> bytes:
        data = self._reader.next_piece()
        self.done, self.trailers = self._reader.done, self._reader.trailers
        self.size += len(data)
        if self.size <= MAX_BODY:
            self.kept.append(data)
        else:
            self.kept.clear()
        return data


def _kept(body: Body) -> Callable[[], Body | None] | None:
    """What will give a copy of the body once all of it has passed; None if there will be no copy."""
    if body is NO_BODY:
        return lambda: NO_BODY
    if (body.length or 0) > MAX_BODY:
        return None
    if body.replayable or body._reader is None:
        data = body.buffer(MAX_BODY)
        return lambda: Body(data)
    if body.received != len(body.at_hand):
        return None  # somebody has read it, and nobody has kept it
    keeping = body._reader = _Keeping(body._reader, body.at_hand)
    return lambda: Body(b"".join(keeping.kept)) if keeping.done and keeping.size <= MAX_BODY else None
