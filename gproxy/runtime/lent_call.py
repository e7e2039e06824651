"""A call in a thread, whose function, arguments and result are lent to the thread: they never end there.

Their finalizers may use the loop, which no other thread may touch. If the wait for a call ends early, the thread would
be the last one that holds them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def run_lent(hub: Any, function: Callable[..., T], arguments: tuple[object, ...]) -> T:  # noqa: ANN401 gevent has no types
    """Run a function in a thread of the hub, and return its result. Raises what the function raises."""
    #: The function with its arguments, then its result and its exception.
    lent: list[Any] = [(function, arguments)]
    ends: list[None] = []
    try:
        hub.threadpool.apply(_call, (lent, ends, hub.loop))
        _, result, error = lent
        if error is not None:
            raise error
        returned: T = result
        return returned
    finally:
        error = None
        _end(lent, ends, list.clear)


def _call(lent: list[Any], ends: list[None], loop: Any) -> None:  # noqa: ANN401 gevent has no types
    """Call the function, in the thread. Lend an exception too: gevent would print what a thread raises."""
    function, arguments = lent[0]
    try:
        lent += function(*arguments), None
    except BaseException as error:
        if ends:
            raise  # the greenlet has left, so the hub logs it
        lent += None, error
    finally:
        del function, arguments
        _end(lent, ends, partial(loop.run_callback_threadsafe, list.clear))


def _end(lent: list[Any], ends: list[None], clear: Callable[[list[Any]], object]) -> None:
    """End the part of the thread or the greenlet; the last one of them clears what was lent."""
    ends.append(None)
    if len(ends) > 1:
        clear(lent)
