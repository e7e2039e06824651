"""The number of workers of the generation that serves: dead ones are replaced, further ones come and go."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Final

from gproxy.arbiter import messages
from gproxy.arbiter.event_loop import EventLoop
from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.shutdown import Shutdown
from gproxy.arbiter.spawn import CannotStartError
from gproxy.arbiter.worker_process import ExitStatus, WorkerProcess, WorkerState
from gproxy.arbiter.workers import Workers

_log = logging.getLogger("gproxy")

#: A worker that ends within this many seconds of serving counts as a quick end.
_QUICK_END: Final = 5.0


class Staff:
    """The workers of the generation that `serving` returns, as many as it is to have."""

    def __init__(
        self, loop: EventLoop, workers: Workers, shutdown: Shutdown, serving: Callable[[], Generation | None]
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._shutdown = shutdown
        self._serving = serving

    def change(self, by: int, cause: str) -> None:
        """Run more or fewer workers; the last one stays."""
        generation = self._serving()
        if generation is None:
            return
        if generation.worker_count + by < 1:
            _log.warning("%s: ignored, only one worker is left", cause)
        else:
            self.scale(generation.worker_count + by, cause)

    def scale(self, count: int, cause: str) -> None:
        """Run so many workers until the next reload; the gateway may not be stopping."""
        generation = self._serving()
        if generation is None or self._shutdown.began:
            return
        generation.worker_count = count
        _log.info("%s: workers: %d", cause, count)
        for worker in [worker for worker in generation.workers if worker.number > count]:
            self.retire(worker, [])
        for number in generation.missing():
            self._start(generation, number)

    def retire(self, worker: WorkerProcess, removed: Sequence[int]) -> None:
        """Let the worker finish its requests and exit; `removed` are its listeners that no process accepts from."""
        self._workers.generation_of(worker).release(worker)
        if worker.state < WorkerState.READY:
            worker.kill()
        else:
            worker.send(messages.Retire([*removed]))

    def replace(self, generation: Generation, worker: WorkerProcess, ending: ExitStatus) -> None:
        """Start another worker: at once, or after a pause if workers of this number end soon after their start."""
        pause = 0.0
        if 0 < worker.served_since < monotonic() - _QUICK_END:
            generation.backoff.forget(worker.number)
        else:
            pause = generation.pause(worker.number)
        _log.error("%s %s; starting another one%s", worker, ending, f" in {pause:g} s" if pause else "")
        self._loop.after(pause, partial(self._start, generation, worker.number))

    def _start(self, generation: Generation, number: int) -> None:
        """Start a worker of the current generation, unless it runs already; try again later if there is no process."""
        if generation is not self._serving() or self._shutdown.is_closing or number not in generation.missing():
            return
        generation.warn_of_newer_files(number)
        try:
            self._workers.start(generation, number)
        except CannotStartError as error:  # live workers keep serving
            pause = generation.pause(number)
            _log.error("%s; retrying in %g s", error, pause)
            self._loop.after(pause, partial(self._start, generation, number))
