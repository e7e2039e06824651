"""The time limits of the gateway: what a client gets when one expires, and whether that counts against the backend."""

from enum import Enum


class TimeLimit(Enum):
    """A bound on waiting. `status` and `reason` hold before a response's head, `reason_after_head` afterwards.

    A status of 0 means that the connection closes without a response. `counts_against_backend` holds before the head.
    """

    IDLE = "idle", 0, "", "", False
    HANDSHAKE = "handshake", 0, "", "", False
    HEAD = "head", 408, "client_timeout", "", False
    BODY = "body", 408, "client_timeout", "client_timeout", False
    WRITE = "write", 0, "", "client_timeout", False
    TUNNEL = "tunnel", 0, "", "tunnel_idle", False
    DRAINING = "draining", 503, "draining", "draining", False
    #: If no backend was tried, a handler was too slow: `handler_timeout`, and nothing counts.
    DEADLINE = "deadline", 504, "backend_timeout", "deadline_mid_body", True
    ATTEMPT = "attempt", 504, "per_try_timeout", "", True
    FIRST_BYTE = "first_byte", 504, "first_byte_timeout", "", True
    READ = "read", 504, "read_timeout", "read_timeout", True

    def __init__(
        self, label: str, status: int, reason: str, reason_after_head: str, counts_against_backend: bool
    ) -> None:
        self.label = label
        self.status = status
        self.reason = reason
        self.reason_after_head = reason_after_head
        self.counts_against_backend = counts_against_backend
