"""The field traceparent (W3C Trace Context, section 3.2): read strictly, and written in version 00."""

import re
from random import Random
from typing import Final, NamedTuple

#: Version, trace id, span id, flags; a version after 00 may append further parts.
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE_ID: Final = "0" * 32
_NO_SPAN_ID: Final = "0" * 16
_SAMPLED: Final = 1
#: PERF: how many bytes of ids are drawn and written in digits at once.
_DRAWN: Final = 6144


class TraceParent(NamedTuple):
    """The place of a request in the trace of its client: the ids, and whether the client records its own span."""

    trace_id: str
    span_id: str
    sampled: bool


def parse(text: str) -> TraceParent | None:
    """Return the content of the field; None for a malformed one, also if it came on several lines."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE_ID or span_id == _NO_SPAN_ID:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


class RandomIDs:
    """A source of random ids in hexadecimal digits, as traces and spans have them."""

    def __init__(self, random: Random | None = None) -> None:
        self._draw = (random or Random()).randbytes  # noqa: S311 ids are no secrets
        self._digits = ""
        self._taken = 0

    def take(self, count: int) -> str:
        """Return so many digits: 16 for the id of a span, 32 for that of a trace."""
        first, end = self._taken, self._taken + count
        if end > len(self._digits):
            self._digits, first, end = self._draw(_DRAWN).hex(), 0, count
        self._taken = end
        return self._digits[first:end]


def written(trace_id: str, span_id: str, *, sampled: bool) -> str:
    """Return the field for what the span calls."""
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def line_of(trace_id: str, span_id: str, *, sampled: bool) -> str:
    """Return the same with the name of the field, as the line of a head."""
    return f"traceparent: 00-{trace_id}-{span_id}-01" if sampled else f"traceparent: 00-{trace_id}-{span_id}-00"
