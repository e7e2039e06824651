"""A cache of good credentials: bounded by number and bytes, and never beyond their expiry (docs/why/tokens.md)."""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

#: Bound of the bytes of all credentials in the cache; the texts beside them have half as many.
BYTES: Final = 16 * 1024 * 1024
#: Seconds after which the texts are dropped; those of clients that still send requests return.
TURN: Final = 60.0


class Judged(Protocol):
    """The facts that are kept of a good credential of `size` bytes. The cache sets `recent_until`."""

    expires: float
    size: int
    recent_until: float


J = TypeVar("J", bound=Judged)


class CredentialCache(Generic[J]):
    """At most `entries` good credentials by their digest; the least recently used is dropped first.

    A credential that comes again is kept by its text too, so that further requests need no digest.
    """

    def __init__(self, entries: int) -> None:
        #: By text. An item counts until its `recent_until`; then `find` knows more.
        self.recent: dict[str | None, J] = {}
        self._judged: OrderedDict[bytes, J] = OrderedDict()
        self._entries = entries
        self._bytes = 0
        self._recent_bytes = 0
        self._turn = 0.0

    def __len__(self) -> int:
        return len(self._judged)

    def find(self, text: str, digest: bytes, now: float) -> J | None:
        """Return what is known of the credential with this text and digest, or None; `now` is in epoch seconds."""
        judged = self._judged.get(digest)
        if judged is None or judged.expires <= now:
            return None
        self._judged.move_to_end(digest)
        self._drop_old(now)
        if 2 * len(self.recent) >= self._entries or 2 * (self._recent_bytes + len(text)) > BYTES:
            self._drop_texts()
        self.recent[text] = judged
        self._recent_bytes += len(text)
        judged.recent_until = min(judged.expires, self._turn)
        return judged

    def keep(self, digest: bytes, judged: J, now: float) -> None:
        """Keep a credential that `find` did not return, unless it has expired."""
        if judged.expires <= now or digest in self._judged:
            return
        self._drop_old(now)
        self._judged[digest] = judged
        self._bytes += judged.size
        while len(self._judged) > self._entries or self._bytes > BYTES:
            _, oldest = self._judged.popitem(last=False)
            self._bytes -= oldest.size

    def _drop_old(self, now: float) -> None:
        """Once a minute, drop the texts and what has expired."""
        if self._turn - TURN <= now < self._turn:
            return
        self._turn = now + TURN
        self._drop_texts()
        for digest in [digest for digest, judged in self._judged.items() if judged.expires <= now]:
            self._bytes -= self._judged.pop(digest).size

    def _drop_texts(self) -> None:
        self.recent.clear()
        self._recent_bytes = 0
