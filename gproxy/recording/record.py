"""A recorded exchange: the request, the attempts at backends, the response."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

#: The version of the format in which exchanges are kept.
VERSION: Final = 1

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RecordedBody:
    """A body, or its beginning. `size` counts the bytes that have passed.

    `truncated` says that bytes are missing here. `omitted` is why the bytes are missing altogether.
    """

    data: bytes = b""
    size: int = 0
    truncated: bool = False
    omitted: str = ""

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the record of a whole body."""
        return cls(data, len(data))


@dataclass(slots=True)
class RecordedRequest:
    """A request as it came, or as an attempt sent it. `body` is None if there was none, or bodies are not recorded."""

    method: str
    target: str
    headers: Fields
    body: RecordedBody | None = None
    protocol: str = "HTTP/1.1"
    trailers: Fields = field(default_factory=list)


@dataclass(slots=True)
class RecordedResponse:
    """A response as a backend has sent it, or as it went out to the client."""

    status: int
    headers: Fields
    body: RecordedBody | None = None
    trailers: Fields = field(default_factory=list)


@dataclass(slots=True)
class RecordedAttempt:
    """An attempt at a backend, or a call of a handler to another upstream. Times are seconds.

    `started` counts from the exchange's start, `duration` lasts until the response's head or the failure. Without a
    response, `error` says why in one word. Without a connection there is no request either. `shared`: of a look-up.
    """

    upstream: str
    backend: str
    started: float
    duration: float
    request: RecordedRequest | None = None
    response: RecordedResponse | None = None
    error: str = ""
    shared: bool = False


@dataclass(slots=True)
class RecordedExchange:
    """A request with its response, and the attempts at backends between them.

    `time` is Unix time, and the durations are in seconds: `duration` from the first byte received to the last one sent,
    `paused` those in which the gateway waited for the client. `status` and `reason` are those of the access log. There
    is no response if the client left before it.
    """

    id: str
    time: float
    duration: float
    client: str
    scheme: str
    host: str
    route: str
    request: RecordedRequest
    response: RecordedResponse | None = None
    attempts: list[RecordedAttempt] = field(default_factory=list)
    user: str = ""
    auth: str = ""
    upstream: str = ""
    backend: str = ""
    status: int = 0
    reason: str = ""
    report: str = ""
    paused: float = 0.0
    worker: int = 0
    generation: int = 0
    #: The number of further attempts, beyond the bound of a record.
    omitted_attempts: int = 0


@dataclass(frozen=True)
class RecordHeader:
    """The first line of a recording: where it comes from, and what its pseudonyms replace.

    created: Unix time. settings: digest of the settings in effect. rule: the options of the recording. redacted: what
    was kept and what was hidden, and the form of pseudonyms, a regular expression.
    """

    created: float = 0.0
    gproxy: str = ""
    settings: str = ""
    rule: Mapping[str, Any] = field(default_factory=dict)
    redacted: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def pseudonyms(self) -> str:
        """The form of pseudonyms, a regular expression; empty if nothing was redacted."""
        form = self.redacted.get("pseudonyms", "")
        return form if isinstance(form, str) else ""
