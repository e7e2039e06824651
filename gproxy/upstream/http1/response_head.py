"""A parsed response head, reused while a backend repeats the same bytes.

A busy backend often repeats its head: the date changes once a second, the length of a resource hardly ever. So a
connection keeps its last head in parsed form; the same bytes again cost one comparison and a dict copy. Long heads are
not kept: parsed they take some times as much memory, on each idle connection.
"""

import math
import re
from typing import Final

from gproxy.http.field_names import HOP_BY_HOP, FieldNames
from gproxy.http.forwarding import connection_options, strip_hop_by_hop
from gproxy.http.framing import response_framing
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.response import ResponseHead
from gproxy.http.wire import StatusLine, parse_response

#: The largest response head that is accepted, and the longest that a connection remembers, in bytes.
MAX_HEAD: Final = 64 * 1024
LONGEST_REMEMBERED: Final = 2048

_TIMEOUT: Final = re.compile(r"(?i)(?<![\w-])timeout *= *\"?([0-9]{1,9})")


class HTTP1ResponseHead(ResponseHead):
    """A response head in parsed form; a function of the head's bytes and the request's method."""

    __slots__ = ("head", "idle_timeout", "method")

    def __init__(
        self,
        head: bytes,
        method: str,
        line: StatusLine,
        headers: Headers,
        framing: int,
        *,
        keep: bool,
        upgrade: str = "",
        idle_timeout: float = math.inf,
    ) -> None:
        super().__init__(line.status, line.reason, headers, framing, keep=keep, upgrade=upgrade)
        self.head = head
        self.method = method
        #: How long the idle connection may be used by the backend's Keep-Alive field, in seconds.
        self.idle_timeout = idle_timeout


_names: Final = FieldNames(lambda name, _: HOP_BY_HOP if name in RESPONSE_HOP_BY_HOP else 0)


def parse_response_head(head: bytes, method: str) -> HTTP1ResponseHead:
    """Parse the head. Raise BadMessage if it is malformed or ambiguous."""
    line, fields = parse_response(head, _names)
    minor, headers = line.minor, fields.headers
    framing = response_framing(headers, minor, line.status, method)
    headers.is_stripped = True
    if not fields.uses:  # PERF: nothing is removed
        return HTTP1ResponseHead(head, method, line, headers, framing, keep=bool(minor))
    options = connection_options(headers)
    keep = "close" not in options if minor else "keep-alive" in options
    upgrade = headers.lookup("upgrade") or ""
    announced = headers.lookup("keep-alive")
    idle_timeout = _announced(announced) if announced else math.inf
    strip_hop_by_hop(headers, options, fields.hop_by_hop)
    if line.status == 426 and upgrade:  # Upgrade names the required protocol (RFC 9110 section 15.5.22)
        headers.put("Upgrade", "upgrade", upgrade)
    return HTTP1ResponseHead(
        head, method, line, headers, framing, keep=keep, upgrade=upgrade.lower(), idle_timeout=idle_timeout
    )


def _announced(keep_alive: str) -> float:
    """Return how long a connection may be used by the `timeout=5` of Keep-Alive (RFC 2068 section 19.7.1.1)."""
    match = _TIMEOUT.search(keep_alive)
    return usable_for(int(match[1])) if match else math.inf


def usable_for(closed_after: float) -> float:
    """Return how long a connection may be used that the backend closes after so many seconds of idleness.

    The margin is two seconds, or half the time if that is less. It covers the network's latency and servers that look
    for idle connections once a second.
    """
    return max(closed_after - 2.0, closed_after / 2)
