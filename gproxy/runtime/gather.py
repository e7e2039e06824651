"""Calls side by side: each in a greenlet of its own, all of them for the request of the greenlet that waits."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import gevent
from greenlet import GreenletExit

from gproxy.runtime.client_watch import ClientWatch, served_watch
from gproxy.runtime.lent_account import lend
from gproxy.runtime.served import served_request, serving

#: Seconds in which a call that is ended may still clean up.
_CLEAN_UP: Final = 1.0


def gather(*calls: Callable[[], Any], partial: bool = False) -> list[Any]:
    """Run the functions side by side, and return their results in this order.

    The first exception ends the others and is raised. With `partial`, exceptions are results, and a call that a time
    limit has ended is one too. All calls end with the request: at its deadline, and when its client leaves.
    """
    request = served_request()
    watch = served_watch()
    parts = [_Part(call, lend() if request is None else serving(request), watch) for call in calls]
    greenlets = [gevent.spawn(part.run) for part in parts]
    try:
        while not _is_over(parts, partial=partial):
            watch.wait()
    finally:
        _end([one for one in greenlets if not one.dead])
    return [part.outcome if part.error is None else part.error for part in parts]


class _Part:
    """A call, and what has come of it."""

    def __init__(self, call: Callable[[], Any], block: AbstractContextManager[None], watch: ClientWatch) -> None:
        self._call = call
        self._block = block
        self._watch = watch
        self.is_done = False
        self.outcome: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Make the call, and wake the one that waits; an exception of the greenlet itself would be printed."""
        try:
            with self._block:
                self.outcome = self._call()
        except BaseException as error:  # noqa: BLE001 the greenlet that waits raises it
            self.error = error
        finally:
            self.is_done = True
            self._watch.wake()


def _is_over(parts: Sequence[_Part], *, partial: bool) -> bool:
    """Return whether all parts are done. Raise the first exception, or the first that is no result."""
    for part in parts:
        error = part.error
        if error is not None and not (partial and isinstance(error, Exception | gevent.Timeout)):
            raise error
    return all(part.is_done for part in parts)


def _end(greenlets: Sequence[gevent.Greenlet]) -> None:
    """End the greenlets, and wait until they have given back what they hold."""
    if greenlets:
        gevent.killall(greenlets, GreenletExit, block=False)
        gevent.joinall(greenlets, timeout=_CLEAN_UP)
