"""What is sent again of a recording, what is not and why, and how an answer is judged."""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from gproxy.config.types.units import plural
from gproxy.http.header_names import HOP_BY_HOP, is_token
from gproxy.recording.diff import Comparison, Diff, Difference, Side
from gproxy.recording.diff_report import NO_RESPONSE
from gproxy.recording.har import open_recording
from gproxy.recording.json_lines import RecordError
from gproxy.recording.pseudonyms import pattern
from gproxy.recording.record import Fields, RecordedBody, RecordedExchange, RecordedRequest, RecordedResponse

#: Methods that change nothing (RFC 9110 section 9.2.1).
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: Fields by which many servers take another method than the request's own.
_OVERRIDES: Final = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
#: Fields of one connection, and those that sending makes anew.
_NOT_SENT: Final = HOP_BY_HOP | {"content-length", "expect"}
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "x-api-key", "proxy-authorization"})
#: Statuses of a response to a request whose credentials are wrong.
_DENIED: Final = (401, 403)
_NO_BODY: Final = (204, 304)
#: A method and a target that can be sent: without control characters, which could change what a terminal shows.
_LINE: Final = re.compile("[!-~]+ /[!-~]*")


@dataclass(frozen=True)
class Source:
    """The exchanges of a file, and the expression that finds pseudonyms in them; None if nothing was redacted."""

    exchanges: list[RecordedExchange]
    pseudonym: re.Pattern[str] | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the whole file. Raises RecordError, and OSError."""
        recording = open_recording(path)
        form = recording.header.pseudonyms
        try:
            found = cls(list(recording), pattern(form) if form else None)
        except ValueError as error:
            raise RecordError(f"{path}:1: {error}") from None
        finally:
            recording.close()
        if not found.exchanges:
            raise RecordError(f"{path}: the recording has no exchange")
        return found


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A recorded request as it is sent again; `number` is that of its exchange, `at` its time in epoch seconds."""

    number: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    client: str
    scheme: str
    id: str
    at: float

    @property
    def line(self) -> str:
        """The method and the target."""
        return f"{self.method} {self.target}"

    def dump(self) -> str:
        """Return the request as a line of JSON."""
        return json.dumps([*(getattr(self, name) for name in self.__slots__ if name != "body"), _text(self.body)])

    @classmethod
    def load(cls, line: str) -> "ReplayRequest":
        """Return the request of such a line."""
        number, method, target, headers, client, scheme, identity, at, body = json.loads(line)
        pairs = tuple((name, value) for name, value in headers)
        return cls(number, method, target, pairs, base64.b64decode(body), client, scheme, identity, at)


def is_safe(request: RecordedRequest | ReplayRequest) -> bool:
    """Return whether the request changes nothing, by its method and by the fields that may override it."""
    others = {value.strip().upper() for name, value in request.headers if name.lower() in _OVERRIDES}
    return {request.method, *others} <= _SAFE


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request; without one, the side is None and `error` says why. `seconds` is its time, if real."""

    side: Side | None
    seconds: float | None = None
    error: str = ""
    #: Differences that are not in the response, such as calls of backends that were not recorded.
    further: tuple[Difference, ...] = ()

    def dump(self) -> str:
        """Return the answer as a line of JSON."""
        side = None
        if self.side is not None:
            body = None if self.side.body is None else _text(self.side.body)
            side = [self.side.status, list(self.side.headers), body, self.side.id]
        return json.dumps([side, self.error, [[one.kind, one.before, one.after] for one in self.further]])

    @classmethod
    def load(cls, line: str) -> "Answer":
        """Return the answer of such a line."""
        found, error, further = json.loads(line)
        side = None
        if found is not None:
            status, headers, body, identity = found
            whole = None if body is None else base64.b64decode(body)
            side = Side(status, [(name, value) for name, value in headers], whole, identity)
        return cls(side, None, error, tuple(Difference(*one) for one in further))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Choice:
    """The choice of the user: methods (empty: all), unsafe ones too, and fields in place of the recorded ones."""

    only: frozenset[str] = frozenset()
    unsafe: bool = False
    changes: tuple[tuple[str, str], ...] = ()

    def __call__(self, exchange: RecordedExchange) -> str:
        """Return why the request is not sent; empty if it is."""
        request = exchange.request
        if self.only and request.method not in self.only:
            return "with a method that --only does not name"
        if not is_safe(request) and not self.unsafe:
            return "with a method that is not safe (--unsafe sends them)"
        if exchange.response is None:
            return "without a recorded response"
        if exchange.response.status < 200 or request.method == "CONNECT":
            return "that became tunnels"
        if not _LINE.fullmatch(f"{request.method} {request.target}"):
            return "with a target that is no path, or with an odd method"
        return "" if known_body(request) is not None else "whose body is not in the recording"


def known_body(message: RecordedRequest | RecordedResponse) -> bytes | None:
    """Return the whole body of a recorded message; None if it is not known as a whole."""
    if message.body is not None:
        return message.body.data if _is_whole(message.body) else None
    if isinstance(message, RecordedResponse):
        return b"" if message.status in _NO_BODY or _value(message.headers, "content-length") == "0" else None
    has_body = _value(message.headers, "content-length") not in ("", "0") or _value(
        message.headers, "transfer-encoding"
    )
    return None if has_body else b""


def _is_whole(body: RecordedBody) -> bool:
    return not body.truncated and not body.omitted


def _value(headers: Fields, key: str) -> str:
    return next((value.strip() for name, value in headers if name.lower() == key), "")


@dataclass
class Plan:
    """The requests to send, in the order of their times, and what could not be restored.

    `pseudonym` finds what stands in place of values. `sign` returns a token for the user of an exchange, or nothing.
    """

    choice: Choice
    pseudonym: re.Pattern[str] | None = None
    sign: Callable[[RecordedExchange], str] | None = None
    skipped: Counter[str] = field(default_factory=Counter)
    signed: set[int] = field(default_factory=set)
    #: The numbers of exchanges whose credentials are pseudonyms.
    anonymous: set[int] = field(default_factory=set)
    #: The number of requests with pseudonyms, by where they are.
    _hidden: Counter[str] = field(default_factory=Counter)

    def requests(self, exchanges: Iterable[RecordedExchange]) -> list[ReplayRequest]:
        """Return the requests of the exchanges, which are numbered from 1."""
        found = []
        for number, exchange in enumerate(exchanges, 1):
            why_not = self.choice(exchange)
            if why_not:
                self.skipped[why_not] += 1
            else:
                found.append(self._request(number, exchange))
        return sorted(found, key=lambda one: one.at)

    def _request(self, number: int, exchange: RecordedExchange) -> ReplayRequest:
        request = exchange.request
        token = self.sign(exchange) if self.sign is not None else ""
        if token:
            self.signed.add(number)
        changes = (*((("Authorization", f"Bearer {token}"),) if token else ()), *self.choice.changes)
        headers = tuple(_changed(request.headers, changes))
        self._note_hidden(number, request.target, headers)
        return ReplayRequest(
            number, request.method, request.target, headers, known_body(request) or b"", exchange.client,
            exchange.scheme, exchange.id, exchange.time,
        )  # fmt: skip

    def _note_hidden(self, number: int, target: str, headers: Iterable[tuple[str, str]]) -> None:
        """Note where the request has pseudonyms."""
        if self.pseudonym is None:
            return
        names = {name.lower(): name for name, value in headers if self.pseudonym.search(value)}
        self._hidden.update(names.values())
        if self.pseudonym.search(target):
            self._hidden["the URL"] += 1
        if number not in self.signed and not _CREDENTIALS.isdisjoint(names):
            self.anonymous.add(number)

    def notes(self) -> Iterator[str]:
        """Yield what the requests lack."""
        for place, count in sorted(self._hidden.items()):
            yield f"{plural(count, 'request')} sent with pseudonyms in {place}: the recording does not have the values"


def _changed(headers: Fields, changes: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the fields that are sent, with the changes in place of fields of their names; an empty one removes them."""
    given = {name.lower(): (name, value) for name, value in changes}
    dropped = _NOT_SENT | {one.strip().lower() for one in _value(headers, "connection").split(",")}
    for name, value in headers:
        if name.lower() not in dropped and name.lower() not in given and is_token(name):  # a browser writes `:path`
            yield name, value
    yield from (one for one in given.values() if one[1])


def judged(exchange: RecordedExchange, answer: Answer, diff: Diff, *, is_anonymous: bool) -> Comparison:
    """Return how the answer differs from the recorded response."""
    recorded = exchange.response
    if recorded is None:
        return Comparison()
    if answer.side is None:
        return Comparison([Difference(NO_RESPONSE, str(recorded.status), answer.error), *answer.further])
    status = answer.side.status
    if is_anonymous and status in _DENIED and recorded.status != status:
        return Comparison(denied=True)
    before = Side(recorded.status, recorded.headers, known_body(recorded), exchange.id)
    found = diff.compare(before, answer.side, is_head=exchange.request.method == "HEAD")
    found.differences += answer.further
    return found
