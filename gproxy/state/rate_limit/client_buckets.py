"""The buckets of one window's clients, limited in number."""

from collections.abc import Callable, Iterable
from typing import Final

from cachetools import TTLCache

from gproxy.state.rate_limit.bucket import Bucket, Entry

#: The number of recent clients, which are found without a look-up in the cache.
_RECENT: Final = 512
#: Returns earlier entries of a client that is unknown here, by its key, at this time.
Origin = Callable[[str, float], Iterable[Entry]]


class ClientBuckets(TTLCache[str, Bucket]):
    """The buckets of one window; `evicted` counts the clients that were evicted while their requests still counted."""

    evicted = 0

    def __init__(
        self,
        maxsize: int,
        window: float,
        clock: Callable[[], float],
        kind: type[Bucket],
        origin: Origin | None,
    ) -> None:
        super().__init__(maxsize, 2 * window, clock)
        self._kind = kind
        self._origin = origin
        # PERF: recently used clients; a dict look-up costs a tenth of a TTLCache's.
        self.recent: dict[str, Bucket] = {}
        self._room = min(_RECENT, maxsize // 8)

    def bucket(self, key: str, now: float, window: float) -> Bucket:
        """Return the bucket of the key. Insert it again once a window, so that a bucket that counts never expires."""
        try:
            bucket = self[key]
        except KeyError:
            bucket = self[key] = self._kind.of(now, self._origin(key, now) if self._origin else ())
        if now - bucket.kept_at > window:
            bucket.kept_at = now
            self[key] = bucket
        if len(self.recent) >= self._room:
            self.recent.clear()
        if self._room:
            self.recent[key] = bucket
        return bucket

    def find(self, key: str, now: float, window: float) -> Bucket | None:
        """Return the bucket of the key; None for a client without earlier requests, which gets no bucket."""
        if key not in self:
            entries = [*self._origin(key, now)] if self._origin else []
            if not entries:
                return None
            self[key] = self._kind.of(now, entries)
        return self.bucket(key, now, window)

    def popitem(self) -> tuple[str, Bucket]:
        self.evicted += 1
        key, bucket = super().popitem()
        self.recent.pop(key, None)
        return key, bucket
