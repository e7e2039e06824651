"""The stack of a greenlet that waits: where it waits, and in which handler.

Compiled functions have no frames. So a stack shows what is interpreted: handlers, libraries and the user's modules. The
gateway's own frames are omitted unless all are asked for, so an interpreted gateway shows what a compiled one does.
"""

import gc
from collections.abc import Iterator
from types import FrameType
from typing import Final, NamedTuple

import gevent
from greenlet import greenlet

from gproxy.introspection.handler_code import HandlerCode
from gproxy.runtime.user_files import is_own, is_users

#: The most frames of a stack, the innermost ones.
_MOST_FRAMES: Final = 100
#: The most other greenlets whose stacks a request shows.
_MOST_GREENLETS: Final = 20


class Place(NamedTuple):
    """The handler and the line at which a greenlet waits. `line` is FILE:LINE; both are empty in compiled code only."""

    handler: str
    line: str


def place_of(waiting: greenlet, code: HandlerCode) -> Place:
    """Return the innermost handler, and the innermost line of a handler or of the user's modules."""
    handler = line = ""
    for frame in outwards(waiting.gr_frame):
        is_handler = frame in code
        if not line and (is_handler or is_users(frame.f_code.co_filename)):
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if is_handler:
            handler = code.name(frame)
            break
    return Place(handler, line)


def stack_of(waiting: greenlet, code: HandlerCode, *, is_whole: bool = False) -> list[str]:
    """Return the innermost frames as `FILE:LINE FUNCTION`, outermost first; `is_whole` adds the gateway's own."""
    frames = (
        one for one in outwards(waiting.gr_frame) if is_whole or one in code or not is_own(one.f_code.co_filename)
    )
    found = [
        f"{one.f_code.co_filename}:{one.f_lineno} {one.f_code.co_qualname}"
        for one, _ in zip(frames, range(_MOST_FRAMES), strict=False)
    ]
    return found[::-1]


def spawned_by(parent: greenlet) -> list[greenlet]:
    """Return the greenlets that this one has spawned, and those that they have, as far as they wait for something.

    A handler may wait for them, and its own stack does not show for what. To find them takes milliseconds.
    """
    children: dict[int, list[greenlet]] = {}
    for one in gc.get_objects():
        # not isinstance: it asks proxies of libraries for the class of what they stand for
        if issubclass(type(one), gevent.Greenlet) and one.gr_frame is not None:
            children.setdefault(id(one.spawning_greenlet()), []).append(one)
    found = [parent]
    for one in found:
        if len(found) > _MOST_GREENLETS:
            break
        found += children.get(id(one), ())
    return found[1 : _MOST_GREENLETS + 1]


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frame and those around it."""
    while frame is not None:
        yield frame
        frame = frame.f_back
