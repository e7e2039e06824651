"""The cache of small files: their content and their heads, in the memory of one process."""

from collections import OrderedDict
from typing import Final

from gproxy.runtime import Runtime
from gproxy.static.lookup import Found

#: The most bytes of all entries together.
CAPACITY: Final = 32 * 1024 * 1024
#: Seconds after which an entry is compared with the file again.
FRESH: Final = 1.0
#: The bytes that an entry takes besides its content, as an estimate: heads, keys, objects.
_OVERHEAD: Final = 2048

#: The name of a route and the names below its root, in which the spellings of a path are one.
Key = tuple[str, bytes]


class _Entry:
    __slots__ = ("found", "fresh_until", "size")

    def __init__(self, key: Key, found: Found, fresh_until: float) -> None:
        self.found = found
        self.fresh_until = fresh_until
        self.size = _OVERHEAD + len(key[1]) + sum(len(file.content or b"") for file in found.files)


class FileCache:
    """The files that were served last. The oldest leave once all take more than the capacity."""

    def __init__(self, runtime: Runtime, capacity: int = CAPACITY) -> None:
        self._monotonic = runtime.monotonic
        self._capacity = capacity
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        #: The bytes that all entries take.
        self.used = 0

    def get(self, key: Key) -> Found | None:
        """Return the files; None if they must be looked up.

        One request looks up what has become old. The others get it as it is until `put` or `drop`.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._monotonic()
        if now >= entry.fresh_until:
            entry.fresh_until = now + FRESH
            return None
        self._entries.move_to_end(key)
        return entry.found

    def put(self, key: Key, found: Found) -> None:
        """Keep the files, in the place of older ones."""
        self.drop(key)
        entry = self._entries[key] = _Entry(key, found, self._monotonic() + FRESH)
        self.used += entry.size
        while self.used > self._capacity:
            self.used -= self._entries.popitem(last=False)[1].size

    def drop(self, key: Key) -> None:
        """Forget the files, if they are kept."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used -= entry.size

    def __len__(self) -> int:
        return len(self._entries)
