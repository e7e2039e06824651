"""Health that all workers share: each worker publishes health records, and one of them probes.

SharedHealth changes no backend. The upstream calls `look` ten times a second, and acts on the result.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gproxy.state.shared.health_table import HealthRecord, HealthTable
from gproxy.state.shared.memory import SharedState
from gproxy.upstream.backend import Backend


class Change(NamedTuple):
    """A health record that another worker has published, and the record before it."""

    backend: Backend
    record: HealthRecord
    before: HealthRecord | None


class Look(NamedTuple):
    """The result of one look: whether this worker probes, and the changes since the last look."""

    leads: bool
    changed: Sequence[Change]


class SharedHealth:
    """A worker's view of the shared health of one upstream; it exists while several workers share state."""

    def __init__(self, state: SharedState, upstream: str, backends: Sequence[Backend]) -> None:
        self._state = state
        self._lock = f"probes of {upstream}"
        self._leads = False
        self._board = HealthTable(state, upstream)
        self._version = -1
        # Records that other workers have published take precedence over this worker's own health.
        published = [backend for backend in backends if self._board.read(backend.label)]
        self._known = {backend: record for backend in published if (record := _record(backend))}

    def look(self, backends: Sequence[Backend], *, draining: bool) -> Look:
        """Publish this worker's records, take or leave the prober's lock, and return what others have published."""
        self._leads = self._choose_prober(draining=draining)
        for backend in backends:
            self._publish(backend)
        if self._board.version == self._version:
            return Look(self._leads, ())
        self._version = self._board.version
        return Look(self._leads, [change for backend in backends if (change := self._read(backend))])

    def keep(self, backend: Backend) -> None:
        """Publish this worker's health of a backend only after its next change: others may differ until then."""
        if record := _record(backend):
            self._known[backend] = record

    def close(self) -> None:
        """Wipe the table, and resign from probing; for the last remaining worker."""
        self._board.wipe()
        self._state.resign(self._lock)

    def _choose_prober(self, *, draining: bool) -> bool:
        """Return whether this worker probes: the holder of the lock does, until it ends or drains."""
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
    """Return the record to publish; None while the backend is half-open, or before the first probe."""
    health = backend.health
    if health.is_half_open or not health.is_probed:
        return None
    return HealthRecord(health.passes, health.ejected_until, health.why)
