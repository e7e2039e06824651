"""The base class of identity handlers for credentials that are texts: tokens, keys and passwords."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from gproxy.http.handler import Next
from gproxy.http.identity import Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.credential_cache import CredentialCache, Judged, RejectedCache
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.identifier import Identifier


@dataclass(kw_only=True)
class CredentialIdentifier(Identifier):
    """An identity handler whose credential is a text in one of the sources; verdicts are kept.

    A subclass has the method `verify`.
    """

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        super().__post_init__()
        if not self.sources:
            raise ValueError("sources: expected at least one")
        #: PERF: the header that alone may have a credential, so that it is looked up as it came; "" if others may.
        self._key = self.sources[0].key if len(self.sources) == 1 else ""
        self.start_cache()

    def start_cache(self, entries: int = 10_000) -> None:
        """Start with empty caches, the one of good credentials with so many entries."""
        self._rejected = RejectedCache()
        self._cache = CredentialCache(entries)
        # PERF: one attribute for each request.
        self._recent = self._cache.recent

    def verify(self, credential: str, request: Request) -> Identity:
        """Return the identity that this credential proves. Raises Untrusted, Unavailable. The method may block."""
        raise NotImplementedError

    def __call__(self, request: Request, next: Next) -> Response:
        judged = self._recent.get(request.headers.lookup(self._key))
        if judged is None or judged.recent_until <= self._clock():
            judged = self.judge(request)
        return self.go_on(request, next) if judged is None else self.admit(request, judged, next)

    def judge(self, request: Request) -> Judged | None:
        """Return the judged credential, None without one. Raises HTTPError for a bad one."""
        credential = self.find_credential(request)
        if credential is None:
            return None
        now = self._clock()
        digest = sha256(credential.encode("utf-8", "surrogatepass")).digest()
        judged = self._cache.find(request.headers.lookup(self._key) or credential, digest, now)
        return self._verdict(credential, digest, now, request) if judged is None else judged

    def _verdict(self, credential: str, digest: bytes, now: float, request: Request) -> Judged:
        """Judge a credential that is not known as good, and keep the verdict."""
        known = self._rejected.find(digest, now)
        if known is not None:
            raise self.rejection(known)
        try:
            judged = self.complete(self.verify(credential, request), len(credential))
        except Untrusted as reason:
            if reason.lasting:
                self._rejected.keep(digest, str(reason), now)
            raise self.rejection(str(reason)) from None
        except Unavailable as reason:
            raise self.unavailable(str(reason)) from None
        self._cache.keep(digest, judged, now)
        return judged

    def forget(self, is_bad: Callable[[Identity], bool]) -> None:
        """Drop the kept verdicts on these identities, and all rejections: some of them may be good now."""
        self._cache.forget(is_bad)
        self._rejected.clear()
