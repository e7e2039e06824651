"""Authentication by API keys, which a file or a function of the user knows by their SHA-256."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Final

import gevent

from gproxy.config.types import ModuleRef, Rate, Seconds
from gproxy.http.request import Request
from gproxy.identity.calls import Calls
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.examination import Check, Examination, checked
from gproxy.identity.identifier import Identifier
from gproxy.identity.outcomes import Asked
from gproxy.identity.secrets.api_keys import PREFIX, APIKey, check_form, hash_of
from gproxy.identity.secrets.key_file import Keys, parse_keys
from gproxy.identity.sources import Source, find_one
from gproxy.identity.watched_file import WatchedFile
from gproxy.runtime import Runtime

#: Bound of the good keys that are remembered, and of the lookups at the same time.
_ENTRIES: Final = 10_000
_LOOKUPS: Final = 32
#: The longest part of an error of the user's function in the log.
_LONGEST_REASON: Final = 200


@dataclass
class APIKeys(CredentialIdentifier):
    """Authentication by API keys: admits requests with a key of the file `keys`, or one that `lookup` knows.

    Only hashes are kept. A change of the file is in force within 2 s. Raises HTTPError 401 for a missing, unknown,
    disabled or expired key, 429 after `max_failures`, and 503 while `lookup` does not answer.
    """

    kind: ClassVar[str] = "api_key"
    scheme: ClassVar[str] = "Key"
    wanted: ClassVar[str] = "an API key"
    given: ClassVar[str] = "the key"

    sources: tuple[Source, ...] = field(
        default=(Source.parse("header:X-API-Key"),),
        metadata={"doc": "where the key may be: header:NAME, bearer, cookie:NAME, query:NAME"},
    )
    keys: Path | None = field(
        default=None, metadata={"doc": "file of keys, which `gproxy key` writes: a section for each user"}
    )
    lookup: ModuleRef | None = field(
        default=None,
        metadata={"doc": "function that gets the hash of a key (sha256:…) and returns a mapping or None; it may block"},
    )
    cache: Seconds = field(
        default=Seconds(60.0), metadata={"doc": "time for which a key is remembered that lookup has found"}
    )
    negative_cache: Seconds = field(
        default=Seconds(10.0), metadata={"doc": "time for which an unknown key is remembered; 1,000 at most"}
    )
    timeout: Seconds = field(default=Seconds(1.0), metadata={"doc": "limit of a lookup with the wait for its turn"})
    max_failures: Rate | None = field(
        default=Rate(30, Seconds(60.0)),
        metadata={"doc": "bad keys that one client address may send; none: no limit"},
    )

    #: The function of `lookup`; build.py imports it.
    find: Callable[[str], Mapping[str, Any] | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options, and read the file of keys. Raises ValueError."""
        super().__post_init__()
        if (self.keys is None) == (self.lookup is None):
            raise ValueError("keys, lookup: expected one of the two: keys = FILE or lookup = MODULE:FUNCTION")
        for name in ("cache", "negative_cache"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: is negative; expected 0s or more")
        if self.timeout <= 0:
            raise ValueError("timeout: expected more than 0s")
        self._file: WatchedFile[Keys] | None = None
        if self.keys is not None:
            self._file = WatchedFile(
                "keys", self.keys, parse_keys, lambda _: self.forget(lambda _: True), maker="gproxy key new USER"
            )
        self._lookups: Calls[str, str, APIKey | None] = Calls(
            self._look_up, most=_LOOKUPS, timeout=self.timeout, check=self.failures.check
        )
        #: What `gproxy check` warns of: option and text.
        self.warnings = [*self._warnings_of_keys(time.time())]
        self.start_cache(_ENTRIES, self.negative_cache)

    def open(self, runtime: Runtime) -> None:
        """Watch the file of keys."""
        super().open(runtime)
        self._asked = Asked(runtime, self.name)
        if self._file is not None:
            self._file.open(runtime, f"handler:{self.name}")

    def close(self) -> None:
        """Stop to watch the file."""
        if self._file is not None:
            self._file.close()

    def recognises(self, request: Request, taken: Collection[Source] = ()) -> bool:
        """Return whether the request has a key of ours, or anything in a source that no other member uses."""
        found = find_one(self.sources, request)
        return found is not None and (found[1].startswith(PREFIX) or found[0] not in taken)

    def takes_all(self, source: Source, taken: Collection[Source], other: Identifier) -> bool:  # noqa: ARG002
        """Return whether nothing in the source is left for a later member of an `any_of`."""
        return source in self.sources and source not in taken

    def verify(self, credential: str, request: Request) -> Verified:
        """Return the identity of the key's user. Raises Untrusted, and Unavailable without an answer of `lookup`."""
        check_form(credential)
        text, until = hash_of(credential), inf
        if self._file is not None:
            key = self._file.content.get(text)
        else:
            key = self._lookups.result(text, text, min(self.timeout, request.deadline.remaining()), request)
            until = self._clock() + self.cache
        if key is None:
            raise Untrusted("it is unknown")
        return key.verified(self._clock(), until)

    def examine(self, credential: str) -> Examination:
        """Return the checks of a key; those of `lookup` only a running gateway makes."""
        form = checked("form", partial(check_form, credential))
        if not form.holds or self._file is None:
            unknown = Check("key", None, f"not checked: {self.lookup} knows") if form.holds else None
            return Examination([check for check in (form, unknown) if check])
        key = self._file.content.get(hash_of(credential))
        if key is None:
            return Examination([form, Check("key", False, f"has no section in {self.keys}", "it is unknown")])
        use = checked("use", partial(key.check_use, self._clock()), f"section at {key.place}")
        networks = Check("networks", None, f"expected {', '.join(map(str, key.networks))}")
        of_identity, identity = self.examine_identity(key.identity())
        return Examination([form, use, *([networks] if key.networks else []), *of_identity], (), identity)

    def _look_up(self, text: str, _: float) -> APIKey | None:
        """Call the user's function. Raises Unavailable with what it has raised."""
        with self._asked.timed() as call:
            try:
                found = self.find(text)
                key = None if found is None else APIKey.of(found)
            except gevent.Timeout:  # the limit of the call
                raise
            except BaseException as error:  # noqa: BLE001 gevent ends the process for some of them
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
                raise Unavailable(f"{self.lookup} failed: {reason}") from None
            call.admits = key is not None
            return key

    def _warnings_of_keys(self, now: float) -> Iterator[tuple[str, str]]:
        """Yield a warning for each key of the file that has expired, or for a file without any."""
        keys = self._file.content.values() if self._file else ()
        if self._file is not None and not keys:
            yield "keys", f"{self.keys} has no keys, so no key is valid"
        for key in {key.place: key for key in keys}.values():
            if key.expires <= now:
                yield "keys", f"{key.place}: the key of {key.user} has expired; remove it or change expires"
