"""The clients of one window, as many as there is room for."""

from collections.abc import Callable, Iterable
from typing import Final

from cachetools import TTLCache

from gproxy.state.rate_limit.bucket import Bucket, Entry

#: Clients that are found without asking the cache.
_RECENT: Final = 512
#: Where a client that is not known here may have been counted before: by its key, at this time.
Origin = Callable[[str, float], Iterable[Entry]]


class ClientBuckets(TTLCache[str, Bucket]):
    """The clients of one window; `evicted` counts those that had to go while they still counted."""

    evicted = 0

    def __init__(self, maxsize: int, window: float, clock: Callable[[], float], origin: Origin | None) -> None:
        super().__init__(maxsize, 2 * window, clock)
        self.origin = origin
        # PERF: those asked for lately; a dict's lookup costs a tenth of a TTLCache's.
        self.recent: dict[str, Bucket] = {}
        self._room = min(_RECENT, maxsize // 8)

    def bucket(self, key: str, now: float, window: float) -> Bucket:
        """The key's bucket, inserted again once a window, so that what counts never expires."""
        try:
            bucket = self[key]
        except KeyError:
            bucket = self[key] = Bucket(now, self.origin(key, now) if self.origin else ())
        if now - bucket.kept_at > window:
            bucket.kept_at = now
            self[key] = bucket
        if len(self.recent) >= self._room:
            self.recent.clear()
        if self._room:
            self.recent[key] = bucket
        return bucket

    def popitem(self) -> tuple[str, Bucket]:
        self.evicted += 1
        key, bucket = super().popitem()
        self.recent.pop(key, None)
        return key, bucket
