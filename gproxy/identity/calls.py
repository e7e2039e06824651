"""Calls to others, one at a time for each key: what a client can send again and again is asked once."""

from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

import gevent
from gevent.lock import BoundedSemaphore

from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.identity.errors import Unavailable
from gproxy.runtime.client_watch import ClientWatch

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
T = TypeVar("T")


class Calls(Generic[K, A, T]):
    """Calls of a function that may block, of which at most `most` run at the same time.

    Each call runs in a greenlet of its own, so a client that leaves cancels nothing for the others that wait for the
    same result. `timeout` bounds a call with the wait for its turn, in seconds. The function gets its argument and the
    remaining seconds; it returns a result, and raises nothing but Exceptions. `check` raises HTTPError for a request
    whose client may send no more: when its turn comes, no call is made that only such requests wait for.
    """

    def __init__(
        self, function: Callable[[A, float], T], *, most: int, timeout: float, check: Callable[[Request], object]
    ) -> None:
        self._function = function
        self._check = check
        self._timeout = timeout
        self._turns = BoundedSemaphore(most)
        #: The calls that have not ended, by key.
        self._calls: dict[K, _Call[T]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def result(self, key: K, argument: A, seconds: float, request: Request) -> T:
        """Return the result of the present call for `key`, or of a new one; wait for `seconds` at most.

        Raises what the function raises, Unavailable if there is no result in time, and ClientGone if the client of this
        request leaves.
        """
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call()
            gevent.spawn(self._run, key, argument, call)
        watch = ClientWatch.of(request)
        call.waiting[watch] = request
        try:
            watch.wait(seconds)
        finally:
            del call.waiting[watch]
        if call.error is not None:
            raise call.error.with_traceback(None)  # the same one for all that wait
        if not call.results:
            raise self._late()
        return call.results[0]

    def _run(self, key: K, argument: A, call: "_Call[T]") -> None:
        """Make the call, and give its outcome to all that wait; a greenlet's own exception would be printed."""
        try:
            call.results.append(self._call(argument, call))
        except Exception as error:  # noqa: BLE001 those who wait raise it
            call.error = error
        finally:
            del self._calls[key]
            for watch in call.waiting:
                watch.wake()

    def _call(self, argument: A, call: "_Call[T]") -> T:
        ends = monotonic() + self._timeout
        if not self._turns.acquire(timeout=self._timeout):
            raise self._late()
        try:
            gevent.sleep(0)  # so that those with the last result have counted it
            self._check_all(call)
            # A gevent.Timeout is no Exception, so the function's `except Exception` does not swallow it.
            with gevent.Timeout(max(ends - monotonic(), 0.0)):
                return self._function(argument, max(ends - monotonic(), 0.001))
        except gevent.Timeout:  # also one of the function's own
            raise self._late() from None
        finally:
            self._turns.release()

    def _check_all(self, call: "_Call[T]") -> None:
        """Raise HTTPError unless a client that waits may send more: all may have come before the first was counted."""
        rejection: HTTPError | None = None
        for request in list(call.waiting.values()):
            try:
                self._check(request)
            except HTTPError as error:
                rejection = error
            else:
                return
        if rejection is None:  # none needs the result any more, and others wait for their turn
            raise self._late()
        raise rejection

    def _late(self) -> Unavailable:
        return Unavailable(f"no answer within {self._timeout:g} s")


class _Call(Generic[T]):
    """A call, its result or error once it has ended, and those who wait for it."""

    __slots__ = ("error", "results", "waiting")

    def __init__(self) -> None:
        self.results: list[T] = []
        self.error: Exception | None = None
        self.waiting: dict[ClientWatch, Request] = {}
