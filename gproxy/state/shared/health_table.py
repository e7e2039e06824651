"""The table in which all processes publish the health of one upstream's backends."""

from typing import Final, NamedTuple

from gproxy.state.shared.memory import Region, SharedState

#: A backend's record: flags (published, probes pass), end of the ejection, and its reason.
_PLACE: Final = 128
_WHY: Final = 16
_PUBLISHED: Final = 1
_PASSES: Final = 2


class HealthRecord(NamedTuple):
    """The health of one backend: result of probes, end of the ejection (0 for none), and its reason."""

    passes: bool
    ejected_until: float
    why: str


class HealthTable:
    """The health records of one upstream, by backend name. Without room in the memory nothing is stored."""

    def __init__(self, state: SharedState, upstream: str) -> None:
        self._state = state
        self._name = f"health of {upstream}"
        self._mutex = state.mutexes(self._name)(0)
        self._version = state.area(self._name, 8)
        self._places: dict[str, Region | None] = {}

    def _place(self, backend: str) -> Region | None:
        """Return the backend's record. Created on demand, because DNS adds and removes backends."""
        if backend not in self._places:
            self._places[backend] = self._state.area(f"{self._name}: {backend}", _PLACE)
        return self._places[backend]

    @property
    def version(self) -> int:
        """A number that changes with every record. PERF: without changes, readers read only this."""
        return self._version.words[0] if self._version else 0

    def write(self, backend: str, record: HealthRecord) -> None:
        """Publish the record of a backend."""
        place = self._place(backend)
        if place is None or self._version is None:
            return
        why = record.why.encode()[: _PLACE - _WHY]
        with self._mutex:
            place.floats[1] = record.ejected_until
            place.data[_WHY:] = why.ljust(_PLACE - _WHY, b"\0")
            place.words[0] = _PUBLISHED | _PASSES * record.passes
            self._version.words[0] += 1

    def read(self, backend: str) -> HealthRecord | None:
        """Return the published record of a backend; None without one."""
        place = self._place(backend)
        if place is None:
            return None
        with self._mutex:
            state, until, why = place.words[0], place.floats[1], bytes(place.data[_WHY:])
        return HealthRecord(bool(state & _PASSES), until, why.rstrip(b"\0").decode(errors="replace")) if state else None

    def wipe(self) -> None:
        """Remove all records."""
        for place in self._places.values():
            if place:
                place.wipe()
