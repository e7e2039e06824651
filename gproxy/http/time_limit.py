"""The time limits of the gateway: what a client gets when one expires, and whether that counts against the backend."""

import math
from typing import ClassVar


class TimeLimit:
    """A bound on waiting. `status` and `reason` hold before a response's head, `reason_after_head` afterwards.

    A status of 0 means that the connection closes without a response. `counts_against_backend` holds before the head.
    `of` returns the limit as an option sets it. Limits that differ only in this are equal.
    """

    IDLE: ClassVar["TimeLimit"]
    HANDSHAKE: ClassVar["TimeLimit"]
    HEAD: ClassVar["TimeLimit"]
    BODY: ClassVar["TimeLimit"]
    WRITE: ClassVar["TimeLimit"]
    RATE: ClassVar["TimeLimit"]
    TUNNEL: ClassVar["TimeLimit"]
    IDENTITY: ClassVar["TimeLimit"]
    DRAINING: ClassVar["TimeLimit"]
    CUT: ClassVar["TimeLimit"]
    HANDLER: ClassVar["TimeLimit"]
    DEADLINE: ClassVar["TimeLimit"]
    TOTAL: ClassVar["TimeLimit"]
    CALL: ClassVar["TimeLimit"]
    ATTEMPT: ClassVar["TimeLimit"]
    FIRST_BYTE: ClassVar["TimeLimit"]
    READ: ClassVar["TimeLimit"]

    __slots__ = (
        "_after", "counts_against_backend", "label", "option", "reason", "reason_after_head", "seconds", "status",
    )  # fmt: skip

    def __init__(
        self,
        label: str,
        status: int = 0,
        reason: str = "",
        reason_after_head: str = "",
        *,
        counts: bool = False,
        after: str = "",
        option: str = "",
    ) -> None:
        self.label = label
        self.status = status
        self.reason = reason
        self.reason_after_head = reason_after_head
        self.counts_against_backend = counts
        #: The words for what has lasted so long when a body is broken off; empty: `without data`.
        self._after = after
        #: The option and its section; empty if no option sets the limit, or if the caller does not know which.
        self.option = option
        #: The value of the option; infinite if unknown.
        self.seconds = math.inf

    def of(self, seconds: float, option: str) -> "TimeLimit":
        """Return the limit with a value and its origin, such as `read_timeout of [upstream:app]`."""
        limit = TimeLimit(
            self.label,
            self.status,
            self.reason,
            self.reason_after_head,
            counts=self.counts_against_backend,
            after=self._after,
            option=option,
        )
        limit.seconds = seconds
        return limit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimeLimit) and other.label == self.label

    def __hash__(self) -> int:
        return hash(self.label)

    def __str__(self) -> str:
        if not self.option:
            return f"{self.label} timeout"
        return self.option if self.seconds == math.inf else f"{self.seconds:g} s, {self.option}"

    def __repr__(self) -> str:
        return f"<TimeLimit {self}>"

    @property
    def cut(self) -> str:
        """The end of a log line about a broken body: ` after 3 s without data (read_timeout of [upstream:app])`."""
        if not self.option:
            return f" {self._after}" if self._after else f": {self}"
        after = "" if self.seconds == math.inf else f"after {self.seconds:g} s "
        return f" {after}{self._after or 'without data'} ({self.option})"


TimeLimit.IDLE = TimeLimit("idle")
TimeLimit.HANDSHAKE = TimeLimit("handshake")
TimeLimit.HEAD = TimeLimit("head", 408, "client_timeout", option="head_timeout of [server]")
TimeLimit.BODY = TimeLimit("body", 408, "client_timeout", "client_timeout", option="body_timeout of [server]")
TimeLimit.WRITE = TimeLimit(
    "write", 0, "", "client_timeout", after="because the client does not read", option="write_timeout of [server]"
)
TimeLimit.RATE = TimeLimit(
    "rate", 408, "client_slow", "client_slow", after="because the client is too slow", option="min_rate of [server]"
)
TimeLimit.TUNNEL = TimeLimit("tunnel", 0, "", "tunnel_idle")
#: Of an endless response, and so only after a head.
TimeLimit.IDENTITY = TimeLimit(
    "identity", 0, "", "auth_expired", after="because the identity has expired", option="end_streams"
)
TimeLimit.DRAINING = TimeLimit("draining", 503, "draining", "draining")
#: Of a request that an operator ends.
TimeLimit.CUT = TimeLimit("cut", 503, "cut", "cut", after="because an operator has cut it")
#: Of the own time of one handler.
TimeLimit.HANDLER = TimeLimit("handler", 504, "handler_timeout")
#: If no backend was tried, a handler was too slow: `handler_timeout`, and nothing counts.
TimeLimit.DEADLINE = TimeLimit("deadline", 504, "backend_timeout", "deadline_mid_body", counts=True)
TimeLimit.TOTAL = TimeLimit("total", 504, "backend_timeout", "deadline_mid_body", counts=True, after="in all")
#: Of a gRPC call, by its client: no fault of the backend.
TimeLimit.CALL = TimeLimit("call", 504, "grpc_timeout", "grpc_timeout", after="in all")
TimeLimit.ATTEMPT = TimeLimit("attempt", 504, "per_try_timeout", counts=True)
TimeLimit.FIRST_BYTE = TimeLimit("first_byte", 504, "first_byte_timeout", counts=True)
TimeLimit.READ = TimeLimit("read", 504, "read_timeout", "read_timeout", counts=True)


class ExchangeLimits:
    """The limits of one route's exchanges: until the response's head, and then for each piece of its body."""

    __slots__ = ("event_stream", "head", "is_paced", "piece", "total")

    def __init__(self, head: TimeLimit, total: TimeLimit | None, piece: TimeLimit, event_stream: TimeLimit) -> None:
        self.head = head
        #: The limit of the whole exchange; None without one.
        self.total = total
        #: For a piece of a handler's own body; a backend's body has its own limit.
        self.piece = piece
        self.event_stream = event_stream
        #: True if `min_rate` bounds the client; False for a route with `stream = yes`.
        self.is_paced = piece != TimeLimit.TUNNEL

    @classmethod
    def of_gateway(cls, timeout: float, total_timeout: float | None = None) -> "ExchangeLimits":
        """Return the limits of requests without a route."""
        head = TimeLimit.DEADLINE.of(timeout, "timeout of [gateway]")
        total = None if total_timeout is None else TimeLimit.TOTAL.of(total_timeout, "total_timeout of [gateway]")
        return cls(head, total, head, head)
