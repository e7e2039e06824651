"""The clients of a limiter in memory that several processes share: a fixed number of slots for each window.

A keyed digest of 8 bytes identifies a client. The digest selects a set of slots for the client; in a full set, the
client that was idle longest is evicted for a new one. What a slot has depends on the algorithm:

- of a sliding window, a ring of entries: the time of an entry's last request, and the number of requests admitted up to
  it since the slot was first used. So the count of a window is a difference, and admitting a request is one store.
- of a token bucket, when it is full again.

So a killed process leaves no partial update.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import pairwise
from math import inf
from typing import ClassVar, Final

from gproxy.config.types import Rate
from gproxy.state.rate_limit.bucket import STEPS, Entry, Verdict, spend
from gproxy.state.shared.memory import Region, SharedState

#: The slots in a set; the look-up of a new client reads them all.
_WAYS: Final = 16
#: The recent clients whose places this process remembers.
_RECENT: Final = 4096
#: The entries in a slot's ring: the 61 that can count, and the one before them, to which the counts are relative.
_RING: Final = 64
_LAST: Final = _RING - 1
_MOST: Final = STEPS + 1

# A slot of a window, in words of 8 bytes: position of the first entry, and number of entries; begin of the newest; the
# times of all; their counts, 4 bytes each.
_BEGUN: Final = 1
_TIMES: Final = 2
_COUNTS: Final = _TIMES + _RING
_SLOT: Final = _COUNTS + _RING // 2
_WRAP: Final = 0xFFFFFFFF


class SharedTable:
    """The clients of one window, `max_keys` at most, in sets of up to 16 slots."""

    #: The first word of the area's name.
    kind: ClassVar[str]
    #: The size of a slot.
    slot_words: ClassVar[int]

    def __init__(self, area: Region, mutexes: Callable[[int], AbstractContextManager[None]], ways: int) -> None:
        self._area = area
        self._mutexes = mutexes
        self._ways = ways
        self._words = words = self.slot_words
        self._sets = len(area.words) // (ways * (1 + words))
        #: The tags of all slots come first, close together: a look-up reads nothing else of most slots.
        self._slots = self._sets * ways
        #: PERF: the places of recent clients, where they still are if the place has their tag.
        self._places: dict[int, int] = {}
        #: The number of clients that this process evicted early to make room.
        self.evicted = 0

    @classmethod
    def open(cls, state: SharedState, name: str, window: float, max_keys: int) -> "SharedTable | None":
        """Open the table; None without room. A table in use keeps its size, even if `max_keys` changes."""
        ways = min(_WAYS, max_keys)
        size = -(-max_keys // ways) * ways * (1 + cls.slot_words) * 8  # full sets of tags and slots
        area = state.area(f"{cls.kind}:{name}:{window}:{ways}", size)
        return cls(area, state.mutexes(name), ways) if area else None

    def take(self, tag: int, rate: Rate, within: float, clock: Callable[[], float], /) -> Verdict:
        """Admit one more request of the client with this tag if the rate allows it, and count it then."""
        raise NotImplementedError

    def look(self, tag: int, rate: Rate, clock: Callable[[], float]) -> float:
        """Return the seconds until one more request of this client is admitted; 0 for now. Count nothing."""
        number = tag % self._sets
        with self._mutexes(number):
            now = clock()
            begin, tags = self._tags(number)
            return self._wait(self._at(begin + tags.index(tag)), rate, now) if tag in tags else 0.0

    def put(self, tag: int, entries: Iterable[Entry], window: float, now: float) -> None:
        """Add requests of a client that were admitted elsewhere."""
        number = tag % self._sets
        with self._mutexes(number):
            self._add(self._slot(number, tag, window, now), entries, window, now)

    def pull(self, tag: int, window: float, now: float) -> list[Entry]:
        """Remove a client and return its admitted requests; none for an unknown client."""
        number = tag % self._sets
        with self._mutexes(number):
            begin, tags = self._tags(number)
            if tag not in tags:
                return []
            place = begin + tags.index(tag)
            entries = self._entries(self._at(place), window, now)
            self._area.words[self._at(place)] = 0
            self._area.words[place] = 0
        return entries

    def _slot(self, number: int, tag: int, window: float, now: float) -> int:
        """Return the begin of the client's slot: its present one, or that of the client that was idle longest."""
        place = self._places.get(tag, -1)
        if place < 0 or self._area.words[place] != tag:
            place = self._place(number, tag, window, now)
            if len(self._places) >= _RECENT:
                self._places.clear()
            self._places[tag] = place
        return self._slots + place * self._words

    def _place(self, number: int, tag: int, window: float, now: float) -> int:
        begin, tags = self._tags(number)
        if tag in tags:
            return begin + tags.index(tag)
        if 0 in tags:
            place = begin + tags.index(0)
        else:
            ends = [self._counts_until(self._at(begin + way), window) for way in range(self._ways)]
            place = begin + ends.index(min(ends))
            self.evicted += min(ends) > now
            self._clear(self._at(place))  # before it gets another tag
        self._area.words[place] = tag
        return place

    def _tags(self, number: int) -> tuple[int, list[int]]:
        begin = number * self._ways
        return begin, self._area.words[begin : begin + self._ways].tolist()

    def _at(self, place: int) -> int:
        return self._slots + place * self._words

    def _wait(self, slot: int, rate: Rate, now: float, /) -> float:
        """Return the seconds until one more request is admitted; 0 for now."""
        raise NotImplementedError

    def _counts_until(self, slot: int, window: float, /) -> float:
        """Return when the slot has nothing that counts."""
        raise NotImplementedError

    def _clear(self, slot: int) -> None:
        raise NotImplementedError

    def _entries(self, slot: int, window: float, now: float, /) -> list[Entry]:
        raise NotImplementedError

    def _add(self, slot: int, entries: Iterable[Entry], window: float, now: float, /) -> None:
        raise NotImplementedError


class WindowTable(SharedTable):
    """The table of sliding windows."""

    kind = "limit"
    slot_words = _SLOT

    def take(self, tag: int, rate: Rate, _: float, clock: Callable[[], float], /) -> Verdict:
        number = tag % self._sets
        window = rate.window
        times, counts = self._area.floats, self._area.quads
        with self._mutexes(number):
            now = clock()  # under the mutex, so that time never runs backwards between processes
            slot = self._slot(number, tag, window, now)
            first, length = self._counting(slot, now - window)
            at, count = slot + _TIMES, 2 * (slot + _COUNTS)
            newest = (first + length - 1) & _LAST
            total = self._total(slot, first, length)
            if total >= rate.limit:
                return Verdict(False, 0, times[at + first] + window - now, times[at + newest] + window - now)
            if not length or (now - times[slot + _BEGUN] >= window / STEPS and length < _MOST):
                self._begin(slot, first, length, now)
            else:
                times[at + newest] = now
                counts[count + newest] = (counts[count + newest] + 1) & _WRAP
            remaining = rate.limit - total - 1
            return Verdict(True, remaining, 0.0 if remaining else times[at + first] + window - now, window)

    def _wait(self, slot: int, rate: Rate, now: float, /) -> float:
        first, length = self._counting(slot, now - rate.window)
        total = self._total(slot, first, length)
        return self._area.floats[slot + _TIMES + first] + rate.window - now if total >= rate.limit else 0.0

    def _total(self, slot: int, first: int, length: int) -> int:
        """Return the number of requests in the entries that still count."""
        counts, count = self._area.quads, 2 * (slot + _COUNTS)
        return (counts[count + ((first + length - 1) & _LAST)] - counts[count + ((first - 1) & _LAST)]) & _WRAP

    def _begin(self, slot: int, first: int, length: int, now: float) -> None:
        """Add an entry; the last store makes it visible."""
        area = self._area
        new, before = (first + length) & _LAST, (first + length - 1) & _LAST
        area.floats[slot + _BEGUN] = area.floats[slot + _TIMES + new] = now
        counts = 2 * (slot + _COUNTS)
        area.quads[counts + new] = (area.quads[counts + before] + 1) & _WRAP
        area.words[slot] = first | (length + 1) << 8

    def _counting(self, slot: int, since: float) -> tuple[int, int]:
        """Return the position of the first entry that still counts, and the number of such entries."""
        state = self._area.words[slot]
        first, length = state & _LAST, min(state >> 8, _MOST)
        times, at = self._area.floats, slot + _TIMES
        while length and times[at + first] <= since:
            first = (first + 1) & _LAST
            length -= 1
        if first != state & _LAST:
            self._area.words[slot] = first | length << 8
        return first, length

    def _counts_until(self, slot: int, window: float, /) -> float:
        state = self._area.words[slot]
        if not state >> 8:
            return -inf
        return self._area.floats[slot + _TIMES + ((state & _LAST) + (state >> 8) - 1 & _LAST)] + window

    def _clear(self, slot: int) -> None:
        self._area.words[slot] &= _LAST

    def _entries(self, slot: int, window: float, now: float, /) -> list[Entry]:
        first, length = self._counting(slot, now - window)
        places = [(first + step) & _LAST for step in range(length)]
        times = [self._area.floats[slot + _TIMES + place] for place in places]
        begun = [*times[:-1], self._area.floats[slot + _BEGUN]]
        counts = [self._area.quads[2 * (slot + _COUNTS) + place] for place in [(first - 1) & _LAST, *places]]
        differences = [(after - before) & _WRAP for before, after in pairwise(counts)]
        return [[*entry] for entry in zip(begun, times, differences, strict=False)]

    def _write(self, slot: int, entries: list[Entry]) -> None:
        """Replace all entries: the slot is empty until the last store."""
        words, floats, quads = self._area.words, self._area.floats, self._area.quads
        words[slot] = total = 0
        quads[2 * (slot + _COUNTS) + _LAST] = 0
        for place, (begun, last, count) in enumerate(entries):
            total += int(count)
            floats[slot + _BEGUN] = begun
            floats[slot + _TIMES + place] = last
            quads[2 * (slot + _COUNTS) + place] = total & _WRAP
        words[slot] = len(entries) << 8

    def _add(self, slot: int, entries: Iterable[Entry], window: float, now: float, /) -> None:
        self._write(slot, merged(self._entries(slot, window, now), entries))


class TokenTable(SharedTable):
    """The table of token buckets."""

    kind = "tokens"
    slot_words = 1

    def take(self, tag: int, rate: Rate, within: float, clock: Callable[[], float], /) -> Verdict:
        number = tag % self._sets
        with self._mutexes(number):
            now = clock()  # under the mutex, so that time never runs backwards between processes
            slot = self._slot(number, tag, rate.window, now)
            verdict = spend(self._area.floats[slot], rate, now, within)
            if verdict.admitted:
                self._area.floats[slot] = now + verdict.reset
        return verdict

    def _wait(self, slot: int, rate: Rate, now: float, /) -> float:
        verdict = spend(self._area.floats[slot], rate, now, inf)
        return 0.0 if verdict.admitted else verdict.wait

    def _counts_until(self, slot: int, _: float, /) -> float:
        return self._area.floats[slot]

    def _clear(self, slot: int) -> None:
        self._area.words[slot] = 0

    def _entries(self, slot: int, _: float, now: float, /) -> list[Entry]:
        full_at = self._area.floats[slot]
        return [[now, full_at, 0.0]] if full_at > now else []

    def _add(self, slot: int, entries: Iterable[Entry], _window: float, _now: float, /) -> None:
        self._area.floats[slot] = max(self._area.floats[slot], *(entry[1] for entry in entries))


def merged(some: Iterable[Entry], others: Iterable[Entry]) -> list[Entry]:
    """Return the entries of both in order of time. The oldest surplus entries become one, with the date of the last."""
    entries = sorted((*some, *others), key=lambda entry: entry[1])
    surplus = len(entries) - _MOST
    if surplus > 0:
        oldest = entries[: surplus + 1]
        entries[: surplus + 1] = [[oldest[0][0], oldest[-1][1], sum(entry[2] for entry in oldest)]]
    return entries
