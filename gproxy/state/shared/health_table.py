"""What the processes that serve one upstream think of its backends, for all of them to see."""

from typing import Final, NamedTuple

from gproxy.state.shared.memory import Region, SharedState

#: A backend's place: whether somebody has said something and what probes say, until when it is left out, and why.
_PLACE: Final = 128
_WHY: Final = 16
_SAID: Final = 1
_PASSES: Final = 2


class HealthRecord(NamedTuple):
    """Of one backend: do its probes pass, until when is it left out after failures (0: it is not), and why."""

    passes: bool
    ejected_until: float
    why: str


class HealthTable:
    """The opinions of one upstream, by the names of its backends. Without room in the memory nothing is kept."""

    def __init__(self, state: SharedState, upstream: str) -> None:
        self._state = state
        self._name = f"health of {upstream}"
        self._mutex = state.mutexes(self._name)(0)
        self._version = state.area(self._name, 8)
        self._places: dict[str, Region | None] = {}

    def _place(self, backend: str) -> Region | None:
        """Backends come and go, where names change their addresses."""
        if backend not in self._places:
            self._places[backend] = self._state.area(f"{self._name}: {backend}", _PLACE)
        return self._places[backend]

    @property
    def version(self) -> int:
        """Another one after every change. PERF: reading it is all that is done as long as nothing changes."""
        return self._version.words[0] if self._version else 0

    def write(self, backend: str, opinion: HealthRecord) -> None:
        """What one has found out all shall know."""
        place = self._place(backend)
        if place is None or self._version is None:
            return
        why = opinion.why.encode()[: _PLACE - _WHY]
        with self._mutex:
            place.floats[1] = opinion.ejected_until
            place.data[_WHY:] = why.ljust(_PLACE - _WHY, b"\0")
            place.words[0] = _SAID | _PASSES * opinion.passes
            self._version.words[0] += 1

    def read(self, backend: str) -> HealthRecord | None:
        """None if nobody has said anything."""
        place = self._place(backend)
        if place is None:
            return None
        with self._mutex:
            state, until, why = place.words[0], place.floats[1], bytes(place.data[_WHY:])
        return HealthRecord(bool(state & _PASSES), until, why.rstrip(b"\0").decode(errors="replace")) if state else None

    def wipe(self) -> None:
        """Nobody has said anything."""
        for place in self._places.values():
            if place:
                place.wipe()
