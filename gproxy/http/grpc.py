"""The words of gRPC over HTTP/2: content types, statuses, messages of statuses, and the time that a call may take.

gRPC sends its status in trailers, after a response of HTTP that is always 200. A response that is only a head has it
there: trailers-only.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from gproxy.http.deadline import Deadline, Timer
from gproxy.http.headers import Headers
from gproxy.http.time_limit import ExchangeLimits, TimeLimit

#: The names of its fields, in lower case.
STATUS_FIELD: Final = "grpc-status"
MESSAGE_FIELD: Final = "grpc-message"
TIMEOUT_FIELD: Final = "grpc-timeout"

#: Statuses as the field has them. UNAVAILABLE: the server has not processed the call.
OK: Final = "0"
UNAVAILABLE: Final = "14"
_UNKNOWN: Final = 2
#: The status for an error of HTTP; every other one is UNKNOWN.
_STATUSES: Final = {
    400: 13, 401: 16, 403: 7, 404: 12, 405: 12, 413: 8, 429: 8, 499: 1, 500: 13, 502: 14, 503: 14, 504: 4,
}  # fmt: skip
#: The longest message of a status, in characters before it is encoded.
_LONGEST_MESSAGE: Final = 1024
#: The characters of a message that stay as they are: visible ASCII and blanks, without the per cent sign.
_PLAIN: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_timeout: Final = re.compile(r"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
#: The units for writing, the finest first, each with its number in a second; and what is more than 8 digits.
_WRITTEN: Final = (("u", 1e6), ("m", 1e3), ("S", 1.0))
_TOO_MUCH: Final = 100_000_000


def is_grpc(headers: Headers) -> bool:
    """Return whether the message is one of gRPC: `application/grpc`, also with a codec: `application/grpc+json`."""
    kind = headers.lookup("content-type")
    return kind is not None and kind[:16].lower() == "application/grpc"


def status_in(trailers: Iterable[tuple[str, str]]) -> str | None:
    """Return the gRPC status in the trailers of a response, if they have one."""
    return next((value for name, value in trailers if name.lower() == STATUS_FIELD), None)


def status_of(http_status: int) -> str:
    """Return the gRPC status for an error of HTTP."""
    return str(_STATUSES.get(http_status, _UNKNOWN))


def written_message(text: str) -> str:
    """Return the text as grpc-message has it: UTF-8, percent-encoded but for visible ASCII."""
    return quote(text[:_LONGEST_MESSAGE], safe=_PLAIN, encoding="utf-8", errors="replace")


def parse_timeout(text: str) -> float | None:
    """Return the seconds of a grpc-timeout such as `100m`; None for another text."""
    found = _timeout(text)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def written_timeout(seconds: float) -> str:
    """Return the seconds as grpc-timeout has them, in the finest unit that can express them; at least 1 µs."""
    for unit, in_a_second in _WRITTEN:
        number = max(int(seconds * in_a_second), 1)
        if number < _TOO_MUCH:
            return f"{number}{unit}"
    return f"{_TOO_MUCH - 1}H"


#: So many seconds after its time a call is ended. An alarm may be 1 ms early, and a client takes an end before
#: its own deadline for a cancellation.
LATER: Final = 0.002


class CallDeadline(Deadline):
    """A deadline that ends with the client's grpc-timeout at the latest, which no wait for the client moves."""

    __slots__ = ("_call", "_call_ends", "_client_ends")

    def __init__(self, before: Deadline, call: TimeLimit) -> None:
        super().__init__(before.timer, before.clock)
        self._call = call
        self._client_ends = self.clock() + call.seconds
        self._call_ends = self._client_ends + LATER

    def begin(self, limits: ExchangeLimits) -> None:
        """Begin the time until the response's head."""
        super().begin(limits)
        self._bound()
        self._restart()

    def pause(self, seconds: float) -> None:
        """Move all ends but that of the call by the seconds for which the gateway has waited for the client."""
        super().pause(seconds)
        self._bound()

    def _bound(self) -> None:
        if self._call_ends < self._ends:
            self._ends, self._total = self._call_ends, self._call
        self.expires = min(self.expires, self._ends)

    @property
    def written(self) -> str:
        """The remaining time of the call, as grpc-timeout has it."""
        return written_timeout(min(self._ends, self._client_ends) - self.clock())

    def begin_alarm(self, alarm: Timer) -> None:
        """Set an alarm of the greenlet for the end of the call; it must be closed with the request."""
        alarm.set(self._call_ends, self._call)
