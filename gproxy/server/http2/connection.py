"""HTTP/2 with one client: events of the session become requests, each in a greenlet of its own.

The connection's greenlet reads, and never waits for a stream. Its alarm has whatever is due first: the end of an idle
connection, of a head that does not come to its end, of draining, or the next PING of a silent client.
"""

import logging
import math
from collections.abc import Sequence
from time import monotonic
from typing import Final

import gevent
from greenlet import getcurrent, greenlet

from gproxy.http.errors import NO_LINE, BadMessage, HTTPError
from gproxy.http.h2.events import (
    Event,
    GoAwayReceived,
    HeadReceived,
    PingAcknowledged,
    SessionFailed,
    StreamMalformed,
    StreamRejected,
    StreamReset,
)
from gproxy.http.h2.fields import RequestHead
from gproxy.http.h2.frames import ENHANCE_YOUR_CALM, MAX_STREAM_ID, NO_ERROR
from gproxy.http.h2.sender import SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.h2.stream import Stream
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.runtime.http2.transport import HTTP2Transport
from gproxy.server.connection import LAST_REQUEST_SECONDS, ClientConnection
from gproxy.server.context import ActiveRequest
from gproxy.server.dispatch import dispatch
from gproxy.server.http2.client_stream import HTTP2ClientStream
from gproxy.server.http2.figures import HTTP2Figures
from gproxy.server.http2.request_runner import RequestRunner, RequestRunners, StreamHost
from gproxy.server.http2.requests import StreamRequests
from gproxy.server.http2.response_writer import HTTP2ResponseWriter

#: If streams are open and nothing was received for so many seconds, the client gets a PING.
_SILENCE: Final = 60.0
#: Seconds for its answer; without one the connection is lost.
_PING_TIMEOUT: Final = 15.0
#: While the process has no room for uploads, a connection looks after so many seconds whether there is some again.
_LOOK: Final = 0.5
#: A client that has waited for so many seconds is no attacker if it resets the stream. Most requests of a proxy or a
#: gRPC client may end so while a backend is slow, and the connection has those of others too. Deadlines of calls may be
#: as short; a client that has its requests answered can make as many.
_PATIENT: Final = 0.05
#: What our PINGs carry: to keep the connection, and behind the first GOAWAY.
_KEEPALIVE: Final = b"gp-alive"
_DRAINING: Final = b"gp-drain"
#: Bounds of reading on after an error, so that the client can read GOAWAY.
_DISCARDED_BYTES: Final = 1024 * 1024
_DISCARDING_SECONDS: Final = 1.0

_log = logging.getLogger("gproxy")

_IDLE: Final = TimeLimit.IDLE
#: An alarm expires by less than so many seconds too early.
_SLACK: Final = 0.002


class HTTP2ClientConnection(StreamHost):
    """An HTTP/2 connection; a Multiplexed, to which the connection that was accepted hands itself over."""

    __slots__ = (
        "_active", "_alarm", "_channel", "_connection", "_context", "_delayed", "_figures", "_gateway", "_hsts",
        "_is_ending", "_is_gone", "_is_parting", "_last_read", "_leaves_at", "_ping_sent", "_quiet_since", "_requests",
        "_resets", "_runners", "_session", "_taken", "_transport", "_waiter",
    )  # fmt: skip

    def __init__(self, connection: ClientConnection) -> None:
        context = connection.context
        settings = context.settings
        self._connection = connection
        self._context = context
        self._gateway = context.gateway
        self._hsts = connection.hsts
        self._alarm = connection.alarm
        self._channel = connection.channel
        rules = context.fields.rules
        options = SessionOptions(
            max_streams=settings.max_streams,
            max_head=settings.max_head,
            max_fields=settings.max_fields,
        )
        self._session = Session(SERVER, options, rules.names, buffers=context.channels.buffers)
        self._transport = HTTP2Transport(connection.channel, self._session)
        self._requests = StreamRequests(connection)
        self._figures: HTTP2Figures = context.runtime.single(HTTP2Figures)
        #: The resets of this side that are counted already.
        self._resets = 0
        self._runners: RequestRunners = context.runtime.single(RequestRunners)
        #: The runners of the streams whose greenlets have not ended, by the ids.
        self._active: dict[int, RequestRunner] = {}
        #: The runners of the streams that wait for the greenlets of reset ones, with these streams, by the ids.
        self._delayed: dict[int, tuple[RequestRunner, HTTP2ClientStream]] = {}
        #: When bytes came last, and when the last stream ended or the connection began.
        self._last_read = self._quiet_since = monotonic()
        #: When a PING was sent that has no answer yet; 0 without one. And what the client had taken of all bytes then.
        self._ping_sent = 0.0
        self._taken = 0
        #: When the second GOAWAY is due, after the first; infinite before that, and after it.
        self._leaves_at = math.inf
        #: True once GOAWAY has named the last stream: the connection ends with those under way.
        self._is_ending = False
        #: True once nothing more is read, and if the client is to read what was sent last.
        self._is_gone = self._is_parting = False
        #: The connection's greenlet, while it waits for the last stream after the end of the connection.
        self._waiter: greenlet | None = None

    def __repr__(self) -> str:
        return f"HTTP/2, {len(self._active)} active"

    @property
    def active_requests(self) -> Sequence[ActiveRequest]:
        """The streams with a request in progress."""
        return [runner for runner in list(self._active.values()) if runner.request is not None]

    @property
    def is_tunnel(self) -> bool:
        """True if there are requests in progress, and all are tunnels."""
        requests = [runner.request for runner in list(self._active.values())]
        return bool(requests) and all(one is not None and one.exchange.is_tunnel for one in requests)

    def run(self) -> None:
        """Serve the connection to its end, and wait for the greenlets of its streams."""
        self._session.start()
        self._transport.flush_soon()
        self._figures.connections += 1
        try:
            if self._context.runtime.draining:
                self.linger(LAST_REQUEST_SECONDS)
            while not self._is_gone:
                self._read()
            if self._is_parting:
                self._part()
        finally:
            self._figures.connections -= 1
            self._lose_streams()
            self._count_resets()
            self._connection.multiplexed = None  # or both would wait for the collector of cycles, with all they hold

    def refuse(self, error: HTTPError) -> None:
        """Tell the client that it is one too many, in place of `run`: no request was served, so it may ask again."""
        self._requests.record(error, NO_LINE)
        self._session.start()
        self._session.go_away(0, NO_ERROR)
        try:
            self._part()
        finally:
            self._transport.lose()

    def _read(self) -> None:
        """Read once, and act on what has come; or on what the alarm says."""
        if self._session.withheld:
            self._session.release_withheld()
            self._transport.flush_soon()
        self._alarm.set(self._due(), _IDLE)
        try:
            events = self._transport.read()
        except Expired:
            self._on_time(monotonic() + _SLACK)
            return
        self._alarm.expires = math.inf
        if events is None:
            self._is_gone = True
            return
        self._last_read = monotonic()
        for event in events:
            self._on_event(event)
        self._count_resets()

    def _count_resets(self) -> None:
        sent = self._session.resets_sent
        if sent != self._resets:
            self._figures.gateway_resets += sent - self._resets
            self._resets = sent

    def _due(self) -> float:
        """Return when the alarm has to expire next."""
        due = min(self._leaves_at, self._block_ends())
        if self._session.withheld:
            due = min(due, monotonic() + _LOOK)
        if self._ping_sent:
            return min(due, self._ping_sent + _PING_TIMEOUT)
        if self._active:
            return min(due, self._last_read + _SILENCE)
        return 0.0 if self._is_ending else min(due, self._quiet_since + self._idle_limit())

    def _block_ends(self) -> float:
        """Return when the head that has begun must be complete; infinity between heads."""
        began = self._session.block_since
        return began + self._context.settings.head_timeout if began else math.inf

    def _idle_limit(self) -> float:
        settings = self._context.settings
        return settings.idle_timeout if self._session.has_settings else settings.head_timeout

    def _on_time(self, now: float) -> None:
        """Act on what is due."""
        if self._leaves_at <= now:
            self._accept_no_more()
        elif self._block_ends() <= now:
            self._close(ENHANCE_YOUR_CALM)
        elif self._ping_sent and self._ping_sent + _PING_TIMEOUT <= now:
            self._await_ping(now)
        elif self._active:
            if not self._ping_sent and self._last_read + _SILENCE <= now:
                self._ping_sent = now
                self._taken = self._transport.taken_so_far()
                self._session.ping(_KEEPALIVE)
                self._transport.flush_soon()
        elif self._is_ending:
            self._is_gone = self._is_parting = True
        elif self._quiet_since + self._idle_limit() <= now:
            self._close(NO_ERROR)

    def _await_ping(self, now: float) -> None:
        """Give up a client that does not answer, unless it still takes what was sent before the PING."""
        taken = self._transport.taken_so_far()
        self._is_gone = taken <= self._taken
        self._ping_sent, self._taken = now, taken

    def _close(self, code: int) -> None:
        """End the connection with GOAWAY."""
        self._session.go_away(self._session.accepted_id, code)
        self._is_gone = self._is_parting = True

    def _on_event(self, event: Event) -> None:
        stream = event.stream
        if stream is not None:
            if isinstance(event, HeadReceived) and isinstance(event.head, RequestHead):
                self._start(stream, event.head, None, ended=event.ended)
            elif isinstance(stream.owner, HTTP2ClientStream):
                client = stream.owner
                client.on_event(event)
                if client.is_closed:
                    self._on_end(client, event)
            elif isinstance(event, StreamRejected):
                self._start(stream, None, event.error, ended=event.ended)
            elif isinstance(event, StreamMalformed):
                self._requests.record(BadMessage(event.detail), event.line)
        else:
            self._on_connection_event(event)

    def _on_end(self, client: HTTP2ClientStream, event: Event) -> None:
        """Note that a stream was reset, or became malformed; one that waits for its greenlet waits no longer."""
        if isinstance(event, StreamReset):
            self._figures.client_resets += 1
            if not client.stream.has_sent_head and self._last_read - client.started >= _PATIENT:
                self._session.answered()  # gives the token back
        if client.stream.id in self._delayed:
            self._begin(*self._delayed.pop(client.stream.id))

    def _on_connection_event(self, event: Event) -> None:
        if isinstance(event, PingAcknowledged):
            self._ping_sent = 0.0
            if event.data == _DRAINING:
                self._accept_no_more()
        elif isinstance(event, GoAwayReceived):
            self._accept_no_more()
        elif isinstance(event, SessionFailed):
            self._on_failure(event)

    def _on_failure(self, event: SessionFailed) -> None:
        """End the connection after a fault of the client: GOAWAY is in the output."""
        self._is_gone = self._is_parting = True
        peer = self._connection.peer
        if event.code == ENHANCE_YOUR_CALM:
            self._figures.floods += 1
            self._context.runtime.throttle.warn(
                "HTTP/2 connections closed", "%s: HTTP/2 connection closed: %s", peer, event.detail
            )
        else:
            _log.debug("%s: HTTP/2 connection closed: %s", peer, event.detail)

    def _start(self, stream: Stream, head: RequestHead | None, error: BadMessage | None, *, ended: bool) -> None:
        """Serve a stream in a greenlet of its own, as soon as there are few enough of them."""
        settings = self._context.channels
        runner = self._runners.take(settings)
        client = HTTP2ClientStream(
            self._transport, stream, runner.pace, settings, head, error, self._last_read, ended=ended
        )
        if len(self._active) < self._session.options.max_streams:
            self._begin(runner, client)
        else:
            self._delayed[stream.id] = runner, client

    def _begin(self, runner: RequestRunner, client: HTTP2ClientStream) -> None:
        self._active[client.stream.id] = runner
        self._figures.streams += 1
        runner.begin(self, client)

    def serve(self, runner: RequestRunner) -> None:
        client, out = runner.stream, runner.out
        assert client is not None  # noqa: S101 set by `begin`
        head = client.head
        out.begin(client, self._hsts, is_connect=head is not None and bool(head.protocol))
        try:
            if head is None or client.fault:
                self._requests.reject(out, client, client.error or HTTPError(400, client.fault))
            else:
                self._exchange(out, client, head)
        finally:
            try:
                out.close()
            finally:  # a timer of the handler may throw while that waits
                self._forget(client)

    def _exchange(self, out: HTTP2ResponseWriter, client: HTTP2ClientStream, head: RequestHead) -> None:
        try:
            request, is_last = self._requests.read(client, head)
        except BadMessage as error:
            self._requests.reject(out, client, error)
            return
        if is_last:
            self._accept_no_more()
        if client.is_closed:
            self._requests.give_up(out, client, request)
        else:
            self._requests.begin(out, client, request)
            dispatch(request, client.started, out, self._gateway, self._context.runtime)

    def _forget(self, client: HTTP2ClientStream) -> None:
        """Remove a stream whose greenlet ends."""
        del self._active[client.stream.id]
        self._figures.streams -= 1
        if self._delayed and len(self._active) < self._session.options.max_streams:
            self._begin(*self._delayed.pop(next(iter(self._delayed))))
        if not self._active:
            self._quiet_since = now = monotonic()
            if self._waiter is not None:
                gevent.get_hub().loop.run_callback(self._wake)
            elif not self._is_gone:
                due = now if self._is_ending else now + self._idle_limit()
                if due < self._alarm.expires:  # what is due before that, such as the end of a head, stays so
                    self._alarm.set(due, _IDLE)

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.switch()

    def linger(self, seconds: float) -> None:
        """Tell the client to open no more streams; after its answer, or so many seconds, accept no more."""
        if self._leaves_at < math.inf or self._is_ending or self._is_gone:
            return  # once it is gone, the alarm must not end the wait for the last greenlets
        self._leaves_at = monotonic() + seconds
        self._session.go_away(MAX_STREAM_ID, NO_ERROR)
        self._session.ping(_DRAINING)
        self._transport.flush_soon()
        if self._leaves_at < self._alarm.expires:
            self._alarm.set(self._leaves_at, _IDLE)

    def _accept_no_more(self) -> None:
        """Accept no more streams; the connection ends with the last one."""
        if not self._is_ending:
            self._leaves_at = math.inf
            self._is_ending = True
            self._session.go_away(self._session.accepted_id, NO_ERROR)
            self._transport.flush_soon()

    def cut(self, limit: TimeLimit) -> None:
        """End the connection with all its requests."""
        self._accept_no_more()
        for runner in list(self._active.values()):
            runner.cut(limit)
        if not self._active:
            self._alarm.set(monotonic(), _IDLE)

    def _part(self) -> None:
        """Send what is left, and let the client read it: to close with unread bytes would reset the connection."""
        self._alarm.set(monotonic() + self._context.settings.write_timeout, TimeLimit.WRITE)
        self._transport.flush_all()
        self._channel.shut_writing()
        self._channel.discard(_DISCARDED_BYTES, _DISCARDING_SECONDS)

    def _lose_streams(self) -> None:
        """End what is still under way, and wait for its greenlets."""
        self._alarm.expires = math.inf
        self._is_gone = True
        self._transport.lose()
        while self._delayed:
            self._begin(*self._delayed.popitem()[1])
        for runner in list(self._active.values()):
            if runner.stream is not None:
                runner.stream.end()
                runner.stream.notify()
        while self._active:
            self._waiter = getcurrent()
            try:
                gevent.get_hub().switch()
            finally:
                self._waiter = None
