"""The exception that an alarm throws."""

import gevent

from gproxy.http.time_limit import TimeLimit


class Expired(gevent.Timeout):  # type: ignore[misc]
    """The end of a time limit.

    A gevent.Timeout is no Exception, so a handler's `except Exception` does not swallow it.
    """

    def __init__(self, limit: TimeLimit) -> None:
        super().__init__(None)
        self.limit = limit

    def __str__(self) -> str:
        return str(self.limit)


def is_cut(error: BaseException) -> bool:
    """Return whether an operator has ended the request, so that nothing follows about its backend."""
    return isinstance(error, Expired) and error.limit == TimeLimit.CUT
