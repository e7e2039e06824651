"""A function in a thread of the worker, which talks with the greenlet that waits for it."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import gevent
from gevent.event import Event
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

from gproxy.http.errors import HTTPError
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired

#: The original lock: in a thread, gevent's would need a loop of its own.
_new_lock: Final = get_original("_thread", "allocate_lock")
_DEADLINES: Final = (TimeLimit.DEADLINE, TimeLimit.TOTAL)


class Abandoned(BaseException):
    """The end of a thread's conversation, raised in the thread: its greenlet has left."""


class _Message(NamedTuple):
    """A message of the thread; `asks` if the thread waits for a reply."""

    content: Any
    asks: bool


class Ended(NamedTuple):
    """The last message of a thread: what the function has returned or raised."""

    result: Any
    error: BaseException | None


class OffloadedCall:
    """A call that asks its greenlet for what only the greenlet can do; the thread waits for each reply.

    `function` gets this object. `count_dropped` is called if it ends after the greenlet has left. The thread is one of
    `threads`.
    """

    def __init__(
        self, function: Callable[["OffloadedCall"], Any], count_dropped: Callable[[], None], threads: ThreadPool
    ) -> None:
        self._function = function
        self._count_dropped = count_dropped
        self._threads = threads
        self._hub = gevent.get_hub()
        self._messages: deque[_Message] = deque()
        self._arrived = Event()
        self._turn = _new_lock()
        self._turn.acquire()
        self._reply: Any = None
        self._error: BaseException | None = None
        #: What the function has returned or raised, until the loop takes it.
        self._result: Any = None
        self._raised: BaseException | None = None
        self._has_begun = self._is_abandoned = self._has_ended = False
        #: True while the thread waits for a reply to the last message received.
        self._owes = False

    # The greenlet's side.

    def start(self) -> None:
        """Run the function in a thread. Raise HTTPError 503 if all threads are taken until the deadline."""
        try:
            self._threads.spawn(self._run)  # may wait for a thread
        except Expired as error:
            raise _busy(error) from None

    def receive(self) -> Any:  # noqa: ANN401 the messages are the callers'
        """Wait for the next message of the thread, and return it. What ends the wait ends the conversation too.

        Raise HTTPError 503 if all threads are taken until the deadline.
        """
        try:
            while not self._messages:
                self._arrived.wait()
                self._arrived.clear()
        except BaseException as error:
            self.abandon()
            if isinstance(error, Expired) and not self._has_begun:
                raise _busy(error) from None
            raise
        content, self._owes = self._messages.popleft()
        if isinstance(content, Ended):
            self._has_ended = True
        return content

    def reply(self, value: Any = None, error: BaseException | None = None) -> None:  # noqa: ANN401 as above
        """Let the thread go on: its question returns the value, or raises the error."""
        self._reply, self._error, self._owes = value, error, False
        self._turn.release()

    def abandon(self) -> None:
        """End the conversation; the thread learns it with its next message. Nothing happens if it has ended."""
        if self._has_ended or self._is_abandoned:
            return
        self._is_abandoned = True
        if self._owes or any(message.asks for message in self._messages):
            self._turn.release()

    # The thread's side.

    def ask(self, message: Any) -> Any:  # noqa: ANN401 as above
        """Send a message to the greenlet, and return its reply. Raise its error, or Abandoned."""
        self._send(message, asks=True)
        self._turn.acquire()
        if self._is_abandoned:
            raise Abandoned
        if self._error is not None:
            raise self._error
        return self._reply

    def tell(self, message: Any) -> None:  # noqa: ANN401 as above
        """Send a message to the greenlet without a reply."""
        self._send(message, asks=False)

    def _send(self, content: Any, *, asks: bool) -> None:  # noqa: ANN401 as above
        self._hub.loop.run_callback_threadsafe(self._deliver, _Message(content, asks))

    def _run(self) -> None:
        self._has_begun = True
        has_run = not self._is_abandoned
        if has_run:
            try:
                self._result = self._function(self)
            except BaseException as error:  # noqa: BLE001 the greenlet raises it
                self._raised = error
        self._hub.loop.run_callback_threadsafe(self._end, has_run)

    # The loop of the greenlet.

    def _end(self, has_run: bool) -> None:
        """Take the end of the thread, and let go of the function, the result and the error.

        What they refer to, such as the request, must not end in the thread: its finalizers may use the loop.
        """
        ended = Ended(self._result, self._raised)
        self._function, self._result, self._raised = _nothing, None, None
        if has_run:
            self._deliver(_Message(ended, asks=False))

    def _deliver(self, message: _Message) -> None:
        """Take a message."""
        if not self._is_abandoned:
            self._messages.append(message)
            self._arrived.set()
        elif isinstance(message.content, Ended):
            self._count_dropped()
        elif message.asks:
            self._turn.release()  # `ask` raises Abandoned


def _nothing(_: OffloadedCall) -> None:
    """Stand for a function that has ended."""


def _busy(error: Expired) -> BaseException:
    """Return what the client gets at the end of a wait for a thread."""
    if error.limit not in _DEADLINES:
        return error
    return HTTPError(503, "all threads are taken", {"Retry-After": "1"}, reason="threads_busy")
