"""Look-ups that are kept for a while, for each worker: `cached` decorates the function that looks up."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial, update_wrapper
from typing import Any, Final, Generic, ParamSpec, TypeVar
from weakref import WeakSet

import gevent
from gevent.event import Event

from gproxy.config.types.units import parse_seconds

P = ParamSpec("P")
T = TypeVar("T")

_log: Final = logging.getLogger("gproxy")
_clock: Callable[[], float] = time.monotonic
_all: "Final[WeakSet[Cached[Any, Any]]]" = WeakSet()


def use_clock(clock: Callable[[], float]) -> None:
    """Forget all that is kept, and let this clock tell the ages from now on; for the test kit."""
    global _clock  # noqa: PLW0603 functions are decorated before there is a gateway
    _clock = clock
    for one in list(_all):
        one.clear()


def cached(
    ttl: str | float = "30s",
    max: int = 10_000,  # noqa: A002 the public name
    stale: str | float = "10m",
) -> "Callable[[Callable[P, T]], Cached[P, T]]":
    """Return a decorator that keeps the results of a function by its arguments.

    `ttl`: for how long a result is returned without another call. `stale`: for how long after that a result still
    stands in for a call that fails. Both are seconds, or a text such as `30s`. `max`: the number of results kept; the
    one that was not used for the longest time leaves. Raises ValueError for another text, and for `max` below 1.
    """
    if max < 1:
        raise ValueError(f"max is {max}; expected at least 1")
    seconds, more = _seconds(ttl), _seconds(stale)
    return lambda function: Cached(function, seconds, max, more)


def _seconds(value: str | float) -> float:
    return parse_seconds(value) if isinstance(value, str) else float(value)


class Cached(Generic[P, T]):
    """A function whose results are kept. Of calls with equal arguments one runs at a time, and the others wait for it.

    A call runs in a greenlet of its own: a request that ends does not end it, so the others get its result. If it
    raises an exception, they get the last result as long as that is not too old, else the exception. As a method, it
    keeps the results of each object apart. `clear` forgets all results.
    """

    def __init__(self, function: Callable[P, T], ttl: float, most: int, stale: float) -> None:
        self._function = function
        self._ttl, self._most, self._stale = ttl, most, stale
        self._name = ""
        #: The results by arguments, the least recently used first.
        self._results: OrderedDict[Hashable, _Result[T]] = OrderedDict()
        #: The calls that have not ended.
        self._calls: dict[Hashable, _Call[T]] = {}
        #: True while the calls fail, which the log has once.
        self._is_failing = False
        update_wrapper(self, function)
        _all.add(self)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> "Cached[..., T]":
        """Return the cache of this object, which is made at the first use and kept in the object."""
        if instance is None:
            return self
        function: Callable[..., T] = self._function
        method: Callable[..., T] = partial(function, instance)
        update_wrapper(method, self._function)
        own = Cached(method, self._ttl, self._most, self._stale)
        instance.__dict__[self._name] = own
        return own

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result for these arguments, which must be hashable. Raises what the function raises."""
        key: Hashable = (args, tuple(sorted(kwargs.items()))) if kwargs else args
        kept = self._results.get(key)
        if kept is not None and _clock() - kept.since < self._ttl:
            self._results.move_to_end(key)
            return kept.value
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call()
            gevent.spawn(self._run, key, call, partial(self._function, *args, **kwargs))
        call.ended.wait()
        if call.result is not None:
            return call.result.value
        kept = self._results.get(key)
        if kept is not None and _clock() - kept.since < self._ttl + self._stale:
            return kept.value
        assert call.error is not None  # noqa: S101 a call has one of both
        raise call.error.with_traceback(call.traceback)  # the same one for all that wait

    def clear(self) -> None:
        """Forget all results; a call that runs still ends for those that wait for it."""
        self._results.clear()
        self._calls.clear()

    def _run(self, key: Hashable, call: "_Call[T]", function: Callable[[], T]) -> None:
        """Make the call, and wake all that wait; a greenlet's own exception would be printed."""
        try:
            call.result = _Result(function(), _clock())
        except BaseException as error:  # noqa: BLE001 those who wait raise it
            call.error, call.traceback = error, error.__traceback__
        finally:
            if self._calls.get(key) is call:  # else cleared meanwhile
                del self._calls[key]
                self._note(key, call)
            call.ended.set()

    def _note(self, key: Hashable, call: "_Call[T]") -> None:
        """Keep the result; log the first failure after a success."""
        if call.result is not None:
            self._results[key] = call.result
            self._results.move_to_end(key)
            if len(self._results) > self._most:
                self._results.popitem(last=False)
        elif not self._is_failing:
            name = getattr(self, "__qualname__", "a look-up")
            _log.warning(
                "%s fails, and stale results stand in where there are any: %s", name, type(call.error).__name__
            )
        self._is_failing = call.result is None


class _Result(Generic[T]):
    """A result, and the time at which it came."""

    __slots__ = ("since", "value")

    def __init__(self, value: T, since: float) -> None:
        self.value = value
        self.since = since


class _Call(Generic[T]):
    """A call that runs, and what has come of it once it has ended."""

    __slots__ = ("ended", "error", "result", "traceback")

    def __init__(self) -> None:
        self.ended = Event()
        self.result: _Result[T] | None = None
        self.error: BaseException | None = None
        self.traceback: Any = None
