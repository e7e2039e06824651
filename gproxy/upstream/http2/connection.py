"""One HTTP/2 connection to a backend, which many requests share."""

import math
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event as Settled

from gproxy.http.body import NO_BODY, Body
from gproxy.http.buffers import NO_BUFFERS, Buffers
from gproxy.http.errors import HTTPError
from gproxy.http.forwarding import WEBSOCKET
from gproxy.http.h2.events import Event, GoAwayReceived, SessionFailed, SettingsReceived, StreamReset
from gproxy.http.h2.fields import RESPONSE_NAMES
from gproxy.http.h2.frames import CANCEL, NO_ERROR, error_name
from gproxy.http.h2.hpack_decoder import FIELD_OVERHEAD
from gproxy.http.h2.sender import CLIENT
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.h2.stream import Stream
from gproxy.http.headers import Headers
from gproxy.runtime.http2.transport import HTTP2Transport
from gproxy.upstream.errors import ExcludedStreamError
from gproxy.upstream.http1.channel import BackendChannel
from gproxy.upstream.http2.response_stream import ResponseStream

#: Streams on one connection, whatever more the backend allows: a lost connection fails all of them.
MOST_STREAMS: Final = 100
#: A backend that has begun no more than so many requests before its GOAWAY, and excluded others, may do so again: the
#: next connections take so many requests one at a time.
SHORT_LIVED: Final = 10
#: After so many seconds of silence the backend has to answer a PING before a connection is used. Firewalls and load
#: balancers forget connections without a word, the shortest-lived after a minute.
SILENT: Final = 30.0
#: Streams that have received nothing for so many seconds make the gateway ask whether the backend is there at all.
WAITING: Final = 10.0
#: Seconds for the answer to a PING.
ANSWER: Final = 5.0
#: Seconds until the next PING while the backend sends nothing for its requests. Servers of gRPC count PINGs that come
#: within five minutes of each other, and end the connection, with all its calls, at the fourth.
BETWEEN: Final = 310.0
_PING: Final = b"gproxy\0\0"
#: Resets of ours after which a connection takes no further request, and those of them that are forgiven each second.
#: Backends end a connection with a few hundred of them at once, with the requests of all clients (CVE-2023-44487).
MOST_RESETS: Final = 100
FORGIVEN: Final = 10.0

#: Seconds for the end of a stream whose response is complete without it, unless another request needs its place.
END_WAIT: Final = 1.0

#: A stream's window for receiving bounds the memory of a slow client, in bytes. The connection's window returns on
#: receipt, so it only has to cover the way there and back, and no client stalls another one.
WINDOW: Final = 256 * 1024
_CONNECTION_WINDOW: Final = 8 * 1024 * 1024
#: The largest response head, in bytes, as in HTTP/1.1; the number of fields is bounded by that.
_MAX_HEAD: Final = 64 * 1024
_MAX_FIELDS: Final = 2048
#: A limit of the backend for heads that no request reaches is not looked at, in bytes.
_AMPLE: Final = 1024 * 1024
#: The size of the pseudo-fields without their values, of which the scheme is one.
_PSEUDO_FIELDS: Final = len(":method:scheme:authority:pathhttps") + 4 * FIELD_OVERHEAD


class HTTP2Connection:
    """A connection and its greenlet, which reads. `connection` is urllib3's, which closes the socket.

    `changed` gets the connection when there may be room for further requests, and at the end. One that `is_cautious`
    takes its first requests one at a time, and one more at a time with each second.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 what it uses of urllib3's connections has no types
        channel: BackendChannel,
        changed: "Callable[[HTTP2Connection], None]",
        *,
        is_tls: bool,
        is_cautious: bool = False,
        never_indexed: frozenset[str] = frozenset(),
        buffers: Buffers = NO_BUFFERS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connection = connection
        self._changed = changed
        self._clock = clock
        self.scheme = "https" if is_tls else "http"
        self.session = Session(CLIENT, _options(never_indexed), RESPONSE_NAMES, clock, buffers)
        self.transport = HTTP2Transport(channel, self.session)
        #: Requests that use it, or are about to.
        self.leases = 0
        #: How many further requests it takes slowly.
        self._cautious = SHORT_LIVED if is_cautious else 0
        #: True once it takes no further request, though others may be under way.
        self.is_retired = False
        #: True once the backend has ended it after a few requests, and others were, or might have been, in vain.
        self.is_short_lived = False
        #: Set once the backend has announced its limits, before which no request is sent, or once it has ended.
        self.settled = Settled()
        #: True once it has ended, and why.
        self.is_closed = False
        self.why = ""
        #: When it was opened, when its last request ended, and when the backend has last sent something.
        self.born = self.idle_since = self.heard_at = clock()
        #: When the PING was sent whose answer is due; 0.0 without one.
        self._asked_at = 0.0
        #: When the next PING may be sent at the earliest.
        self._may_ask_at = 0.0
        #: The resets that may yet come, those that are counted, and when they were.
        self._patience = float(MOST_RESETS)
        self._resets = 0
        self._counted_at = self.born
        #: The streams whose responses are complete but for the end of the stream, and since when.
        self._ending: list[tuple[float, Stream]] = []
        self._reader: gevent.Greenlet | None = None

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "retired" if self.is_retired else "open"
        return f"<HTTP2Connection {state}, {self.leases} requests>"

    def start(self) -> None:
        """Send the preface, and read from now on."""
        self.session.start()
        self.transport.flush()
        self._reader = gevent.spawn(self._read)

    def has_room(self) -> bool:
        """Return whether a further request may use it now; after a long silence ask whether the backend is there."""
        session = self.session
        most = min(session.peer.max_streams, self._slow_start() if self._cautious else MOST_STREAMS)
        if self.is_closed or self.is_retired or self.leases >= most or not session.has_settings:
            return False
        if self._clock() - self.heard_at > SILENT and self._ask():
            return False
        if self._can_open():
            return True
        if len(session.streams) < session.peer.max_streams:  # no ids are left, after a thousand million requests
            self.retire()
        return False

    def _can_open(self) -> bool:
        """Return whether one more stream may be opened; those that have only to end make room for it."""
        if not self.session.can_request and self._ending:
            self._reset_ending(math.inf)
        return self.session.can_request

    def _slow_start(self) -> int:
        """Return how many requests may be under way now: more with time, as some of them may never end.

        None until a PING is answered, since GOAWAY may follow the last response.
        """
        return 0 if self._asked_at else min(1 + int(self._clock() - self.born), MOST_STREAMS)

    def accepts(self, upgrade: str) -> bool:
        """Return whether a request may switch to this protocol (RFC 8441); the backend's SETTINGS have arrived."""
        return upgrade.lower() == WEBSOCKET and self.session.peer.enables_connect

    @property
    def is_awaited(self) -> bool:
        """True if a PING may show soon that there is room."""
        return self._asked_at > 0.0 and not self.is_closed and not self.is_retired

    def retire(self) -> None:
        """Take no further request; close the connection with its last one."""
        self.is_retired = True
        if not self.leases:
            self.close()

    def open(
        self, method: str, authority: str, target: str, headers: Headers, body: Body, *, protocol: str = ""
    ) -> ResponseStream:
        """Send the head of a request; return its stream. Raise ExcludedStreamError if that has become impossible.

        Raise HTTPError 431 for a head that the backend does not take. Some end the connection for it, which has the
        requests of others: the limit is no mere advice (RFC 9113 section 6.5.2).
        """
        if self.is_closed or not self._can_open():
            raise ExcludedStreamError(self.why or "the backend takes no further request on its connection")
        most = self.session.peer.max_head
        if most < _AMPLE and _size(method, authority, target, headers) > most:
            raise HTTPError(431, "the backend takes no head as large as that of the request")
        end = body is NO_BODY and not protocol
        stream = self.session.request(method, self.scheme, authority, target, headers, end=end, protocol=protocol)
        self.transport.flush_soon()
        return ResponseStream(self.transport, stream, body)

    def release(self) -> None:
        """End a lease."""
        self.leases -= 1
        if self._cautious:
            self._cautious -= 1
            if not self.is_retired:
                self._may_ask_at = 0.0  # a response has come, or its request was cancelled
                self._ask()
        if self.session.resets_sent != self._resets:
            self._count_resets()
        if not self.leases:
            self.idle_since = self._clock()
            if self.is_retired:
                self.close()
        self._changed(self)

    def await_end(self, stream: Stream) -> None:
        """Leave a stream open whose response is complete: a reset would count against us at some backends."""
        if not stream.is_closed:
            if len(self._ending) >= MOST_STREAMS:
                self._reset_ending(-math.inf)
            if len(self._ending) >= MOST_STREAMS:
                self._reset_ending(math.inf)
            self._ending.append((self._clock(), stream))

    def _reset_ending(self, before: float) -> None:
        """Reset the streams that have waited for their ends since then, or for longer."""
        ending, self._ending = self._ending, []
        for since, stream in ending:
            if since <= before:
                self.session.reset(stream, CANCEL)
            elif not stream.is_closed:
                self._ending.append((since, stream))
        self.transport.flush_soon()

    def _count_resets(self) -> None:
        """Retire the connection before clients that cancel many requests make the backend end those of all others."""
        fresh, now = self.session.resets_sent - self._resets, self._clock()
        self._patience = min(MOST_RESETS, self._patience + (now - self._counted_at) * FORGIVEN) - fresh
        self._resets += fresh
        self._counted_at = now
        if self._patience <= 0.0:
            self.is_retired = True

    def check(self, idle_timeout: float, max_age: float) -> None:
        """Close it if it is idle for too long or does not answer; to be called once a second."""
        now = self._clock()
        if self._ending:
            self._reset_ending(now - END_WAIT)
        if self._cautious:
            self._changed(self)  # there is room for one more
        if self._asked_at:
            if now - self._asked_at > ANSWER:
                self._end("the backend did not answer a PING")
        elif self.leases and now - self.heard_at > WAITING:
            self._ask()
        if now - self.born > max_age or (not self.leases and now - self.idle_since > idle_timeout):
            self.retire()

    def _ask(self) -> bool:
        """Ask whether the backend is there, unless it has shown that lately; return whether its answer is due."""
        now = self._clock()
        if not self._asked_at and now >= self._may_ask_at:
            self._asked_at = now
            self._may_ask_at = now + BETWEEN
            self.session.ping(_PING)
            self.transport.flush_soon()
        return self._asked_at > 0.0

    def _read(self) -> None:
        """Hand the backend's events to the streams, until the connection ends."""
        why = "the backend closed the connection"
        try:
            while not self.is_closed and (events := self.transport.read()) is not None:
                self.heard_at = self._clock()
                for event in events:
                    self._on_event(event)
                if self._asked_at:  # whatever comes shows that the backend is there
                    self._asked_at = 0.0
                    self._changed(self)
        except OSError as error:
            why = str(error.__cause__ or error) or why
        finally:
            self._end(why)

    def _on_event(self, event: Event) -> None:
        stream = event.stream
        if stream is not None:
            if not isinstance(event, StreamReset):
                self._may_ask_at = 0.0
            owner = stream.owner
            if isinstance(owner, ResponseStream):
                owner.on_event(event)
        elif isinstance(event, SettingsReceived):
            self.settled.set()
            self._changed(self)
        elif isinstance(event, GoAwayReceived):
            if event.code != NO_ERROR:
                self.why = f"the backend sent GOAWAY: {error_name(event.code)}"
            has_excluded = event.last_id < self.session.highest_id
            if event.last_id < 2 * SHORT_LIVED and (has_excluded or self._cautious > 0):
                self.is_short_lived = True
            self.retire()
            self._changed(self)
        elif isinstance(event, SessionFailed):
            self._end(f"the backend violated HTTP/2: {event.detail}")

    def close(self) -> None:
        """Close an unused connection, with a word to the backend."""
        if not self.is_closed:
            self.session.go_away(0, NO_ERROR)
            self._end("the connection was closed")

    def _end(self, why: str) -> None:
        """Close the socket, and let every stream know."""
        if self.is_closed:
            return
        self.is_closed = True
        self.why = self.why or why
        self.settled.set()
        self.transport.close()
        self._connection.close()
        for stream in list(self.session.streams.values()):
            owner = stream.owner
            if isinstance(owner, ResponseStream):
                owner.lose(self.why)
        self._changed(self)


def _size(method: str, authority: str, target: str, headers: Headers) -> int:
    """Return the size of a request's head as its receiver counts it (RFC 9113 section 6.5.2)."""
    size = _PSEUDO_FIELDS + len(method) + len(authority) + len(target)
    _, lines = headers.keyed_lines()
    for line in lines:
        size += len(line) - 2 + FIELD_OVERHEAD
    return size


def _options(never_indexed: frozenset[str]) -> SessionOptions:
    return SessionOptions(
        max_head=_MAX_HEAD,
        max_fields=_MAX_FIELDS,
        initial_window=WINDOW,
        max_window=WINDOW,
        connection_window=_CONNECTION_WINDOW,
        enable_connect=False,
        never_indexed=never_indexed,
    )
