"""What of an answer is the same in each run: values with times, random numbers or ids are not."""

import re
from collections.abc import Iterator
from typing import Any, Final

from gproxy.http.header_names import HOP_BY_HOP, SET_BY_GATEWAY

#: Fields that vary with the time or with the requests before, whatever their values are.
_VARYING: Final = frozenset(
    {
        "age", "content-length", "date", "etag", "expires", "last-modified", "proxy-status", "retry-after", "server",
        "server-timing", "set-cookie", "traceparent", "tracestate", "vary",
    }
)  # fmt: skip
_OWN: Final = HOP_BY_HOP | SET_BY_GATEWAY | _VARYING
#: A time, a UUID, a long number, a token, or a long random word.
_varies: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:|\d\d:\d\d:\d\d|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}|\d{10}|eyJ[\w-]{8,}\."
    r"|(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=-]{24,}|0x[0-9a-f]{6}"
).search


class Stable:
    """The judge of values: `identity` is the id of the request, `id_header` the field that has it."""

    def __init__(self, identity: str, id_header: str) -> None:
        self._identity = identity
        self._id_header = id_header.lower()

    def is_field(self, name: str) -> bool:
        """Return whether the field may have the same value in each run."""
        key = name.lower()
        return key not in _OWN and key != self._id_header and "ratelimit" not in key and "rate-limit" not in key

    def is_text(self, text: str) -> bool:
        """Return whether the text is the same in each run, as far as can be seen."""
        return not (self._identity and self._identity in text) and not _varies(text)

    def is_value(self, value: Any) -> bool:  # noqa: ANN401 any JSON
        """Return whether a JSON value is the same in each run, as far as can be seen."""
        return all(self._is_scalar(one) for one in _scalars(value))

    def _is_scalar(self, value: object) -> bool:
        if isinstance(value, float):
            return value.is_integer()  # others are durations more often than not
        return not (isinstance(value, int) and value >= 10**9) and (not isinstance(value, str) or self.is_text(value))


def _scalars(value: Any) -> Iterator[object]:  # noqa: ANN401 any JSON
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    else:
        yield value
