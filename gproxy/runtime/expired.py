"""The exception that an alarm throws."""

import gevent


class Expired(gevent.Timeout):  # type: ignore[misc]
    """The end of a time limit. `what` names the limit: "idle", "head", "body", "write", "deadline", "attempt",
    "first_byte", "read", "tunnel", "handshake", "draining".

    A gevent.Timeout is no Exception, so a handler's `except Exception` does not swallow it.
    """

    def __init__(self, what: str) -> None:
        super().__init__(None)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} timeout"
