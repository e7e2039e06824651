"""The entries of a table in memory that several processes share.

An entry is in a slot. Chains of slots begin in as many heads, by a keyed digest of the key. A ring has all used slots
in the order of their ages, which are numbers that grow with each change. A value never changes in place, but for
integers, which are one store; any other new value has a new slot.

Only the process that has the mutex reads or writes. It may be killed between any two stores. While it changes chains
and ring, a word marks them as unfinished, and the next process that finds the mark makes them anew from the slots. A
slot counts as used by one store, its age, after all else in it is written.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Final, ParamSpec, TypeVar

from gproxy.state.shared.exclusive_mutex import ExclusiveMutex
from gproxy.state.shared.memory import Region, SharedState
from gproxy.state.table import LONGEST_KEY, LONGEST_VALUE, Kind, Number, Packed, added, pack

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("gproxy")

# The words at the begin: links are unfinished; the last age; used slots; slots ever used; the first freed slot.
_UNFINISHED: Final = 0
_AGE: Final = 1
_USED: Final = 2
_TOUCHED: Final = 3
_FREED: Final = 4
_HEAD: Final = 8
#: The place of the ring where the newest slot and the oldest meet; other places are numbers of slots, from 1.
_RING: Final = 0

#: The bytes of a slot's key and value.
_BODY: Final = LONGEST_KEY + LONGEST_VALUE
#: The bytes of a slot: age, end of life, digest, sizes; 4 bytes each for the next one in the chain, a head, and the
#: neighbours in the ring; key and value.
_SLOT: Final = 6 * 8 + _BODY
#: The bytes beside the slots: the words at the begin, and the place of the ring.
_BESIDE: Final = (_HEAD + 1) * 8
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF


class SharedEntries:
    """The entries of one table, as one of its processes sees them. A table in use keeps its size."""

    def __init__(
        self,
        name: str,
        area: Region,
        mutex: AbstractContextManager[None],
        secret: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._area = area
        self._mutex = mutex
        self._secret = secret
        self._clock = clock
        self._count = count = (area.size - _BESIDE) // _SLOT
        self._words, self._data = area.words, area.data
        self._ages = area.words[_HEAD : _HEAD + count]
        self._ends = area.floats[_HEAD + count : _HEAD + 2 * count]
        self._tags = area.words[_HEAD + 2 * count : _HEAD + 3 * count]
        self._sizes = area.words[_HEAD + 3 * count : _HEAD + 4 * count]
        links = area.quads[2 * (_HEAD + 4 * count) :]
        #: Numbers of slots from 1; 0 ends a chain.
        self._nexts, self._heads = links[:count], links[count : 2 * count]
        #: By number of a slot: its neighbours in the ring.
        self._olders, self._newers = links[2 * count : 3 * count + 1], links[3 * count + 1 : 4 * count + 2]
        self._bodies = 8 * (_HEAD + 6 * count + 1)
        self.evicted = 0

    @classmethod
    def open(
        cls, state: SharedState, name: str, max_keys: int, clock: Callable[[], float], sleep: Callable[[float], object]
    ) -> "SharedEntries | None":
        """Open the entries of that table; None without room. One slot more takes the new value of a full table."""
        area = state.area(f"table:{name}", _BESIDE + (max_keys + 1) * _SLOT)
        mutex = ExclusiveMutex(state.mutexes(f"table:{name}")(0), sleep)
        return cls(name, area, mutex, state.secret, clock) if area else None

    def get(self, key: bytes, /) -> Packed | None:
        return self._guarded(self._get, key, self._tag(key))

    def set(self, key: bytes, value: Packed, life: float, /) -> None:
        self._guarded(self._set, key, self._tag(key), value, life)

    def add(self, key: bytes, value: Packed, life: float, /) -> bool:
        return self._guarded(self._add, key, self._tag(key), value, life)

    def incr(self, key: bytes, amount: Number, life: float, /) -> Number:
        return self._guarded(self._incr, key, self._tag(key), amount, life)

    def pop(self, key: bytes, /) -> Packed | None:
        return self._guarded(self._pop, key, self._tag(key))

    def swap(self, key: bytes, before: Packed, after: Packed | None, life: float, /) -> bool:
        return self._guarded(self._swap, key, self._tag(key), before, after, life)

    def _guarded(self, change: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function under the mutex, with sound links. Raises StoreUnavailableError without the mutex."""
        with self._mutex:
            is_damaged = self._words[_UNFINISHED] != 0
            if is_damaged:
                self._repair()
            result = change(*args, **kwargs)
        if is_damaged:
            _log.warning("table %s: repaired, since a worker was killed while it changed the table", self._name)
        return result

    def _get(self, key: bytes, tag: int) -> Packed | None:
        slot = self._find(key, tag)
        return None if slot < 0 else self._value(slot)

    def _set(self, key: bytes, tag: int, value: Packed, life: float) -> None:
        self._put(self._find(key, tag), key, tag, value, self._clock() + life)

    def _add(self, key: bytes, tag: int, value: Packed, life: float) -> bool:
        is_new = self._find(key, tag) < 0
        if is_new:
            self._put(-1, key, tag, value, self._clock() + life)
        return is_new

    def _incr(self, key: bytes, tag: int, amount: Number, life: float) -> Number:
        slot = self._find(key, tag)
        if slot < 0:
            self._put(-1, key, tag, pack(amount), self._clock() + life)
            return amount
        before = self._value(slot)
        number = added(before, amount)
        if before.kind is Kind.INT and isinstance(number, int):
            self._words[(self._body(slot) + LONGEST_KEY) // 8] = number & _WORD
        else:
            self._replace(slot, key, tag, pack(number))
        return number

    def _pop(self, key: bytes, tag: int) -> Packed | None:
        slot = self._find(key, tag)
        if slot < 0:
            return None
        value = self._value(slot)
        self._drop(slot)
        return value

    def _swap(self, key: bytes, tag: int, before: Packed, after: Packed | None, life: float) -> bool:
        slot = self._find(key, tag)
        if slot < 0 or self._value(slot) != before:
            return False
        if after is None:
            self._drop(slot)
        else:
            self._put(slot, key, tag, after, self._clock() + life)
        return True

    def _tag(self, key: bytes) -> int:
        return int.from_bytes(blake2b(key, digest_size=8, key=self._secret).digest(), "little")

    def _body(self, slot: int) -> int:
        return self._bodies + slot * _BODY

    def _value(self, slot: int) -> Packed:
        kind, _, length = _sizes(self._sizes[slot])
        begin = self._body(slot) + LONGEST_KEY
        return Packed(Kind(kind), bytes(self._data[begin : begin + length]))

    def _find(self, key: bytes, tag: int) -> int:
        """Return the slot of the key; -1 without one. An entry at the end of its life is dropped."""
        for slot in self._chain(tag):
            if self._tags[slot] == tag:
                begin, length = self._body(slot), _sizes(self._sizes[slot])[1]
                if self._data[begin : begin + length] == key:
                    if self._ends[slot] > self._clock():
                        return slot
                    self._drop(slot)
                    return -1
        return -1

    def _chain(self, tag: int) -> list[int]:
        """Return the slots of a chain."""
        found: list[int] = []
        number = self._heads[tag % self._count]
        while number:
            found.append(number - 1)
            number = self._nexts[number - 1]
        return found

    def _put(self, old: int, key: bytes, tag: int, value: Packed, end: float) -> None:
        """Write the newest entry into a slot of its own, in place of the old one of the key if there is one."""
        words = self._words
        if old < 0 and words[_USED] >= self._count - 1:
            self._evict()
        words[_UNFINISHED] = 1
        words[_AGE] += 1
        self._insert(key, tag, value, end, words[_AGE], self._olders[_RING])
        if old >= 0:
            self._remove(old)
        words[_UNFINISHED] = 0

    def _replace(self, old: int, key: bytes, tag: int, value: Packed) -> None:
        """Write an entry into a slot of its own, in place of an old one whose life and age it keeps."""
        self._words[_UNFINISHED] = 1
        self._insert(key, tag, value, self._ends[old], self._ages[old], old + 1)
        self._remove(old)
        self._words[_UNFINISHED] = 0

    def _insert(self, key: bytes, tag: int, value: Packed, end: float, age: int, older: int) -> None:
        """Write an entry into a free slot; link it into its chain, and into the ring behind that place."""
        slot = self._take()
        begin = self._body(slot)
        self._data[begin : begin + len(key)] = key
        begin += LONGEST_KEY
        self._data[begin : begin + len(value.data)] = value.data
        self._ends[slot], self._tags[slot] = end, tag
        self._sizes[slot] = value.kind | len(key) << 8 | len(value.data) << 24
        self._ages[slot] = age
        self._link(slot, tag, older)
        self._words[_USED] += 1

    def _link(self, slot: int, tag: int, older: int) -> None:
        number, head, newer = slot + 1, tag % self._count, self._newers[older]
        self._nexts[slot], self._heads[head] = self._heads[head], number
        self._olders[number], self._newers[number] = older, newer
        self._newers[older] = self._olders[newer] = number

    def _take(self) -> int:
        """Return a free slot; there is one more than entries."""
        words = self._words
        freed, touched = words[_FREED], words[_TOUCHED]
        if freed:
            words[_FREED] = self._nexts[freed - 1]
            return freed - 1
        words[_TOUCHED] = touched + 1
        return touched

    def _drop(self, slot: int) -> None:
        self._words[_UNFINISHED] = 1
        self._remove(slot)
        self._words[_UNFINISHED] = 0

    def _remove(self, slot: int) -> None:
        """Take a slot out of its chain and the ring, and free it."""
        tag = self._tags[slot]
        chain = self._chain(tag)
        place = chain.index(slot)
        if place:
            self._nexts[chain[place - 1]] = self._nexts[slot]
        else:
            self._heads[tag % self._count] = self._nexts[slot]
        older, newer = self._olders[slot + 1], self._newers[slot + 1]
        self._newers[older], self._olders[newer] = newer, older
        self._ages[slot] = 0
        self._nexts[slot] = self._words[_FREED]
        self._words[_FREED] = slot + 1
        self._words[_USED] -= 1

    def _evict(self) -> None:
        """Drop the oldest entry, which counts if it was still alive."""
        slot = self._newers[_RING] - 1
        self.evicted += self._ends[slot] > self._clock()
        self._drop(slot)

    def _repair(self) -> None:
        """Make all links anew from the slots. Of two slots with one key, the newer one stays."""
        words, count = self._words, self._count
        self._heads[:] = memoryview(bytes(4 * count)).cast("I")
        self._olders[_RING] = self._newers[_RING] = _RING
        ages = sorted(((age, slot) for slot, age in enumerate(self._ages.tolist())), reverse=True)
        seen: set[int] = set()
        freed = 0
        for age, slot in ages:
            tag = self._tags[slot]
            if age and tag not in seen:
                seen.add(tag)
                self._link(slot, tag, _RING)
            else:
                self._ages[slot] = 0
                self._nexts[slot], freed = freed, slot + 1
        words[_AGE] = max(words[_AGE], ages[0][0])
        words[_USED], words[_TOUCHED], words[_FREED] = len(seen), count, freed
        words[_UNFINISHED] = 0


def _sizes(word: int) -> tuple[int, int, int]:
    """Return the kind of a value, and the lengths of its key and of itself."""
    return word & 0xFF, word >> 8 & 0xFFFF, word >> 24 & 0xFFFF
