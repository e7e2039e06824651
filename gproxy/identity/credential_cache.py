"""Caches of judged credentials: bounded by number and bytes, and never beyond their expiry (docs/why/tokens.md)."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gproxy.http.identity import Identity
from gproxy.http.request import Request
from gproxy.identity.errors import Untrusted

#: Bound of the bytes of all credentials in the cache; the texts beside them have half as many.
BYTES: Final = 16 * 1024 * 1024
#: Seconds after which the texts are dropped; those of clients that still send requests return.
TURN: Final = 60.0
#: The number of rejected credentials that are kept, and for how many seconds.
REJECTED: Final = 1000
LIFETIME: Final = 10.0


@dataclass(slots=True)
class Judged:
    """A good credential of `size` bytes, prepared for its requests; good until `expires`, in epoch seconds.

    by_name: the identity by the handler's name. fields: name, key and value of each header to set; one whose value is
    None is removed. permitted: False if the identity lacks the role or a scope that the handler requires. check: raises
    Untrusted for a request that may not use the credential; None if all may. key: what the verdict depends on.
    """

    identity: Identity
    by_name: Mapping[str, Identity]
    fields: list[tuple[str, str, str | None]]
    permitted: bool
    expires: float
    size: int
    check: Callable[[Request], None] | None = None
    key: object = None
    #: Until when the text in the cache counts; the cache sets it.
    recent_until: float = 0.0


class CredentialCache:
    """At most `entries` good credentials by their digest; the least recently used is dropped first.

    A credential that comes again is kept by its text too, so that further requests need no digest; but not one with a
    `check`.
    """

    def __init__(self, entries: int) -> None:
        #: By text. An item counts until its `recent_until`; then `find` knows more.
        self.recent: dict[str | None, Judged] = {}
        self._judged: OrderedDict[bytes, Judged] = OrderedDict()
        self._entries = entries
        self._bytes = 0
        self._recent_bytes = 0
        self._turn = 0.0

    def __len__(self) -> int:
        return len(self._judged)

    def find(self, text: str, digest: bytes, now: float) -> Judged | None:
        """Return what is known of the credential with this digest, or None; `now` is in epoch seconds.

        `text` is the credential as requests have it; "" if no text may be kept.
        """
        judged = self._judged.get(digest)
        if judged is None or judged.expires <= now:
            return None
        self._judged.move_to_end(digest)
        self._drop_old(now)
        if not text or judged.check is not None:
            return judged
        if 2 * len(self.recent) >= self._entries or 2 * (self._recent_bytes + len(text)) > BYTES:
            self._drop_texts()
        self.recent[text] = judged
        self._recent_bytes += len(text)
        judged.recent_until = min(judged.expires, self._turn)
        return judged

    def keep(self, digest: bytes, judged: Judged, now: float) -> None:
        """Keep a credential that `find` did not return, unless it has expired."""
        if judged.expires <= now:
            return
        self._drop_old(now)
        known = self._judged.pop(digest, None)  # one that has expired, or that was judged meanwhile
        if known is not None:
            self._bytes -= known.size
        self._judged[digest] = judged
        self._bytes += judged.size
        while len(self._judged) > self._entries or self._bytes > BYTES:
            _, oldest = self._judged.popitem(last=False)
            self._bytes -= oldest.size

    def forget(self, is_bad: Callable[[Judged], bool]) -> int:
        """Drop these credentials, and return their number."""
        self._drop_texts()
        return self._drop(is_bad)

    def _drop_old(self, now: float) -> None:
        """Once a minute, drop the texts and what has expired."""
        if self._turn - TURN <= now < self._turn:
            return
        self._turn = now + TURN
        self._drop_texts()
        self._drop(lambda judged: judged.expires <= now)

    def _drop(self, is_old: Callable[[Judged], bool]) -> int:
        dropped = [digest for digest, judged in self._judged.items() if is_old(judged)]
        for digest in dropped:
            self._bytes -= self._judged.pop(digest).size
        return len(dropped)

    def _drop_texts(self) -> None:
        self.recent.clear()
        self._recent_bytes = 0


class RejectedCache:
    """The reasons of the last rejected credentials by their digest, each for `lifetime` seconds.

    They have a cache of their own: so no garbage pushes out a good credential.
    """

    def __init__(self, lifetime: float) -> None:
        self._reasons: OrderedDict[bytes, tuple[float, str, bool]] = OrderedDict()
        self._lifetime = lifetime

    def find(self, digest: bytes, now: float) -> Untrusted | None:
        """Return the error of the rejected credential, None if it is unknown; `now` is in epoch seconds."""
        until, reason, expired = self._reasons.get(digest, (0.0, "", False))
        return Untrusted(reason, expired=expired) if now < until <= now + self._lifetime else None

    def keep(self, digest: bytes, reason: Untrusted, now: float) -> None:
        """Keep the reason; the oldest one goes if there are too many."""
        self._reasons.pop(digest, None)
        self._reasons[digest] = now + self._lifetime, str(reason), reason.expired
        if len(self._reasons) > REJECTED:
            self._reasons.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them: what has changed may make one of them good."""
        self._reasons.clear()
