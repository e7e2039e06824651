"""Tables of handlers and jobs: small values by key, which live for a time; a full table drops its oldest entry.

A table is the same to its user wherever its entries are: in this process, in memory of the workers, or in Redis.
"""

import json
import math
import struct
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

#: The longest value and the longest key, in bytes.
LONGEST_VALUE: Final = 1024
LONGEST_KEY: Final = 256
#: The numbers that a table can hold.
_INT: Final = struct.Struct("=q")
_FLOAT: Final = struct.Struct("=d")

Number = int | float


class Kind(IntEnum):
    """The kind of a stored value."""

    INT = 1
    FLOAT = 2
    TEXT = 3
    BYTES = 4
    JSON = 5


#: The kinds to which `incr` adds.
_NUMBERS: Final = (Kind.INT, Kind.FLOAT)


class Packed(NamedTuple):
    """A value as it is stored."""

    kind: Kind
    data: bytes


def pack(value: object) -> Packed:
    """Return the value as it is stored. Raises ValueError for one that is too long or too large, TypeError for another.

    A value is a number, a text, bytes, or anything that JSON can express.
    """
    packed = _packed(value)
    if len(packed.data) > LONGEST_VALUE:
        raise ValueError(f"the value has {len(packed.data)} bytes; expected at most {LONGEST_VALUE}")
    return packed


def _packed(value: object) -> Packed:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return Packed(Kind.INT, _INT.pack(value))
        except struct.error:
            raise ValueError(f"the number has {value.bit_length()} bits; expected at most 63 and a sign") from None
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number, not {value}")
        return Packed(Kind.FLOAT, _FLOAT.pack(value))
    if isinstance(value, str):
        return Packed(Kind.TEXT, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return Packed(Kind.BYTES, value)
    return Packed(Kind.JSON, json.dumps(value, separators=(",", ":"), allow_nan=False).encode())


def unpack(packed: Packed) -> Any:  # noqa: ANN401 any value
    """Return the value that was packed."""
    kind, data = packed
    if kind is Kind.INT:
        return _INT.unpack(data)[0]
    if kind is Kind.FLOAT:
        return _FLOAT.unpack(data)[0]
    if kind is Kind.TEXT:
        return data.decode("utf-8", "surrogatepass")
    return data if kind is Kind.BYTES else json.loads(data)


def added(packed: Packed, amount: Number) -> Number:
    """Return the stored number plus the amount. Raises TypeError if it is no number, ValueError beyond 64 bits."""
    if packed.kind not in _NUMBERS:
        raise TypeError(f"the value is {unpack(packed)!r}; expected a number")
    number: Number = unpack(packed) + amount
    pack(number)
    return number


class Entries(Protocol):
    """The entries of a table, with bytes as keys. A life is in seconds; `evicted` counts what this process dropped."""

    evicted: int

    def get(self, key: bytes, /) -> Packed | None:
        """Return the value of the key; None without one."""

    def set(self, key: bytes, value: Packed, life: float, /) -> None:
        """Give the key this value."""

    def add(self, key: bytes, value: Packed, life: float, /) -> bool:
        """Give the key this value unless it has one; return whether it had none."""

    def incr(self, key: bytes, amount: Number, life: float, /) -> Number:
        """Add to the number of the key, which keeps its life, and return the sum. A key without one begins at 0."""

    def pop(self, key: bytes, /) -> Packed | None:
        """Remove the key, and return its value; None without one."""


class LocalEntries(Entries, Protocol):
    """Entries of this machine, which can also be compared and changed in one step."""

    def swap(self, key: bytes, before: Packed, after: Packed | None, life: float, /) -> bool:
        """Give a key that has the value `before` another one, or remove it; return whether it had that value."""


class MemoryEntries:
    """The entries of a table in this process. `clock` returns seconds that never jump."""

    def __init__(self, max_keys: int, clock: Callable[[], float]) -> None:
        self._max_keys = max_keys
        self._clock = clock
        #: By key: the value, and the end of its life; the oldest first.
        self._entries: OrderedDict[bytes, tuple[Packed, float]] = OrderedDict()
        self.evicted = 0

    def _living(self, key: bytes) -> tuple[Packed, float] | None:
        found = self._entries.get(key)
        if found is not None and found[1] <= self._clock():
            del self._entries[key]
            return None
        return found

    def get(self, key: bytes, /) -> Packed | None:
        found = self._living(key)
        return None if found is None else found[0]

    def set(self, key: bytes, value: Packed, life: float, /) -> None:
        now = self._clock()
        self._entries.pop(key, None)
        if len(self._entries) >= self._max_keys:
            self.evicted += self._entries.popitem(last=False)[1][1] > now
        self._entries[key] = value, now + life

    def add(self, key: bytes, value: Packed, life: float, /) -> bool:
        is_new = self._living(key) is None
        if is_new:
            self.set(key, value, life)
        return is_new

    def incr(self, key: bytes, amount: Number, life: float, /) -> Number:
        found = self._living(key)
        if found is None:
            self.set(key, pack(amount), life)
            return amount
        number = added(found[0], amount)
        self._entries[key] = pack(number), found[1]
        return number

    def pop(self, key: bytes, /) -> Packed | None:
        found = self._living(key)
        self._entries.pop(key, None)
        return None if found is None else found[0]

    def swap(self, key: bytes, before: Packed, after: Packed | None, life: float, /) -> bool:
        if self.get(key) != before:
            return False
        if after is None:
            del self._entries[key]
        else:
            self.set(key, after, life)
        return True


class Table:
    """A table of small values by key: numbers, texts, bytes, or what JSON can express, up to 1 KiB.

    An entry lives for the table's time, since `set` or `add`, or since `incr` has made it. A full table drops its
    oldest entry. Keys are texts of at most 256 bytes. All methods raise StoreUnavailableError if the entries are in a
    Redis that does not answer.
    """

    def __init__(self, name: str, entries: Entries, ttl: float) -> None:
        self.name = name
        self._entries = entries
        self._ttl = ttl

    def __repr__(self) -> str:
        return f"<Table {self.name}>"

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 any value
        """Return the value of the key, or the default without one."""
        found = self._entries.get(encoded(key))
        return default if found is None else unpack(found)

    def set(self, key: str, value: object) -> None:
        """Give the key this value, for the table's time from now on."""
        self._entries.set(encoded(key), pack(value), self._ttl)

    def add(self, key: str, value: object) -> bool:
        """Give the key this value unless it has one; return whether it had none."""
        return self._entries.add(encoded(key), pack(value), self._ttl)

    def incr(self, key: str, amount: Number = 1) -> Any:  # noqa: ANN401 an int, or a float
        """Add to the number of the key, which begins at 0, and return the sum.

        The end of an entry's life stays as it is. Raises TypeError if the value or the amount is no number.
        """
        if pack(amount).kind not in _NUMBERS:
            raise TypeError(f"the amount is {amount!r}; expected a number")
        return self._entries.incr(encoded(key), amount, self._ttl)

    def pop(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 any value
        """Remove the key, and return its value, or the default without one."""
        found = self._entries.pop(encoded(key))
        return default if found is None else unpack(found)


def encoded(key: str) -> bytes:
    """Return the key in bytes. Raises TypeError if it is no text, ValueError if it is too long."""
    if not isinstance(key, str):
        raise TypeError(f"the key is {key!r}; expected a text")
    found = key.encode("utf-8", "surrogatepass")
    if len(found) > LONGEST_KEY:
        raise ValueError(f"the key has {len(found)} bytes; expected at most {LONGEST_KEY}")
    return found
