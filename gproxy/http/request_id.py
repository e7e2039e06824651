"""Request ids: which are valid, and new ones."""

import re
from os import urandom
from typing import Final

from gproxy.http.headers import FIELD_CHAR

#: Is it an id that a trusted proxy may choose? It stands in logs, where other characters would need quotes.
is_request_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
#: Is it an id that a handler may assign? It goes into heads, which other characters would garble.
is_assignable_id = re.compile(f"{FIELD_CHAR}*").fullmatch

#: Hexadecimal digits: those of an id's end, and as many of them as are drawn at once.
_END: Final = 15
_DRAWN: Final = 546 * _END


class RequestIDs:
    """UUIDs of version 7 in hexadecimal: they sort by time, in milliseconds (RFC 9562 section 5.7)."""

    def __init__(self) -> None:
        self._millis = 0
        self._prefix = ""
        self._random = ""
        self._at = 0

    def new(self, now: float) -> str:
        """The time (seconds since the epoch), the version with 12 bits that stay 0, the variant and 60 random bits."""
        millis = int(now * 1000)
        if millis != self._millis:
            self._millis = millis
            self._prefix = f"{millis:012x}70008"
        at = self._at
        if at >= len(self._random):
            self._random = urandom(_DRAWN // 2).hex()
            at = 0
        self._at = at + _END
        return self._prefix + self._random[at : at + _END]
