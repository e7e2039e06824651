"""The rotation of an upstream: which backends are candidates, and which of them a request gets."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from gproxy.http.request import Request
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy
from gproxy.upstream.balance.slow_start import SlowStart

#: A callback that gets the room: how many requests all candidates can hold at a time.
Resize = Callable[[float], None]

#: When a trial without a result, for instance of a client that has left, makes room for another one, in seconds.
_LONGEST_TRIAL: Final = 60.0
#: The constructor of a Rotation, or of one of its kinds.
MakeRotation = Callable[[BalancingPolicy, SlowStart, Callable[[], float], Resize | None], "Rotation"]


class Rotation:
    """The backends of one upstream, in tiers by their health; `pick` asks the policy for one of the first tier.

    `refresh` must follow every change of a backend's health. `pick` refreshes too, if it makes a request the trial of a
    half-open backend or a time has passed. So `resize` is a callback, which gets the room after each refresh.
    """

    def __init__(
        self,
        policy: BalancingPolicy,
        slow_start: SlowStart,
        clock: Callable[[], float],
        resize: Resize | None = None,
    ) -> None:
        self.policy = policy
        self._slow_start = slow_start
        self._clock = clock
        self._resize = resize
        self._backends: Sequence[Backend] = ()
        self._tiers: tuple[list[Backend], ...] = ()
        #: The first tier that has backends.
        self._candidates: list[Backend] = []
        #: The next end of an ejection, a trial or a slow start; None if no backend is ejected, half-open or warming up.
        self._next_change: float | None = None
        self._is_limited = False
        #: True if a candidate may be full or warming up, so that `_confirm` must check each pick of the policy.
        self._needs_confirmation = False

    def set_backends(self, backends: Sequence[Backend]) -> None:
        """Set all backends, in the order of the file."""
        self._backends = backends
        self._is_limited = any(backend.max_connections for backend in backends)
        self.refresh()

    def refresh(self) -> None:
        """Set the candidates: the healthy backends, else healthy backups, else all eligible ones as a last resort."""
        now = self._clock()
        doubtful = [backend.health for backend in self._backends if backend.health.doubtful]
        for health in doubtful:
            if health.ejected_until and health.ejected_until <= now:
                health.half_open()
        eligible = [backend for backend in self._backends if backend.is_eligible]
        healthy = [backend for backend in eligible if backend.is_healthy]
        self._tiers = (
            [backend for backend in healthy if not backend.is_backup],
            [backend for backend in healthy if backend.is_backup],
            [backend for backend in eligible if not backend.is_healthy],
        )
        for backend in self._backends:
            backend.note_health(now)
        self._candidates = next(filter(None, self._tiers), [])
        self.policy.set_candidates(self._candidates)
        warm_at = self._slow_start.set_candidates(self._candidates, now)
        self._needs_confirmation = self._is_limited or warm_at is not None
        changes = [health.ejected_until or math.inf for health in doubtful if not health.is_failing]
        self._next_change = min(changes if warm_at is None else [*changes, warm_at], default=None)
        if self._resize is not None:
            self._resize(self._room())

    def _room(self) -> float:
        """Return how many requests all candidates can hold at a time."""
        room = [backend.max_connections or math.inf for backend in self._candidates if not backend.health.is_half_open]
        return sum(room) if room else math.inf

    def pick(self, request: Request, tried: Sequence[Backend] = ()) -> Backend | None:
        """Pick a backend that the request has not tried; None if there is none."""
        if self._next_change is not None and self._clock() >= self._next_change:
            self.refresh()
        if tried:
            available = self._available(tried)
            backend = self.policy.pick_again(available, request) if available else None
        else:
            candidates = self._candidates
            backend = self.policy.pick(candidates, request) if candidates else None
            if self._needs_confirmation and backend is not None:
                backend = self._confirm(backend, request)
        if self._next_change is not None and backend is not None:
            self._put_to_trial(backend, request)
        return backend

    def _put_to_trial(self, backend: Backend, request: Request) -> None:
        """Half-open: make this request the trial of a backend whose ejection has expired, or of the last resort."""
        if backend.health.is_open_to_trial:
            longest = _LONGEST_TRIAL if request.body.done else 0.0  # a slow upload must not delay the next trial
            backend.health.try_with(request, min(request.deadline.expires, self._clock() + longest))
            self.refresh()

    def _confirm(self, backend: Backend, request: Request) -> Backend | None:
        """Return the picked backend, or another one if it is full or must still warm up; None if there is none.

        PERF: only then look at the other backends.
        """
        slow = self._slow_start
        if not slow.warming:
            return self._pick_of(self._available(()), request) if backend.is_full else backend
        slow.credit()
        if backend.is_full or not slow.admits(backend):
            found = self._pick_of(slow.admitted(self._available(())), request)
            if found is None:
                return None
            backend = found
        slow.charge(backend)
        return backend

    def _pick_of(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        return self.policy.pick(backends, request) if backends else None

    def _available(self, tried: Sequence[Backend]) -> list[Backend]:
        """Return the backends of the first tier that has any, without full and tried ones.

        A retry that has tried a whole tier goes on to the next one: an ejected backend may have recovered.
        """
        for tier in self._tiers:
            found = [backend for backend in tier if backend not in tried and not backend.is_full]
            if found:
                return found
        return []
