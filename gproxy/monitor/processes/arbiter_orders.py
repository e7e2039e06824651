"""The orders that the monitor gives the arbiter, and their outcomes."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gevent
from gevent.event import AsyncResult

from gproxy.arbiter.control import Control
from gproxy.arbiter.monitor.messages import Order, Outcome


@dataclass(frozen=True, slots=True)
class OrderResult:
    """The outcome of an order: whether it succeeded, and what there is to say, such as a new generation or reasons."""

    succeeded: bool
    result: dict[str, Any] = field(default_factory=dict)


class ArbiterOrders:
    """The orders under way."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._numbers = count(1)
        self._waiting: dict[int, AsyncResult] = {}

    def order(self, name: str, seconds: float, **arguments: object) -> OrderResult:
        """Order something and return its outcome. Raises TimeoutError if none comes within so many seconds."""
        number = next(self._numbers)
        waiting = self._waiting[number] = AsyncResult()
        try:
            self._control.send(Order(number, name, arguments))
            outcome: OrderResult | None = waiting.wait(seconds)
        finally:
            del self._waiting[number]
        if outcome is None:
            raise TimeoutError(f"the arbiter has not carried the order {name} out within {seconds:g} s")
        return outcome

    def take(self, outcome: Outcome) -> None:
        """Pass an outcome to the order that waits for it."""
        waiting = self._waiting.get(outcome.number)
        if waiting is not None:
            waiting.set(OrderResult(outcome.succeeded, outcome.result))

    def abandon(self, reason: str) -> None:
        """Let all orders under way fail."""
        for waiting in self._waiting.values():
            waiting.set(OrderResult(succeeded=False, result={"detail": reason, "reasons": [reason]}))

    def finish(self) -> None:
        """Wait until no order is under way; each has its time limit."""
        while self._waiting:
            gevent.wait(list(self._waiting.values()))
            gevent.sleep(0)  # those that waited answer now
