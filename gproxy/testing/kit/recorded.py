"""The backends of a recording: each answers a request as it has answered the same attempt of its exchange before."""

import errno
import math
import socket
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

import gevent
from greenlet import getcurrent, greenlet
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError

from gproxy.config.types import BackendURL
from gproxy.config.types.units import plural
from gproxy.http.errors import BadMessage
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.recording.diff import Diff, Difference, Sent, Side
from gproxy.recording.record import RecordedAttempt, RecordedExchange, RecordedRequest, RecordedResponse
from gproxy.recording.replaying import Answer, ReplayRequest, known_body
from gproxy.testing.answers import Reset
from gproxy.testing.kit.backend import KitBackend, Step, refusal, written
from gproxy.testing.kit.client import CLIENT
from gproxy.testing.kit.clock import VirtualClock
from gproxy.testing.kit.gateway import KitGateway
from gproxy.upstream.errors import (
    AlertError,
    CertificateError,
    StaleConnectionError,
    TLSError,
    UnansweredError,
    UnfinishedUploadError,
)

_TIME: Final = itemgetter(0)
#: What each pseudonym begins with.
_PSEUDONYM: Final = "~"
#: The status of an attempt that was not recorded: no retry and no ejection follows it.
UNKNOWN: Final = 404
_UNKNOWN: Final = b"this attempt was not recorded"
_NO_NAME: Final = socket.gaierror(socket.EAI_NONAME, "the name has not been resolved")
#: The kinds of differences that concern attempts.
NOT_RECORDED: Final = "asked a backend that the recording did not"
NOT_ASKED: Final = "did not ask a backend that the recording asked"
#: Errors of attempts that had no connection, by their words in the access log, with what raises them again.
_UNCONNECTED: Final[dict[str, Callable[[BackendURL], Exception]]] = {
    "connect_refused": refusal,
    "connect_timeout": lambda url: ConnectTimeoutError(_connection(url), "Connection timed out"),
    "dns_error": lambda url: NameResolutionError(url.host, _connection(url), _NO_NAME),
    "tls_protocol_error": lambda _: TLSError("as recorded"),
    "tls_certificate_error": lambda _: CertificateError("as recorded"),
}
#: Errors of attempts that had one, likewise. Which of the first two it is decides whether a retry may follow.
_BROKEN_OFF: Final[dict[str, Callable[[], Exception]]] = {
    "stale": lambda: StaleConnectionError("as recorded"),
    "backend_reset": lambda: UnansweredError("as recorded"),
    "backend_protocol": lambda: BadMessage("as recorded"),
    "upload_unfinished": lambda: UnfinishedUploadError("as recorded"),
    "tls_alert_received": lambda: AlertError("as recorded"),
    "out_of_resources": lambda: OSError(errno.EMFILE, "as recorded"),
}
#: Errors of attempts that the gateway has ended, so that the backend's answer is not known.
_ENDED: Final = ("backend_timeout", "per_try_timeout", "first_byte_timeout", "read_timeout", "cancelled")
#: Bytes that stand for those that the recording does not have: at a time, and at most. A download may have had more.
_FILLER: Final = b" " * 65536
_MOST_FILLED: Final = 1024 * 1024


class AllAttempts:
    """The attempts of all exchanges that have an answer, and the requests of the replay so far, by what was asked.

    A result that the gateway keeps spares exchanges their attempts; the replay may keep it earlier, or later.
    """

    def __init__(self, exchanges: Iterable[RecordedExchange], diff: Diff) -> None:
        self._diff = diff
        #: With their times and the ids of their exchanges, by upstream and line; with pseudonyms by the path, too.
        self._recorded: dict[tuple[str, str], list[tuple[float, str, RecordedAttempt]]] = {}
        #: By upstream, and by line and body.
        self._asked: dict[str, dict[tuple[str, bytes | None], Sent]] = {}
        for exchange in exchanges:
            for one in exchange.attempts:
                if one.request is not None and not _is_unanswered(one):
                    line = _line(one.request)
                    for place in {line, _path(line)} if _PSEUDONYM in line else {line}:
                        found = self._recorded.setdefault((one.upstream, place), [])
                        found.append((exchange.time + one.started, exchange.id, one))
        for found in self._recorded.values():
            found.sort(key=_TIME)

    def nearest(self, upstream: str, sent: Sent, now: float) -> RecordedAttempt | None:
        """Return the latest attempt until now that sent an equal request, else the first one after; None without."""
        return self._nearest((upstream, sent.line), sent, now) or self._nearest((upstream, _path(sent.line)), sent, now)

    def _nearest(self, place: tuple[str, str], sent: Sent, now: float) -> RecordedAttempt | None:
        found = self._recorded.get(place, [])
        middle = bisect_right(found, now, key=_TIME)
        in_order = chain(reversed(found[:middle]), found[middle:])
        return next((one for _, identity, one in in_order if self.is_equal(one, identity, sent)), None)

    def is_equal(self, attempt: RecordedAttempt, identity: str, sent: Sent) -> bool:
        """Return whether the attempt of the exchange with this id sent the same method, target and body."""
        recorded = attempt.request
        if recorded is None:
            return True
        differences = self._diff.compare_sent(_sent_then(recorded, identity), sent)
        return all(one.kind.startswith("header ") for one in differences)

    def note_asked(self, upstream: str, sent: Sent) -> None:
        """Note a request of the replay."""
        self._asked.setdefault(upstream, {})[sent.line, sent.body] = sent

    def was_asked(self, attempt: RecordedAttempt, identity: str) -> bool:
        """Return whether the replay has already sent a request that is equal to the one of this attempt."""
        if attempt.request is None:
            return False
        asked = self._asked.get(attempt.upstream, {})
        if (_line(attempt.request), known_body(attempt.request)) in asked:
            return True
        return any(self.is_equal(attempt, identity, sent) for sent in asked.values())


class RecordedAttempts:
    """The attempts of one exchange, and of `others`. Those that are made now take the equal one, else the next one."""

    def __init__(self, exchange: RecordedExchange, diff: Diff, others: AllAttempts) -> None:
        self._id, self._diff, self._others = exchange.id, diff, others
        self._own: dict[str, list[RecordedAttempt]] = {}
        for attempt in exchange.attempts:
            self._own.setdefault(attempt.upstream, []).append(attempt)
        self._left = {name: list(own) for name, own in self._own.items()}
        #: The differences between the requests that were sent then and now.
        self.sent: list[Difference] = []
        #: The number of attempts that were not recorded, and of those that wait for their answer, by upstream.
        self.unknown: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()

    def first(self, upstream: str) -> RecordedAttempt | None:
        """Return the next recorded attempt; None if there is no further one."""
        return next(iter(self._left.get(upstream, ())), None)

    def take_first(self, upstream: str) -> None:
        """Take the next recorded attempt."""
        self._left[upstream].pop(0)

    def take(self, upstream: str, request: Request, now: float) -> RecordedAttempt | None:
        """Return the recorded attempt for a request of now, and count one that is none.

        A request that the exchange has not sent gets the attempt of another exchange that has; without one, it counts
        as a changed one.
        """
        sent = _sent_now(request, self._id)
        self._others.note_asked(upstream, sent)
        left = self._left.get(upstream, [])
        own = self._equal(left, sent)
        if own is None and self._equal(self._own.get(upstream, []), sent) is None:
            other = self._others.nearest(upstream, sent, now)
            if other is not None:
                return other
        taken = own or next(iter(left), None)
        if taken is None:
            self.unknown[upstream] += 1
        else:
            left.remove(taken)
            self._compare(taken, sent)
        return taken

    def _equal(self, attempts: Iterable[RecordedAttempt], sent: Sent) -> RecordedAttempt | None:
        return next((one for one in attempts if self._others.is_equal(one, self._id, sent)), None)

    def _compare(self, attempt: RecordedAttempt, sent: Sent) -> None:
        """Compare the request that the backend gets now with the recorded one."""
        if attempt.request is not None:
            found = self._diff.compare_sent(_sent_then(attempt.request, self._id), sent)
            self.sent += [replace(one, kind=f"request to {attempt.upstream}: {one.kind}") for one in found]

    @property
    def left(self) -> dict[str, int]:
        """The number of recorded attempts that were not made now, by upstream.

        Losers of hedges aside, and look-ups that the replay has made before: it has kept the result.
        """
        counts = {name: sum(self._is_missed(one) for one in left) for name, left in self._left.items()}
        return {name: count for name, count in counts.items() if count}

    def _is_missed(self, attempt: RecordedAttempt) -> bool:
        is_kept = attempt.shared and self._others.was_asked(attempt, self._id)
        return not is_kept and not _is_unanswered(attempt)


def _sent_then(recorded: RecordedRequest, identity: str) -> Sent:
    return Sent(_line(recorded), recorded.headers, known_body(recorded), identity)


def _sent_now(request: Request, identity: str) -> Sent:
    line = f"{request.method} {request.received.target}"
    return Sent(line, request.headers.items(), request.body.read(), identity)


def _line(recorded: RecordedRequest) -> str:
    return f"{recorded.method} {recorded.target}"


def _path(line: str) -> str:
    """Return the line without its query, of which the recording may have pseudonyms only."""
    return line.partition("?")[0]


#: The attempts of the exchanges that are served, by the greenlets that serve them.
_SERVED: Final[WeakKeyDictionary[greenlet, RecordedAttempts]] = WeakKeyDictionary()


def _attempts() -> RecordedAttempts | None:
    """Return the attempts of the exchange that the current greenlet, or one that has spawned it, serves."""
    one: Any = getcurrent()
    while one is not None and one not in _SERVED:
        spawner = getattr(one, "spawning_greenlet", None)
        one = spawner() if spawner is not None else None
    return _SERVED[one] if one is not None else None


class RecordedBackend(KitBackend):
    """The backends of an upstream. Outside of an exchange, as for health probes, they answer 200."""

    def __init__(self, name: str, report: Callable[[BaseException], None], clock: VirtualClock) -> None:
        super().__init__(name, report)
        self._clock = clock
        self._upstream = name.partition("@")[0]

    def accept(self, url: BackendURL) -> None:
        """Accept a connection. Raises the recorded error if the next attempt had none."""
        attempts = _attempts()
        attempt = attempts.first(self._upstream) if attempts is not None else None
        if attempts is None or attempt is None or attempt.error not in _UNCONNECTED:
            return
        attempts.take_first(self._upstream)
        self._clock.sleep(attempt.duration)
        raise _UNCONNECTED[attempt.error](url)

    def steps(self, request: Request) -> Iterator[Step]:
        """Return what follows the request on its connection. Raises the recorded error of the attempt."""
        attempts = _attempts()
        if attempts is None:
            return written(Response(200), request.method)
        attempt = attempts.take(self._upstream, request, self._clock.wall())
        if attempt is None:
            # As a hedge it leaves the response to the attempt that was recorded.
            is_hedge = attempts.waiting[self._upstream] > 0
            return iter((math.inf,)) if is_hedge else written(Response(UNKNOWN, _UNKNOWN), request.method)
        if attempt.error in _BROKEN_OFF:
            self._clock.sleep(attempt.duration)
            error = _BROKEN_OFF[attempt.error]()
            raise error
        return _answer(attempt, attempts.waiting, request.method)


def _is_unanswered(attempt: RecordedAttempt) -> bool:
    """Return whether the answer is not known, because the gateway did not wait for it."""
    return attempt.error in _ENDED or (attempt.response is None and not attempt.error)


def _answer(attempt: RecordedAttempt, waiting: Counter[str], method: str) -> Iterator[Step]:
    if _is_unanswered(attempt):
        yield math.inf
        return
    waiting[attempt.upstream] += 1
    yield attempt.duration
    waiting[attempt.upstream] -= 1
    if attempt.response is not None:
        yield from written(_response(attempt.response, method), method)
    else:
        yield Reset()


def _response(recorded: RecordedResponse, method: str) -> Response:
    """Return the recorded response; blanks stand for the bytes of the body that the recording does not have."""
    headers = Headers([(name, value) for name, value in recorded.headers if name.lower() not in RESPONSE_HOP_BY_HOP])
    length = headers.get("Content-Length")
    body = recorded.body
    if method == "HEAD" or recorded.status == 304:
        return Response(recorded.status, b"", headers)
    headers.discard("content-length")  # a redacted body has another one
    if body is not None and not body.truncated and not body.omitted:
        return Response(recorded.status, body.data, headers)
    known, size = (body.data, body.size) if body is not None else (b"", int(length or 0))
    size = min(size, len(known) + _MOST_FILLED)
    if length is not None:
        headers.put("Content-Length", "content-length", str(size))
    return Response(recorded.status, _filled(known, size), headers)


def _filled(known: bytes, size: int) -> Iterator[bytes]:
    yield known
    for start in range(len(known), size, len(_FILLER)):
        yield _FILLER[: size - start]


def _connection(url: BackendURL) -> HTTPConnection:
    return HTTPConnection(url.host, url.port)


class Replay:
    """Requests that are sent to a gateway of the test kit, at the moments of their recording."""

    def __init__(self, gateway: KitGateway, exchanges: Sequence[RecordedExchange], diff: Diff) -> None:
        self._gateway = gateway
        self._exchanges = exchanges
        self._diff = diff
        self._all = AllAttempts(exchanges, diff)
        self._mirrors = {route.name: route.mirror for route in gateway.settings.routes}

    def __call__(self, requests: Sequence[ReplayRequest]) -> list[Answer]:
        """Return the answers, in the order of the requests."""
        clock = self._gateway.clock
        running = []
        for request in requests:
            clock.sleep(request.at - clock.wall())
            running.append(gevent.spawn(self._answer, request))
        gevent.joinall(running, raise_error=True)
        return [one.value for one in running]

    def _answer(self, request: ReplayRequest) -> Answer:
        exchange = self._exchanges[request.number - 1]
        attempts = RecordedAttempts(exchange, self._diff, self._all)
        _SERVED[getcurrent()] = attempts
        found = self._gateway.request(
            request.method,
            request.target,
            list(request.headers),
            request.body,
            client=_address(request.client),
            scheme=request.scheme,
            identity=request.id,
        )
        gevent.idle()  # copies of the request are sent
        body = found.body if found.is_complete else None
        side = Side(found.status, list(found.headers.items()), body, request.id)
        further = attempts.sent if exchange.omitted_attempts else self._differences(attempts)
        return Answer(side, further=tuple(further))

    def _differences(self, attempts: RecordedAttempts) -> Iterator[Difference]:
        yield from attempts.sent
        mirrors = {name for name in self._mirrors.values() if name}
        for name, count in attempts.unknown.items():
            if name not in mirrors:
                yield Difference(NOT_RECORDED, "", f"{name}: {plural(count, 'attempt')}")
        for name, count in attempts.left.items():
            yield Difference(NOT_ASKED, f"{name}: {plural(count, 'attempt')}", "")


def _address(client: str) -> str:
    return client if client and not client.startswith("unix") else CLIENT
