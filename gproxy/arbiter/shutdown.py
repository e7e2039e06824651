"""The end of the gateway: workers finish within `grace`, or exit at once; what then remains is killed."""

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from gproxy.arbiter import messages
from gproxy.arbiter.event_loop import EventLoop, nothing
from gproxy.arbiter.generations.generation import Generation
from gproxy.arbiter.messages import Command
from gproxy.arbiter.systemd import Notifier
from gproxy.arbiter.worker_process import WorkerProcess, WorkerState
from gproxy.arbiter.workers import Workers
from gproxy.config.types.units import plural

_log = logging.getLogger("gproxy")

#: Seconds after `grace` in which workers may close their logs before they are killed.
_LAST_MOMENTS: Final = 5.0
#: Seconds that workers have to exit after SIGQUIT.
_AT_ONCE: Final = 1.0
#: Seconds that a pending line of the log waits for draining workers to close their listeners.
_LOG_DELAY: Final = 1.0
#: Seconds within which a second signal repeats the first: `timeout` signals its child, and then the whole group.
_ONE_SIGNAL: Final = 0.05


class PendingLine:
    """A line of the log that waits until the draining workers have closed their listeners, so that it is true."""

    def __init__(self, loop: EventLoop, workers: Workers) -> None:
        self._loop = loop
        self._workers = workers
        self._line = ""
        self._also: Callable[[], object] = nothing

    def put(self, line: str, also: Callable[[], object] = nothing) -> None:
        """Log the line once the draining workers have closed their listeners, or after a second if one hangs.

        Then call `also`.
        """
        self.log()
        self._line, self._also = line, also
        self._loop.after(_LOG_DELAY, self.log)

    def closed(self) -> None:
        """Log the line if all draining workers have closed their listeners."""
        if all(worker.state is not WorkerState.DRAINING for worker in self._workers):
            self.log()

    def log(self) -> None:
        """Log the line now, if there is one."""
        line, also = self._line, self._also
        self._line, self._also = "", nothing
        if line:
            _log.info("%s", line)
        also()


class Shutdown:
    """The end of the gateway. `serving` returns the generation that serves, and `drop_next` discards the next one."""

    def __init__(
        self,
        loop: EventLoop,
        workers: Workers,
        notifier: Notifier,
        line: PendingLine,
        *,
        serving: Callable[[], Generation | None],
        drop_next: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._notifier = notifier
        self._line = line
        self._serving = serving
        self._drop_next = drop_next
        #: Monotonic time when the stop began; 0: not stopping.
        self.began = 0.0
        #: True once `stop_delay` is over: ended workers are not replaced.
        self.is_closing = False
        self._is_quitting = False
        #: Number of workers that ended before their drain was complete.
        self.lost = 0
        #: Number of requests that draining workers have cut.
        self.cut = 0

    def stop(self, name: str) -> None:
        """Turn readiness to 503 at once; close the listeners after `stop_delay`. A second signal stops at once."""
        if self.began:
            if monotonic() - self.began > _ONE_SIGNAL:
                self.quit()
            return
        self.began = monotonic()
        grace, delay = 0.0, 0.0
        if current := self._serving():
            grace, delay = current.server.grace, current.server.stop_delay
        stopping = f"{name}: stopping; requests in flight have {grace:g} s"
        if delay:
            _log.info("%s: no longer ready; stopping in %g s", name, delay)
        self._notifier.stopping()
        self._drop_next()
        self._workers.send(messages.Unready())
        self._loop.after(delay, partial(self._close, messages.Stop(), grace + _LAST_MOMENTS, stopping))

    def quit(self) -> None:
        """Stop at once: requests in flight are cut."""
        self.began = self.began or monotonic()
        self._is_quitting = True
        self._drop_next()
        self._close(messages.Quit(), _AT_ONCE, "")

    def _close(self, command: Command, limit: float, line: str) -> None:
        """Close the listeners, let workers finish, and kill the remaining ones after `limit` seconds; log the line."""
        self.is_closing = True
        self._workers.discard(worker for worker in self._workers if worker.state < WorkerState.SERVING)
        if current := self._serving():
            current.close({})
        self._workers.send(command)
        self._line.put(line)
        self._loop.after(limit, self._kill_remaining)
        self.finish()

    def _kill_remaining(self) -> None:
        for worker in self._workers:
            _log.error("%s did not exit in time; killing it", worker)
            self._workers.kill_with_stack(worker)

    def count_cut(self, _: WorkerProcess, stopped: messages.Stopped) -> None:
        """Note the requests that a worker has cut at its end."""
        self.cut += stopped.cut

    def finish(self) -> None:
        """End the arbiter's loop once all workers have ended."""
        if not self.is_closing or len(self._workers) or self._loop.is_stopped:
            return
        self._line.log()
        if not self._is_quitting:
            result = f"{plural(self.cut, 'request')} cut" if self.cut else "nothing was cut"
            if self.lost:
                result = f"{plural(self.lost, 'worker')} killed, with all open requests"
            _log.info("stopped after %.1f s; %s", monotonic() - self.began, result)
        self._loop.stop()
