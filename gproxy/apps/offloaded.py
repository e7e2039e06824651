"""A WSGI app in the threads of the worker, for drivers that wait in C and would block all other requests."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from gevent.threadpool import ThreadPool

from gproxy.apps.file_wrapper import FileWrapper
from gproxy.apps.input import AppInput
from gproxy.apps.output import AppOutput
from gproxy.http.errors import HTTPError
from gproxy.http.exchange import APP
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.runtime.offloaded_call import Ended, OffloadedCall

Answer = Callable[[Request, AppInput, AppOutput, object], Response]
#: The message of a thread that waits for bytes of the request body.
_READ: Final = "read"


class _Head(NamedTuple):
    """The message of a thread that has a response; `is_whole` if its body is bytes."""

    response: Response
    is_whole: bool


class AppThreads:
    """The threads of all offloaded apps of a worker, which start with the first request.

    They are none of `Runtime.offload`: while an app waits for a body, its greenlet may spool that body in a thread.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._size = runtime.app_threads
        self._pool: ThreadPool | None = None

    @property
    def pool(self) -> ThreadPool:
        """The threads."""
        if self._pool is None:
            self._pool = ThreadPool(self._size)
        return self._pool

    def close(self) -> None:
        """End the threads. If an app still blocks one, they end with the process."""
        pool, self._pool = self._pool, None
        if pool is not None and not len(pool):
            pool.kill()


class OffloadedApp:
    """The action of a route that calls an app in a thread. The greenlet of the request reads and sends for it.

    `answer` returns the response in the thread, `next_piece` bytes of the body in the greenlet. `read_ahead` bytes of a
    response are taken while its client reads slowly.
    """

    def __init__(
        self,
        answer: Answer,
        next_piece: Callable[[Request], bytes],
        threads: AppThreads,
        *,
        read_ahead: int,
        count_dropped: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._next_piece = next_piece
        self._threads = threads
        self._read_ahead = read_ahead
        self._count_dropped = count_dropped

    def __call__(self, request: Request) -> Response:
        """Return the app's response. A deadline ends the wait, not the thread.

        Raise what the app raises, and HTTPError 503 if all threads are taken until the deadline.
        """
        request.exchange.backend = APP
        call = OffloadedCall(partial(self._run, request), self._count_dropped, self._threads.pool)
        call.start()
        head = self._next(call, request)
        assert isinstance(head, _Head)  # noqa: S101 a thread ends with a response or an error
        response = head.response
        body = response.raw_body if head.is_whole else self._pieces(call, request)
        # A response of its own: the thread closes that of the app.
        passed = Response.forwarded(response.status, response.phrase, response.headers, body)
        if head.is_whole:
            return passed
        passed.on_close(call.abandon)
        request.at_end(call.abandon)  # a handler may drop the response instead of closing it
        if self._read_ahead and request.client_stream is not None:
            request.client_stream.read_ahead(self._read_ahead)
        return passed

    def _pieces(self, call: OffloadedCall, request: Request) -> Iterator[bytes]:
        call.reply()
        while not isinstance(message := self._next(call, request), Ended):
            yield message
            call.reply()

    def _next(self, call: OffloadedCall, request: Request) -> Any:  # noqa: ANN401 a piece, a head or the end
        """Return the next message that concerns the response; read for the thread meanwhile."""
        while (message := call.receive()) is _READ:
            try:
                call.reply(self._next_piece(request))
            except HTTPError as error:
                call.reply(error=error)
            except BaseException:
                call.abandon()
                raise
        if isinstance(message, Ended) and message.error is not None:
            raise message.error
        return message

    def _run(self, request: Request, call: OffloadedCall) -> None:
        """Call the app, in the thread, and pass its response on."""
        body = AppInput(partial(call.ask, _READ))
        response = self._answer(request, body, AppOutput(), partial(FileWrapper, _at_once))
        try:
            if isinstance(response.raw_body, bytes):
                call.tell(_Head(response, is_whole=True))
            else:
                call.ask(_Head(response, is_whole=False))
                for piece in response.raw_body:
                    call.ask(piece)
        finally:
            response.close()


def _at_once(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 that of the function
    return function(*arguments)
