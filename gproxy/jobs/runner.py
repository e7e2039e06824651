"""The jobs of a worker: each has a greenlet that waits for its slots, and takes those that fall to this worker."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import gevent

from gproxy.config.sections.job import JobSettings
from gproxy.jobs.job import Job
from gproxy.runtime import Runtime

#: The longest sleep in seconds: a clock may be set, and a worker may begin to drain.
_LONGEST: Final = 5.0
#: Seconds after its time within which a slot may still be taken: its leader may have ended just before.
_LATE: Final = 10.0
#: The share of the time until the next slot that jitter may use.
_JITTER_SHARE: Final = 0.9
#: Seconds between two looks at who leads, once a slot has come.
_LOOK_EVERY: Final = 0.25
_POLL_EVERY: Final = 0.05
#: Seconds in which runs that are cut may still clean up.
_CLEAN_UP: Final = 1.0


class AlreadyRunningError(ValueError):
    """A run that cannot begin because one is under way."""


class JobRunner:
    """All jobs of a worker, from the time it serves until it has drained."""

    def __init__(self, settings: Sequence[JobSettings], runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._jobs: dict[str, Job] = {}
        self._waiting: list[gevent.Greenlet] = []
        self._runs: dict[str, gevent.Greenlet] = {}

    def open(self) -> None:
        """Make the jobs; none runs yet."""
        for one in self._settings:
            if one.function is not None:
                self._jobs[one.name] = Job(one, one.function, self._runtime)
        for job in self._jobs.values():
            self._measure(job)

    def _measure(self, job: Job) -> None:
        watch = self._runtime.metrics.watch
        for result in job.counts:
            watch("gproxy_job_runs_total", (job.name, result.word), partial(job.count, result))
        watch("gproxy_job_last_success_timestamp_seconds", (job.name,), lambda: job.place.success)

    def begin(self) -> None:
        """Begin to wait for slots: the worker serves."""
        self._waiting = [self._runtime.spawn(self._wait, job) for job in self._jobs.values()]

    def _wait(self, job: Job) -> None:
        """Wait for the slots of a job until the worker drains."""
        if job.settings.on_start and (job.settings.on == "worker" or self._is_first(job)):
            self._start(job)
        after = self._runtime.clock()
        while not self._runtime.draining:
            slot = job.schedule.next(after)
            now = self._sleep_until(slot)
            if slot <= now < self._end(job, slot):
                self._take(job, slot)
                after = min(slot, self._runtime.clock())
            else:  # the machine has slept, or its clock was set: missed runs are not made up for
                after = now
        job.place.resign()

    def _is_first(self, job: Job) -> bool:
        return job.place.leads() and job.place.is_new

    def _end(self, job: Job, slot: float) -> float:
        """Return the time until which a slot may be taken."""
        return min(slot + job.settings.jitter + _LATE, job.schedule.next(slot))

    def _sleep_until(self, when: float) -> float:
        """Wait for a time of the clock, or until it is set back or the worker drains; return the clock's time."""
        now, before = self._runtime.clock(), 0.0
        while not self._runtime.draining and before <= now < when:
            self._runtime.sleep(min(when - now, _LONGEST))
            before, now = now, self._runtime.clock()
        return now

    def _take(self, job: Job, slot: float) -> None:
        """Run the job for this slot, unless another worker does."""
        runtime, place = self._runtime, job.place
        jitter = min(job.settings.jitter, _JITTER_SHARE * (job.schedule.next(slot) - slot))
        start, end = slot + runtime.random.random() * jitter, self._end(job, slot)
        while not runtime.draining and slot <= (now := runtime.clock()) < end:
            leads = place.leads()
            if place.is_taken(slot, now):  # looked up after the lead: the leader before has taken it, or never will
                return
            if leads and now >= start:
                place.take(slot)
                self._start(job)
                return
            runtime.sleep(min(_LOOK_EVERY, start - now) if leads else _LOOK_EVERY)

    def _start(self, job: Job) -> None:
        """Begin a run, or count a slot without one."""
        if self._begin_run(job) is None:
            job.skip()

    def _begin_run(self, job: Job) -> float | None:
        """Begin a run in a greenlet of its own, and return its begin; None if one is under way."""
        began = self._runtime.clock()
        if not job.place.begin(began):
            return None
        self._runs[job.name] = self._runtime.spawn(self._run, job, began)
        return began

    def _run(self, job: Job, began: float) -> None:
        try:
            job.run(began)
        finally:
            self._runs.pop(job.name, None)

    # What operators see and do.

    def run_now(self, name: str) -> float:
        """Begin a run, and return its begin. Raises LookupError for an unknown job, AlreadyRunningError."""
        job = self._jobs.get(name)
        if job is None:
            raise LookupError(f"unknown job {name!r}")
        began = self._begin_run(job)
        if began is None:
            raise AlreadyRunningError(f"job {name} is running already")
        return began

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """Yield each job: its next slot, the begin of the run under way, and the outcome of the last one."""
        now = self._runtime.clock()
        for job in self._jobs.values():
            since = job.place.running_since  # first: a run that ends notes its outcome before it is no longer under way
            last = job.place.last
            yield {
                "name": job.name,
                "on": job.settings.on,
                "next": job.schedule.next(now),
                "running_since": since,
                "last": last and {**last._asdict(), "result": last.result.word},
            }

    def close(self) -> None:
        """Wait for the runs: after a reload until they end, at a stop no longer than `grace`. Then cut them."""
        gevent.killall(self._waiting)
        for job in self._jobs.values():
            job.place.resign()
        runtime = self._runtime
        while self._runs and runtime.monotonic() < runtime.grace_ends:
            runtime.sleep(_POLL_EVERY)
        gevent.killall(list(self._runs.values()), timeout=_CLEAN_UP)
