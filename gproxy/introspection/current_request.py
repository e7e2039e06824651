"""The request on whose behalf code runs; frames and greenlets show it when someone asks, and requests note nothing.

Three ways lead to the request: a handler's frame has it among its values; a connection knows its greenlet; and a
greenlet, or a thread of Python's under gevent, notes at its start which request has spawned it.
"""

import gc
import sys
from collections.abc import Iterable, Sequence
from types import CodeType, FrameType
from typing import Final, Protocol

import gevent
from greenlet import getcurrent, greenlet

from gproxy.http.request import Request
from gproxy.introspection.handler_code import HandlerCode
from gproxy.observe.log import NOWHERE, Origin
from gproxy.runtime.alarm import Alarm

#: The attribute in which a greenlet has its origin.
_NOTE: Final = "gproxy_origin"


class ActiveRequest(Protocol):
    """A request in progress, and the alarm that knows its greenlet."""

    @property
    def alarm(self) -> Alarm: ...
    @property
    def request(self) -> Request | None: ...


class OpenConnection(Protocol):
    """A client connection with its requests in progress."""

    @property
    def active_requests(self) -> Sequence[ActiveRequest]: ...


class CurrentRequest:
    """The requests of a worker by their handlers' frames and by their greenlets.

    `connections` has an item for each listener, and may grow.
    """

    def __init__(self, code: HandlerCode, connections: Sequence[Iterable[OpenConnection]]) -> None:
        self._code = code
        self._connections = connections

    def note_spawned(self) -> None:
        """Let each greenlet that is spawned from now on note its origin."""
        gevent.Greenlet.add_spawn_callback(self._note)

    def forget_spawned(self) -> None:
        """Undo `note_spawned`."""
        gevent.Greenlet.remove_spawn_callback(self._note)

    def _note(self, spawned: gevent.Greenlet) -> None:
        frame = sys._getframe().f_back  # noqa: SLF001 the only way to the frames of the spawner; compiled code has none
        if origin := self._of_frames(frame) or getattr(getcurrent(), _NOTE, None):
            setattr(spawned, _NOTE, _Pooled(*origin) if _starts_pool_thread(frame) else origin)

    def origin(self) -> Origin:
        """Return the origin of the code that calls this, and of what is around it."""
        return self.here(sys._getframe().f_back)  # noqa: SLF001 the only way to the frames of the caller

    def here(self, frame: FrameType | None) -> Origin:
        """Return the origin of the running greenlet, whose innermost frame is `frame`."""
        return self._of_frames(frame) or self._of_greenlet(getcurrent())

    def _of_frames(self, frame: FrameType | None) -> Origin | None:
        """Return the origin that the frames of handlers show; None without such a frame, or without a request in it."""
        frame = self._code.innermost(frame)
        handler = self._code.name(frame) if frame is not None else ""
        while frame is not None:
            for value in frame.f_locals.values():
                if type(value) is Request:
                    return _origin(value, handler)
            frame = self._code.innermost(frame.f_back)
        return None

    def _of_greenlet(self, current: greenlet) -> Origin:
        note: Origin | None = getattr(current, _NOTE, None)
        if isinstance(note, _Pooled):
            return note if any(request.id == note.request_id for _, request in self._active()) else NOWHERE
        if note is not None:
            return note
        if isinstance(current, gevent.Greenlet | gevent.hub.Hub):  # no connection, so spare the search
            return NOWHERE
        request = next((request for one, request in self._active() if one.alarm.greenlet is current), None)
        return _origin(request, "") if request is not None else NOWHERE

    def _active(self) -> Iterable[tuple[ActiveRequest, Request]]:
        active = (one for many in self._connections for connection in many for one in connection.active_requests)
        return ((one, request) for one in active if (request := one.request) is not None)

    def running(self, frame: FrameType | None) -> Origin:
        """Return the origin of what runs in the main thread; called in another one. `frame` is the innermost."""
        if origin := self._of_frames(frame):
            return origin
        handler_frame = self._code.innermost(frame)
        handler = self._code.name(handler_frame) if handler_frame is not None else ""
        for one, request in self._active():
            if _is_running(one.alarm.greenlet):
                return _origin(request, handler)
        for thing in gc.get_objects():  # takes milliseconds, and runs once for a block outside of handlers
            if type(thing) is gevent.Greenlet and _is_running(thing) and (note := getattr(thing, _NOTE, None)):
                return Origin(*note)
        return NOWHERE._replace(handler=handler)


class _Pooled(Origin):
    """The origin of a thread of an executor, which runs the calls of other requests too once this one is over."""

    __slots__ = ()


def _origin(request: Request, handler: str) -> Origin:
    route = request.route
    name = "" if route is None else route.name
    return Origin(request.id, request.method, request.path, name, handler, request.exchange.trace_ids[0])


def _starts_pool_thread(frame: FrameType | None) -> bool:
    """Return whether the frames show that an executor of concurrent.futures starts one of its threads."""
    code = _pool_code()
    while frame is not None and code is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def _pool_code() -> CodeType | None:
    futures = sys.modules.get("concurrent.futures.thread")
    starts = getattr(getattr(futures, "ThreadPoolExecutor", None), "_adjust_thread_count", None)
    return getattr(starts, "__code__", None)


def _is_running(one: greenlet) -> bool:
    """Return whether the greenlet is the one that runs in its thread.

    A greenlet that waits has a frame, unless all its code is compiled; then a part of its C stack is saved.
    """
    return bool(one) and one.gr_frame is None and not one._stack_saved  # noqa: SLF001 gr_frame alone does not tell
