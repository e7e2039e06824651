"""Health that the workers of one upstream have in common: what each publishes, and which of them probes.

It decides only; the upstream looks ten times a second, and acts on what it gets.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gproxy.state.shared.health_table import HealthRecord, HealthTable
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend


class Change(NamedTuple):
    """A record that another worker has published, and the one before it."""

    backend: Backend
    record: HealthRecord
    before: HealthRecord | None


class Look(NamedTuple):
    """What one look has found: whether this worker probes, and what others have published since the last look."""

    leads: bool
    changed: Sequence[Change]


class SharedHealth:
    """One worker's part in the health of one upstream, as long as others serve beside it."""

    def __init__(self, state: SharedState, upstream: str, backends: Sequence[Backend]) -> None:
        self._state = state
        self._lock = f"probes of {upstream}"
        self._leads = False
        self._board = HealthTable(state, upstream)
        self._version = -1
        # What others have published counts more than what is known here.
        published = [backend for backend in backends if self._board.read(backend.label)]
        self._known = {backend: record for backend in published if (record := _record(backend))}

    def look(self, backends: Sequence[Backend], *, draining: bool) -> Look:
        """Publish what is known here, and return what others have published."""
        self._leads = self._choose_prober(draining=draining)
        for backend in backends:
            self._publish(backend)
        if self._board.version == self._version:
            return Look(self._leads, ())
        self._version = self._board.version
        return Look(self._leads, [change for backend in backends if (change := self._read(backend))])

    def close(self) -> None:
        """Forget what was published, and give up the probes; for the last worker that is left."""
        self._board.wipe()
        self._state.resign(self._lock)

    def _choose_prober(self, *, draining: bool) -> bool:
        """The worker with the lock probes until it ends, or drains because others have come in its place."""
        leads = not draining and (self._leads or self._state.lead(self._lock))
        if self._leads and not leads:
            self._state.resign(self._lock)
        return leads

    def _publish(self, backend: Backend) -> None:
        record = _record(backend)
        if record is not None and record != self._known.get(backend):
            self._known[backend] = record
            self._board.write(backend.label, record)

    def _read(self, backend: Backend) -> Change | None:
        record = self._board.read(backend.label)
        before = self._known.get(backend)
        if record is None or record == before:
            return None
        self._known[backend] = record
        return Change(backend, record, before)


def _record(backend: Backend) -> HealthRecord | None:
    """Return what to publish; None while a trial decides, or before the first probe."""
    health = backend.health
    if health.is_half_open or not health.is_probed:
        return None
    return HealthRecord(health.passes, health.ejected_until, health.why)
