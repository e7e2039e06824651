"""What follows from the errors of a handler: `on_error`, with the pause of `skip`."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from gevent import Timeout

from gproxy.config.sections.chain import ChainOptions
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.policy.snapshot import Following, RequestSnapshot
from gproxy.gateway.user_code import described, place
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Handler, Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.state.store import StoreUnavailableError
from gproxy.upstream.errors import BrokenBodyError

_LOST_BODY: Final = "the request cannot go on without the body that the handler has read; body.buffer would keep it"


class FailurePolicy:
    """The errors of one handler in this process, on all routes.

    With `on_error = skip` it is open after `error_limit` errors. Once `error_pause` is over, one request at a time
    tries the handler: a success closes it, an error begins another pause.
    """

    def __init__(
        self, name: str, handler: Handler, options: ChainOptions, errors: ErrorResponses, runtime: Runtime
    ) -> None:
        self.name = name
        self.handler = handler
        self.errors = errors
        #: True while the handler is skipped.
        self.is_open = False
        #: True if it may be skipped.
        self.skips = options.on_error == "skip"
        self._window: float = options.error_limit.window
        self._pause: float = options.error_pause
        #: When the last errors came, as many as open it.
        self._times: deque[float] = deque(maxlen=options.error_limit.limit)
        self._open_until = 0.0
        #: The number of the trial under way, 0 without one, and that of all trials so far.
        self._trial = 0
        self._trials = 0
        self._clock: Callable[[], float] = runtime.monotonic
        #: Logs a warning once in ten seconds for each kind.
        self.warn = runtime.throttle.warn
        self._log = runtime.log

    def may_try(self) -> int:
        """Return the number of a trial if this request may try the skipped handler, else 0.

        `tried` or `give_up` must follow; with the number of an earlier trial they do nothing.
        """
        if self._trial or self._clock() < self._open_until:
            return 0
        self._trials += 1
        self._trial = self._trials
        return self._trial

    def give_up(self, trial: int) -> None:
        """End a trial without a result: the client has left, or the request's time is over."""
        if trial == self._trial:
            self._trial = 0

    def tried(self, trial: int) -> None:
        """End a trial: the handler runs again, unless it has failed meanwhile."""
        if trial == self._trial:
            self._trial = 0
            self.is_open = False
            self._times.clear()
            self._log.info("handler %s runs again", self.name)

    def count(self, trial: int = 0) -> None:
        """Count an error, which ends the trial if it is one's."""
        self.errors.count(self.handler)
        self._times.append(self._clock())
        if self.skips:
            self._judge(trial)

    def log(self, error: BaseException, request: Request) -> None:
        """Log an error after which the request goes on."""
        where = place(error)
        is_late = isinstance(error, Expired)
        self.warn(
            f"handler {self.name}{where}",
            "%s %s %s: handler %s %s%s; the request goes on",
            request.id,
            request.method,
            request.path,
            self.name,
            f"did not finish in time ({error})" if is_late else "failed",
            where if is_late else "",
            error=None if is_late else error,
        )

    def _judge(self, trial: int) -> None:
        """Begin a pause after a failed trial, and after too many errors; requests from before a pause end no trial."""
        now = self._clock()
        if self.is_open:
            if trial and trial == self._trial:
                self._trial = 0
                self._open_until = now + self._pause
        elif len(self._times) == self._times.maxlen and now - self._times[0] <= self._window:
            self.is_open = True
            self._open_until = now + self._pause
            what = (self.name, self._pause, len(self._times), self._window)
            self._log.warning("handler %s is skipped for %g s, after %d errors within %g s", *what)

    @property
    def state(self) -> str:
        """The state: `skipped`, `failing` if there was an error within the time of `error_limit`, or empty."""
        if self.is_open:
            return "skipped"
        return "failing" if self._times and self._clock() - self._times[-1] <= self._window else ""

    def describe(self) -> dict[str, Any]:
        """Return the state with the number of errors so far."""
        return {"state": self.state, "errors": self.errors.failures(self.handler)}


class ClosedStep:
    """A handler with `time_limit` whose errors end the request."""

    def __init__(self, policy: FailurePolicy, call: Callable[[Request, Next], Any], limit: TimeLimit | None) -> None:
        self._policy = policy
        self._call = call
        self._limit = limit

    def __call__(self, request: Request, next: Next) -> Response:
        """Return the response of the handler, or that to its error. Raises HTTPError of the handler."""
        try:
            response = self._call(request, next)
        except BaseException as error:  # noqa: BLE001 a handler may raise anything
            return self._failed(error, request)
        if isinstance(response, Response):
            return response
        return self._failed(_wrong(self._policy.handler, response), request)

    def _failed(self, error: BaseException, request: Request) -> Response:
        if not is_error(error, self._limit):
            raise error
        return self._policy.errors.failed(self._policy.handler, error, request)


class OpenStep:
    """A handler after whose errors the request goes on: `on_error` is `open` or `skip`, or the handler only reports."""

    def __init__(self, policy: FailurePolicy, call: Callable[[Request, Next], Any], limit: TimeLimit | None) -> None:
        self._policy = policy
        self._call = call
        self._limit = limit

    def __call__(self, request: Request, next: Next) -> Response:
        """Return the response of the handler, or that of `next`. Raises what is no error of the handler."""
        if self._policy.is_open:
            return self._try(request, next)
        return self._run(request, next)

    def _try(self, request: Request, next: Next) -> Response:
        """Skip the handler, or let this request try it."""
        policy = self._policy
        trial = policy.may_try()
        if not trial:
            return next(request)
        try:
            response = self._run(request, next, trial)
        except HTTPError:
            policy.tried(trial)
            raise
        except BaseException:
            policy.give_up(trial)
            raise
        policy.tried(trial)
        return response

    def _run(self, request: Request, next: Next, trial: int = 0) -> Response:
        before = RequestSnapshot(request)
        following = Following(next, trial)
        try:
            response = self._call(request, following)
        except HTTPError as error:
            return self._rejected(error, before, request, following)
        except BaseException as error:  # noqa: BLE001 a handler may raise anything
            return self._failed(error, before, request, following)
        if not isinstance(response, Response):
            return self._failed(_wrong(self._policy.handler, response), before, request, following)
        if following.called:
            following.release()
            return response
        return self._answered(response, before, request, following)

    def _rejected(
        self,
        error: HTTPError,
        before: RequestSnapshot,  # noqa: ARG002 a step that reports needs them
        request: Request,  # noqa: ARG002
        following: Following,  # noqa: ARG002
    ) -> Response:
        """Return the response after an HTTPError; here it is no error, and is raised again."""
        raise error

    def _answered(
        self,
        response: Response,
        before: RequestSnapshot,  # noqa: ARG002 a step that reports needs them
        request: Request,  # noqa: ARG002
        following: Following,  # noqa: ARG002
    ) -> Response:
        """Return the response to a request that the handler answers without `next`."""
        return response

    def _failed(
        self, error: BaseException, before: RequestSnapshot, request: Request, following: Following
    ) -> Response:
        if not is_error(error, self._limit):
            raise error
        self._policy.count(following.trial)
        self._error_noted(error, request)
        if not self._may_go_on(before, request, following):
            return self._policy.errors.respond(error, request)
        self._policy.log(error, request)
        return self._go_on(request, following)

    def _error_noted(self, error: BaseException, request: Request) -> None:
        """Do what an error has as a further result."""

    def _may_go_on(self, before: RequestSnapshot, request: Request, following: Following) -> bool:
        """Undo what the handler has changed. Return False, with a line in the log, if that is not possible."""
        if following.response is not None:
            return True
        if following.called:  # in another greenlet, which goes on
            return False
        if before.restore(request):
            return True
        name = self._policy.name
        self._policy.warn(f"body of handler {name}", "%s: handler %s: %s", request.id, name, _LOST_BODY)
        return False

    def _go_on(self, request: Request, following: Following) -> Response:
        """Return the response of `next`, which is called unless the handler has called it."""
        return following(request) if following.response is None else following.restored()


def is_error(error: BaseException, limit: TimeLimit | None) -> bool:
    """Return whether it is an error of the handler: no rejection, nothing of the client, the backend or the deadline.

    `limit` is the handler's own.
    """
    if isinstance(error, Expired):
        return limit is not None and error.limit is limit
    if isinstance(error, HTTPError | BrokenBodyError):
        return False
    return isinstance(error, Exception | SystemExit | Timeout)


def status_of(error: BaseException) -> int:
    """Return the status that the error would have if it ended the request."""
    if isinstance(error, Expired):
        return error.limit.status
    return 503 if isinstance(error, StoreUnavailableError) else 500


def _wrong(handler: Handler, response: object) -> TypeError:
    return TypeError(f"{described(handler)} returned {response!r}; expected a Response")
