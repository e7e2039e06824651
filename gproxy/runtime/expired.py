"""What an alarm throws."""

import gevent


class Expired(gevent.Timeout):  # type: ignore[misc]
    """Time is up; `what` says which time: "idle", "head", "body", "write", "deadline", "attempt", "first_byte",
    "read", "tunnel", "handshake", "draining".

    A gevent.Timeout, and so no Exception: a handler's `except Exception` does not swallow it.
    """

    def __init__(self, what: str) -> None:
        super().__init__(None)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} timeout"
