"""Look-ups that are kept for a while, for each worker: `cached` decorates the function that looks up."""

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial, update_wrapper
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

import gevent
from gevent.event import Event

from gproxy.config.types.units import parse_seconds

P = ParamSpec("P")
T = TypeVar("T")

_log: Final = logging.getLogger("gproxy")
#: The most characters of an exception in the log.
_LONGEST: Final = 200
_clock: Callable[[], float] = time.monotonic
#: The greenlets of calls.
_greenlets: "Final[WeakSet[gevent.Greenlet]]" = WeakSet()
_all: "Final[WeakSet[Cached[Any, Any]]]" = WeakSet()


class Watch(Protocol):
    """A wait of one greenlet for the end of a call."""

    def wait(self) -> None:
        """Wait for `wake`. Raises whatever ends the wait earlier."""

    def wake(self) -> None: ...


class _Plain:
    """A wait that only `wake` ends."""

    def __init__(self) -> None:
        event = Event()
        self.wait, self.wake = event.wait, event.set


_new_watch: Callable[[], Watch] = _Plain
_new_block: Callable[[], AbstractContextManager[None]] = nullcontext


def use_watch(new_watch: Callable[[], Watch]) -> None:
    """Let a greenlet that waits for a call wait with such a watch; for the runtime, which knows the clients."""
    global _new_watch  # noqa: PLW0603 functions are decorated before there is a gateway
    _new_watch = new_watch


def use_block(new_block: Callable[[], AbstractContextManager[None]]) -> None:
    """Let a call run in such a block, which is made where the call begins; for the runtime, which knows the request."""
    global _new_block  # noqa: PLW0603 functions are decorated before there is a gateway
    _new_block = new_block


def use_clock(clock: Callable[[], float]) -> None:
    """Forget all that is kept, and let this clock tell the ages from now on; for the test kit."""
    global _clock  # noqa: PLW0603 functions are decorated before there is a gateway
    _clock = clock
    for one in list(_all):
        one.clear()


def is_in_call(one: Any) -> bool:  # noqa: ANN401 gevent has no types
    """Return whether the greenlet makes a call that runs, or was spawned by the one that does."""
    while one is not None and one not in _greenlets:
        spawner = getattr(one, "spawning_greenlet", None)
        one = spawner() if spawner is not None else None
    return one is not None and not one.dead


def cached(
    ttl: str | float = "30s",
    max: int = 10_000,  # noqa: A002 the public name
    stale: str | float = "10m",
    timeout: str | float = "60s",
) -> "Callable[[Callable[P, T]], Cached[P, T]]":
    """Return a decorator that keeps the results of a function by its arguments.

    `ttl`: for how long a result is returned without another call. `stale`: for how long after that a result still
    stands in for a call that fails. `timeout` ends a call, which fails with TimeoutError. All three are seconds, or a
    text such as `30s`. `max`: the number of results kept, of which the one that was not used for the longest time
    leaves; and of calls that run at a time, beyond which a further one fails with RuntimeError. Raises ValueError for
    another text, and for `max` below 1.
    """
    if max < 1:
        raise ValueError(f"max is {max}; expected at least 1")
    seconds, more, longest = _seconds(ttl), _seconds(stale), _seconds(timeout)
    return lambda function: Cached(function, seconds, max, more, longest)


def _seconds(value: str | float) -> float:
    return parse_seconds(value) if isinstance(value, str) else float(value)


class Cached(Generic[P, T]):
    """A function whose results are kept. Of calls with equal arguments one runs at a time, and the others wait for it.

    A call runs in a greenlet of its own: a request that ends does not end it, so the others get its result. If it
    raises an exception, they get the last result as long as that is not too old, else the exception. As a method, it
    keeps the results of each object apart. `clear` forgets all results.
    """

    def __init__(self, function: Callable[P, T], ttl: float, most: int, stale: float, longest: float) -> None:
        self._function = function
        self._ttl, self._most, self._stale, self._longest = ttl, most, stale, longest
        self._name = ""
        #: The results by arguments, the least recently used first.
        self._results: OrderedDict[Hashable, _Result[T]] = OrderedDict()
        #: The calls that have not ended, but for those before `clear`.
        self._calls: dict[Hashable, _Call[T]] = {}
        #: The number of all calls that have not ended.
        self._running = 0
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
        own = Cached(method, self._ttl, self._most, self._stale, self._longest)
        instance.__dict__[self._name] = own
        return own

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result for these arguments, which must be hashable. Raises what the function raises.

        Raises TimeoutError if a call lasts too long, and RuntimeError if too many run. The wait ends with the
        request that the greenlet serves: Expired at its deadline, and ClientGone if its client leaves.
        """
        key: Hashable = (args, tuple(sorted(kwargs.items()))) if kwargs else args
        kept = self._results.get(key)
        if kept is not None and _clock() - kept.since < self._ttl:
            self._results.move_to_end(key)
            return kept.value
        call = self._calls.get(key)
        if call is None:
            call = self._begin(key, partial(self._function, *args, **kwargs))
        call.wait()
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

    def _begin(self, key: Hashable, function: Callable[[], T]) -> "_Call[T]":
        """Begin a call, and return it; one that has failed if too many run."""
        call: _Call[T] = _Call()
        if self._running < self._most:
            self._running += 1
            self._calls[key] = call
            _greenlets.add(gevent.spawn(self._run, key, call, function, _new_block()))
        else:
            call.end(RuntimeError(f"{self._most} calls of {self._title} run already"))
        return call

    def _run(
        self, key: Hashable, call: "_Call[T]", function: Callable[[], T], block: AbstractContextManager[None]
    ) -> None:
        """Make the call, and wake all that wait; a greenlet's own exception would be printed."""
        limit = gevent.Timeout(self._longest)
        error: BaseException | None = None
        try:
            with limit, block:
                call.result = _Result(function(), _clock())
        except BaseException as raised:  # noqa: BLE001 those who wait raise it
            error = raised
            if raised is limit:
                error = TimeoutError(f"{self._title} has not ended within {self._longest:g} s")
        finally:
            self._running -= 1
            call.end(error)
            if self._calls.get(key) is call:  # else cleared meanwhile
                del self._calls[key]
                self._note(key, call)

    @property
    def _title(self) -> str:
        return getattr(self, "__qualname__", "a look-up")

    def _note(self, key: Hashable, call: "_Call[T]") -> None:
        """Keep the result; log the first failure after a success."""
        if call.result is not None:
            self._results[key] = call.result
            self._results.move_to_end(key)
            if len(self._results) > self._most:
                self._results.popitem(last=False)
        elif not self._is_failing:
            _log.warning("%s fails: %s; %s", self._title, _reason(call.error, key), self._stand_in(key))
        self._is_failing = call.result is None

    def _stand_in(self, key: Hashable) -> str:
        """Return what those that wait get in place of a result, for the log."""
        kept = self._results.get(key)
        if kept is None:
            return "there is no earlier result"
        is_usable = _clock() - kept.since < self._ttl + self._stale
        return "the last result stands in" if is_usable else "the last result is too old to stand in"


def _reason(error: BaseException | None, key: Hashable) -> str:
    """Return why a call has failed, for the log; without the text of the exception if that has an argument.

    Arguments may be secrets.
    """
    name, text = type(error).__name__, str(error).partition("\n")[0][:_LONGEST]
    shows_argument = any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text) for one in _texts(key))
    return name if shows_argument or not text else f"{name} {text}"


def _texts(key: Hashable) -> Iterator[str]:
    """Yield the arguments in a key, and their parts, as texts; the names of those that are named, too."""
    if isinstance(key, tuple | frozenset):
        for one in key:
            yield from _texts(one)
    elif text := key.decode("latin-1") if isinstance(key, bytes) else str(key):
        yield text


class _Result(Generic[T]):
    """A result, and the time at which it came."""

    __slots__ = ("since", "value")

    def __init__(self, value: T, since: float) -> None:
        self.value = value
        self.since = since


class _Call(Generic[T]):
    """A call that runs, and what has come of it once it has ended."""

    __slots__ = ("_watches", "error", "is_done", "result", "traceback")

    def __init__(self) -> None:
        self.is_done = False
        #: Those of the greenlets that wait.
        self._watches: dict[Watch, None] = {}
        self.result: _Result[T] | None = None
        self.error: BaseException | None = None
        self.traceback: Any = None

    def wait(self) -> None:
        """Wait until the call has ended. Raises whatever ends the wait earlier."""
        if self.is_done:
            return
        watch = _new_watch()
        self._watches[watch] = None
        try:
            while not self.is_done:
                watch.wait()
        finally:
            del self._watches[watch]

    def end(self, error: BaseException | None) -> None:
        """End the call, be it with this error, and wake all that wait."""
        self.is_done = True
        if error is not None:
            self.error, self.traceback = error, error.__traceback__
        for watch in self._watches:
            watch.wake()
