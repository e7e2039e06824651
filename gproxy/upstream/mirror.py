"""A mirror: copies of a share of the requests go to a second upstream, whose responses are discarded.

A copy is sent after the end of its request, so it does not delay the request, and only if the whole body has been
forwarded by then. The number of concurrent copies is limited; the log counts the copies that were not sent.
"""

import logging
from collections.abc import Callable
from copy import copy
from typing import Final

from gevent.pool import Pool

from gproxy.config.types.route_action import Share
from gproxy.http.body import NO_BODY, Body
from gproxy.http.deadline import Deadline
from gproxy.http.framing import Reader
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.observe.throttle import Throttle
from gproxy.runtime.alarm import TimerWheel
from gproxy.runtime.client_watch import alarm_like
from gproxy.runtime.expired import Expired

_log = logging.getLogger("gproxy")

#: The largest body that is copied, in bytes.
MAX_BODY: Final = 64 * 1024
#: The limit of concurrent copies of one route.
MOST: Final = 100
#: The timers of copies whose requests have none.
_wheel: Final = TimerWheel()


class Mirror:
    """An action that returns the response of `first`, and sends a share of the requests to `second` afterwards."""

    def __init__(
        self, first: Next, second: Next, *, share: Share, timeout: float, route: str, throttle: Throttle
    ) -> None:
        self.first = first
        self._second = second
        self._share = share.millionths
        self._timeout = timeout
        self._route = route
        self._turn = 0
        self._copies = Pool(MOST)
        self._throttle = throttle

    def __call__(self, request: Request) -> Response:
        if request.upgrade is None and self._is_chosen() and (body := _recorded(request.body)) is not None:
            request.at_end(self._sender(request, body))
        return self.first(request)

    def close(self) -> None:
        """Cancel the copies that are being sent."""
        self._copies.kill()

    def _is_chosen(self) -> bool:
        self._turn += self._share
        if self._turn < Share.WHOLE:
            return False
        self._turn -= Share.WHOLE
        return True

    def _sender(self, request: Request, body: Callable[[], Body | None]) -> Callable[[], None]:
        """Copy the request now, before handlers change it, and return the function that sends the copy."""
        twin = copy(request)
        twin.headers = request.headers.copy()
        twin.leave_client()
        twin.context = {}

        def send() -> None:
            whole = body()
            if whole is not None:
                twin.body = whole
                self._send(twin)

        return send

    def _send(self, twin: Request) -> None:
        if self._copies.full():
            text = f"route {self._route}: request not mirrored"
            self._throttle.warn(text, "%s: the limit of %d active copies is reached", text, MOST)
        else:
            self._copies.spawn(self._exchange, twin)

    def _exchange(self, twin: Request) -> None:
        """Send the copy, and read its response, within a timeout of its own; the forwarder logs failures."""
        alarm = alarm_like(twin.deadline, _wheel)
        twin.deadline = Deadline(alarm, twin.deadline.clock)
        twin.deadline.set(twin.deadline.clock() + self._timeout)
        try:
            response = self._second(twin)
            for _ in () if isinstance(response.body, bytes) else response.body:
                pass
        except (Exception, Expired) as error:  # noqa: BLE001 a copy has no effect on its request
            _log.debug("%s: mirrored copy failed: %s", twin.id, error)
        finally:
            alarm.close()
            twin.end()


class _RecordingReader:
    """A body's reader that records the pieces it reads, up to the largest size."""

    def __init__(self, reader: Reader, at_hand: bytes) -> None:
        self._reader = reader
        self.recorded: list[bytes] = [at_hand]
        self.size = len(at_hand)
        self.done = reader.done
        self.trailers = reader.trailers

    def next_piece(self) -> bytes:
        data = self._reader.next_piece()
        self.done, self.trailers = self._reader.done, self._reader.trailers
        self.size += len(data)
        if self.size <= MAX_BODY:
            self.recorded.append(data)
        else:
            self.recorded.clear()
        return data


def _recorded(body: Body) -> Callable[[], Body | None] | None:
    """Record the body. Return a function that returns its copy once it was read; None if it cannot be copied."""
    if body is NO_BODY:
        return lambda: NO_BODY
    if (body.length or 0) > MAX_BODY:
        return None
    if body.replayable or body.reader is None:
        data = body.buffer(MAX_BODY)
        return lambda: Body(data)
    if body.received != len(body.at_hand):
        return None  # a handler has read a part that is not buffered
    reader = body.reader = _RecordingReader(body.reader, body.at_hand)
    return lambda: Body(b"".join(reader.recorded)) if reader.done and reader.size <= MAX_BODY else None
