"""The answers of an external authorizer: what may be kept of them, for how long, and the equal calls that wait."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.identity.credential_cache import Judged
from gproxy.runtime.client_watch import ClientWatch

#: Bounds of the answers that admit, and of those that reject: a flood of bad requests leaves the good ones.
ENTRIES: Final = 10_000
REJECTED: Final = 1000
BYTES: Final = 8 * 1024 * 1024
#: What an entry takes besides its answer, in bytes.
_OVERHEAD: Final = 512
#: The statuses of rejections that may be kept.
_KEPT_REJECTIONS: Final = frozenset({401, 403})
#: Directives of Cache-Control that forbid to keep an answer for another request (RFC 9111 section 5.2.2).
_FORBIDS: Final = frozenset({"no-store", "no-cache", "private"})


@dataclass(slots=True)
class AuthorizerAnswer:
    """An answer with its whole body. `judged` is what an answer that admits means for requests, once it is known."""

    status: int
    phrase: str
    headers: Headers
    body: bytes
    judged: Judged | None = None

    @property
    def admits(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_challenge(self) -> bool:
        """Return whether the client sent a bad credential, or none."""
        return self.status == 401

    @property
    def size(self) -> int:
        """The bytes that it takes in a cache, about."""
        return _OVERHEAD + len(self.body) + sum(len(name) + len(value) for name, value in self.headers.items())


def lifetime(answer: AuthorizerAnswer, most: float) -> float:
    """Return for how many seconds the answer may serve equal requests, `most` at most; 0: it may not.

    An answer with a cookie is for one client at one time. Cache-Control may shorten the time or forbid to keep it.
    """
    headers = answer.headers
    if not (answer.admits or answer.status in _KEPT_REJECTIONS) or "set-cookie" in headers:
        return 0.0
    directives = dict(_directives(headers.get("cache-control") or ""))
    if not _FORBIDS.isdisjoint(directives) or (headers.get("vary") or "").strip() == "*":
        return 0.0
    age = directives.get("s-maxage", directives.get("max-age"))
    if age is None:
        return most
    spent = headers.get("age") or "0"
    left = float(age) - float(spent) if _is_number(age) and _is_number(spent) else 0.0
    return max(0.0, min(most, left))


def _directives(value: str) -> Iterator[tuple[str, str]]:
    for part in value.lower().split(","):
        name, _, argument = part.partition("=")
        yield name.strip(), argument.strip(' \t"')


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


class KeptAnswers:
    """The answers that may serve equal requests, by the digest of what was asked; bounded by number and bytes."""

    def __init__(self) -> None:
        self._good, self._bad = _Kept(ENTRIES), _Kept(REJECTED)

    def find(self, digest: bytes, now: float) -> AuthorizerAnswer | None:
        """Return the answer that was kept and still counts; `now` is on the clock of `keep`."""
        return self._good.find(digest, now) or self._bad.find(digest, now)

    def keep(self, digest: bytes, answer: AuthorizerAnswer, now: float, seconds: float) -> None:
        """Keep the answer for so many seconds."""
        if seconds > 0:
            (self._good if answer.admits else self._bad).keep(digest, answer, now + seconds)


class _Kept:
    """Answers of one kind; the one that was kept first is dropped first."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._bytes = 0
        self._answers: OrderedDict[bytes, tuple[float, int, AuthorizerAnswer]] = OrderedDict()

    def find(self, digest: bytes, now: float) -> AuthorizerAnswer | None:
        until, _, answer = self._answers.get(digest, (0.0, 0, None))
        if answer is not None and until <= now:
            self._drop(digest)
            return None
        return answer

    def keep(self, digest: bytes, answer: AuthorizerAnswer, until: float) -> None:
        self._drop(digest)
        size = answer.size
        self._answers[digest] = until, size, answer
        self._bytes += size
        while len(self._answers) > self._entries or self._bytes > BYTES:
            self._drop(next(iter(self._answers)))

    def _drop(self, digest: bytes) -> None:
        _, size, _ = self._answers.pop(digest, (0.0, 0, None))
        self._bytes -= size


class EqualCalls:
    """The calls under way by what they ask. The first one is made; others wait, since its answer may be theirs too."""

    def __init__(self) -> None:
        self._running: dict[bytes, _RunningCall] = {}

    def wait(self, digest: bytes, request: Request) -> bool | None:
        """Wait for the end of an equal call; return whether it had an answer, and None if there is no such call.

        Raises ClientGone if the client of this request leaves; an alarm may throw Expired.
        """
        call = self._running.get(digest)
        if call is None:
            return None
        watch = ClientWatch.of(request)
        call.waiting.append(watch)
        try:
            watch.wait()
        finally:
            call.waiting.remove(watch)
        return call.has_answer

    @contextmanager
    def running(self, digest: bytes) -> Iterator["_RunningCall"]:
        """Let equal calls wait for this one until the end of the block, which notes whether it has an answer."""
        call = self._running[digest] = _RunningCall()
        try:
            yield call
        finally:
            del self._running[digest]
            for watch in call.waiting:
                watch.wake()


class _RunningCall:
    """A call that is made, and the requests that wait for its end."""

    __slots__ = ("has_answer", "waiting")

    def __init__(self) -> None:
        self.has_answer = False
        self.waiting: list[ClientWatch] = []
