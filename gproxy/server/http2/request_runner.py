"""The greenlets that serve requests over HTTP/2, one after the other, whatever their connections.

PERF: a new greenlet for each request would map and unmap memory for its frames, and arm an alarm anew.
"""

import logging
import math
from typing import Any, Final

import gevent
from greenlet import GreenletExit, greenlet

from gproxy.http.request import Request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime import Runtime
from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.runtime.served import add_finder
from gproxy.server.client_channel import ChannelSettings
from gproxy.server.client_pace import ClientPace
from gproxy.server.http2.client_stream import HTTP2ClientStream
from gproxy.server.http2.response_writer import HTTP2ResponseWriter

#: Greenlets kept for further requests; a browser opens a page with some hundred of them.
_PARKED: Final = 256
#: The attribute in which a greenlet has its RequestRunner.
_NOTE: Final = "gproxy_request_runner"

_log = logging.getLogger("gproxy")


class StreamHost:
    """The connection of a stream. PERF: a class, not a protocol, so that calls are native."""

    __slots__ = ()

    def serve(self, runner: "RequestRunner") -> None:
        """Serve the request of the runner's stream to its end, in the runner's greenlet."""
        raise NotImplementedError


class RequestRunner:
    """A greenlet that serves requests, with its alarm and its writer; `stream` is that of the present request."""

    __slots__ = (
        "_has_begun", "_host", "_pool", "_switch", "alarm", "greenlet", "out", "pace", "stream",
    )  # fmt: skip

    def __init__(self, pool: "RequestRunners") -> None:
        hub = gevent.get_hub()
        self._pool = pool
        self._host: StreamHost | None = None
        #: True from the turn of the loop on in which the greenlet has to serve its next stream.
        self._has_begun = False
        self.greenlet = greenlet(self._run, hub)
        self._switch = hub.switch  # PERF: found and bound once
        setattr(self.greenlet, _NOTE, self)
        self.alarm = Alarm(pool.wheel, self.greenlet)
        self.pace = ClientPace(self.alarm, body_timeout=0.0, write_timeout=0.0, min_rate=0)
        self.out = HTTP2ResponseWriter()
        self.stream: HTTP2ClientStream | None = None

    @property
    def request(self) -> Request | None:
        """The request in progress."""
        return None if self.stream is None else self.stream.request

    @property
    def sent(self) -> int:
        """The bytes sent of the present response's body."""
        return self.out.sent

    def cut(self, limit: TimeLimit) -> None:
        """Answer the request in progress with the limit's status, or break off its response."""
        request = self.request
        if request is not None:
            self.alarm.strike(limit, lambda: self.request is request)

    def begin(self, host: StreamHost, stream: HTTP2ClientStream) -> None:
        """Serve a stream of this connection, in the next turn of the loop."""
        self.stream = stream
        self._host = host
        self._pool.begin_soon(self)

    def begin_now(self) -> None:
        """Switch to the greenlet, from the loop; it serves the stream that `begin` has set."""
        self._has_begun = True
        self.greenlet.switch()

    def _run(self) -> None:
        """Serve streams until there are enough parked greenlets."""
        while self._serve():
            self.greenlet.gr_context = None  # a handler's ContextVars belong to the previous client
            if not (self._pool.park(self) and self._await_stream()):
                break
        self.alarm.close()

    def _await_stream(self) -> bool:
        """Wait for the next stream, whatever a handler of the last one has left to be thrown; False if killed."""
        while not self._has_begun:
            try:
                self._switch()
            except GreenletExit:
                if self._host is None:
                    self._pool.leave(self)
                    return False
            except BaseException as error:  # noqa: BLE001 such as a timer of any kind
                _log.debug("thrown after the end of a request: %r", error)
        return True

    def _serve(self) -> bool:
        """Serve the present stream; return whether the greenlet may serve others."""
        self._has_begun = False
        host = self._host
        assert host is not None  # noqa: S101 set by `begin`
        try:
            host.serve(self)
        except GreenletExit:
            return False
        except BaseException:  # noqa: BLE001 a bug must not end the worker
            _log.exception("a stream failed")
        finally:
            self.alarm.expires = math.inf
            self.stream = None
            self._host = None
        return True


class RequestRunners:
    """The parked runners of a process."""

    def __init__(self, runtime: Runtime) -> None:
        self.wheel = TimerWheel()
        self._parked: list[RequestRunner] = []
        #: Those that begin in the next turn of the loop. PERF: one callback for all streams of a turn.
        self._beginning: list[RequestRunner] = []
        self._run_callback, self._on_turn = gevent.get_hub().loop.run_callback, self._begin_all
        runtime.process.parked_streams = self._parked
        add_finder(_request_of)

    def take(self, settings: ChannelSettings) -> RequestRunner:
        """Return a parked runner, or a new one, with the limits of a listener."""
        parked = self._parked
        runner = parked.pop() if parked else RequestRunner(self)
        pace = runner.pace
        pace.body_timeout, pace.write_timeout, pace.min_rate = (
            settings.body_timeout, settings.write_timeout, settings.min_rate,
        )  # fmt: skip
        return runner

    def begin_soon(self, runner: RequestRunner) -> None:
        """Let a runner begin with its stream in the next turn of the loop."""
        if not self._beginning:
            self._run_callback(self._on_turn)
        self._beginning.append(runner)

    def _begin_all(self) -> None:
        beginning, self._beginning = self._beginning, []
        beginning.reverse()
        try:
            while beginning:
                beginning.pop().begin_now()
        finally:
            if beginning:  # a greenlet has failed, which the loop reports: the others begin in the next turn
                self._beginning = [*reversed(beginning), *self._beginning]
                self._run_callback(self._on_turn)

    def park(self, runner: RequestRunner) -> bool:
        """Keep a runner for another request; return False if there are enough of them."""
        if len(self._parked) >= _PARKED:
            return False
        self._parked.append(runner)
        return True

    def leave(self, runner: RequestRunner) -> None:
        """Keep a runner no longer: its greenlet ends."""
        if runner in self._parked:
            self._parked.remove(runner)


def _request_of(one: greenlet) -> Request | None:
    """Return the request that the greenlet serves."""
    runner: Any = getattr(one, _NOTE, None)
    found: Request | None = None if runner is None else runner.request
    return found
