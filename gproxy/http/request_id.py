"""Request ids: valid ids, and new ones."""

import re
from os import urandom
from typing import Final

#: Matches an id that a trusted proxy may send. Ids appear in logs, where other characters would need quotes.
is_request_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch

#: Hexadecimal digits of an id's random end, and of one draw of random digits for many ids.
_END: Final = 15
_DRAWN: Final = 546 * _END


class RequestIDs:
    """A generator of version 7 UUIDs in hexadecimal: they sort by time, in milliseconds (RFC 9562 section 5.7)."""

    def __init__(self) -> None:
        self._millis = 0
        self._prefix = ""
        self._random = ""
        self._at = 0

    def new(self, now: float) -> str:
        """Return a new id: time (`now`, in epoch seconds), version with 12 zero bits, variant, 60 random bits."""
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
