"""A job: the user's function, its schedule, and a run of it."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from greenlet import GreenletExit

from gproxy.config.sections.job import JobSettings
from gproxy.jobs.place import Outcome, Place, Result
from gproxy.jobs.schedule import At, Every, Schedule
from gproxy.runtime import Runtime

_log: Final = logging.getLogger("gproxy")


class Job:
    """A job of one worker."""

    def __init__(self, settings: JobSettings, function: Callable[[Any], object], runtime: Runtime) -> None:
        self.settings = settings
        self.name = settings.name
        self.schedule: Schedule = (
            Every(settings.every) if settings.every is not None else At(settings.at, runtime.local_time)
        )
        self._function = function
        self._runtime = runtime
        on_each = settings.on == "worker"
        self.place = Place(f"{self.name} in worker {runtime.worker}" if on_each else self.name, runtime.host_state)
        #: The number of each result in this process.
        self.counts = dict.fromkeys(Result, 0)

    def count(self, result: Result) -> int:
        """Return the number of slots of this process with that result."""
        return self.counts[result]

    def skip(self) -> None:
        """Count a slot without a run, since the run before it is under way."""
        self.counts[Result.SKIPPED] += 1
        _log.warning("job %s: skipped, the run before is still under way", self.name)

    def run(self, began: float) -> Outcome:
        """Run the function, which `place` has begun, in the greenlet that calls; note and return the outcome."""
        runtime = self._runtime
        clock = runtime.monotonic()
        result, reason = Result.CUT, "the gateway has stopped"
        try:
            result, reason = self._call()
        except GreenletExit:
            _log.warning("job %s: cut, not finished within grace", self.name)
        finally:
            outcome = Outcome(began, runtime.monotonic() - clock, result, reason)
            self.counts[result] += 1
            self.place.end(outcome)
        return outcome

    def _call(self) -> tuple[Result, str]:
        limit, has_ended = self.settings.timeout, False
        try:
            if limit is None:
                self._run_function()
                return Result.SUCCESS, ""
            with self._runtime.bounded(limit):
                self._run_function()
                has_ended = True
        except GreenletExit:
            raise
        except BaseException as error:  # noqa: BLE001 user code may raise anything, and the job goes on at its next slot
            _log.exception("job %s failed", self.name)
            return Result.ERROR, _described(error)
        if not has_ended:
            _log.error("job %s: not finished within its timeout of %g s", self.name, limit)
            return Result.TIMEOUT, f"not finished within {limit:g} s, its timeout"
        return Result.SUCCESS, ""

    def _run_function(self) -> None:
        """Run the function. Raises TypeError for a coroutine, which would never begin: a wrapper may hide one."""
        result = self._function(self._runtime)
        if isinstance(result, Coroutine):
            result.close()
            raise TypeError("the function is asynchronous; expected an ordinary one, which may call runtime.aio")


def _described(error: BaseException) -> str:
    """Return the type and the message of an exception, whose message may fail itself."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 user code
        message = ""
    return f"{type(error).__name__}: {message}".rstrip(": ")
