"""The base class of identity handlers for credentials that are texts: tokens, keys and passwords."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, NamedTuple

from gproxy.http.handler import Next
from gproxy.http.identity import Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.credential_cache import LIFETIME, CredentialCache, Judged, RejectedCache
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.identifier import Identifier
from gproxy.identity.sources import Source


class Verified(NamedTuple):
    """A good credential, with the conditions under which it is good.

    until: when the verdict ends, in epoch seconds; None: when the identity expires. check: raises Untrusted for a
    request that may not use the credential. key: what the verdict depends on, for `forget`.
    """

    identity: Identity
    until: float | None = None
    check: Callable[[Request], None] | None = None
    key: object = None


@dataclass(kw_only=True)
class CredentialIdentifier(Identifier):
    """An identity handler whose credential is a text in one of the sources; verdicts are kept.

    A subclass has the method `verify`.
    """

    #: False if no credential may stay in memory: each request then costs a digest.
    keeps_texts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        super().__post_init__()
        if not self.sources:
            raise ValueError("sources: expected at least one")
        #: PERF: the header that alone may have a credential, so that it is looked up as it came; "" if others may.
        self._key = self.sources[0].key if len(self.sources) == 1 else ""
        self.start_cache()

    def start_cache(self, entries: int = 10_000, rejected_for: float = LIFETIME) -> None:
        """Start with empty caches: of so many good credentials, and of rejections, each for these seconds."""
        self._rejected = RejectedCache(rejected_for)
        self._cache = CredentialCache(entries)
        # PERF: one attribute for each request.
        self._recent = self._cache.recent

    def verify(self, credential: str, request: Request) -> Identity | Verified:
        """Return the identity that this credential proves. Raises Untrusted, Unavailable. The method may block."""
        raise NotImplementedError

    def takes_all(self, source: Source, taken: Collection[Source], other: Identifier) -> bool:  # noqa: ARG002
        """Return whether nothing in the source is left for a later member of an `any_of`."""
        return source in self.sources and type(self).recognises is Identifier.recognises

    def digest(self, credential: str) -> bytes:
        """Return the digest under which the verdict on a credential is kept."""
        return sha256(credential.encode("utf-8", "surrogatepass")).digest()

    def __call__(self, request: Request, next: Next) -> Response:
        if request.path == self.own_path:
            return self.document()
        judged = self._recent.get(request.headers.lookup(self._key))
        if judged is not None and judged.recent_until > self._clock():
            return self.admit(request, judged, next)
        return super().__call__(request, next)

    def judge(self, request: Request) -> Judged | None:
        """Return the judged credential, None without one. Raises HTTPError for a bad one."""
        credential = self.find_credential(request)
        if credential is None:
            return None
        now = self._clock()
        digest = self.digest(credential)
        text = (request.headers.lookup(self._key) or credential) if self.keeps_texts else ""
        try:
            judged = self._cache.find(text, digest, now) or self._verdict(credential, digest, now, request)
            if judged.check is not None:
                judged.check(request)
        except Untrusted as reason:
            self.failures.count(request)
            raise self.rejection(str(reason)) from reason
        except Unavailable as reason:
            raise self.unavailable(str(reason)) from reason
        return judged

    def _verdict(self, credential: str, digest: bytes, now: float, request: Request) -> Judged:
        """Judge a credential that is not known as good, and keep the verdict. Raises Untrusted, Unavailable."""
        self.failures.check(request)
        known = self._rejected.find(digest, now)
        if known is not None:
            raise known
        try:
            found = self.verify(credential, request)
            verified = found if isinstance(found, Verified) else Verified(found)
            judged = self.complete(verified.identity, len(credential))
        except Untrusted as reason:
            if reason.lasting:
                self._rejected.keep(digest, reason, now)
            raise
        judged.check, judged.key = verified.check, verified.key
        if verified.until is not None:
            judged.expires = verified.until
        self._cache.keep(digest, judged, now)
        return judged

    def forget(self, is_bad: Callable[[Judged], bool]) -> None:
        """Drop these kept verdicts, and all rejections: some of them may be good now."""
        self._cache.forget(is_bad)
        self._rejected.clear()
