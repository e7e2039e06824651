"""The stacks of workers that do not answer, which the arbiter gets by a signal."""

from time import monotonic
from typing import Final

from gevent.lock import BoundedSemaphore

from gproxy.monitor.processes.arbiter_orders import ArbiterOrders

#: Seconds that the arbiter has to get a stack.
_PATIENCE: Final = 2.0
#: Seconds for which a stack is shown before the worker is asked for another one: the page asks every second.
_FRESH: Final = 5.0


class SilentWorkers:
    """The last stack of each worker that does not answer."""

    def __init__(self, orders: ArbiterOrders) -> None:
        self._orders = orders
        #: By process id, with the monotonic time of the stack.
        self._stacks: dict[int, tuple[float, list[str]]] = {}
        self._asking = BoundedSemaphore()

    def stack(self, pid: int) -> list[str]:
        """Return the lines of the stacks of all threads of a worker; none if the arbiter cannot get them."""
        with self._asking:
            now = monotonic()
            self._stacks = {one: found for one, found in self._stacks.items() if found[0] > now - _FRESH}
            if pid not in self._stacks:
                self._stacks[pid] = now, self._ask(pid)
            return self._stacks[pid][1]

    def _ask(self, pid: int) -> list[str]:
        """Return the lines that the arbiter gets; none if it does not answer in time."""
        try:
            outcome = self._orders.order("stack", _PATIENCE, pid=pid)
        except TimeoutError:
            return []
        return list(outcome.result.get("stack", ()))
