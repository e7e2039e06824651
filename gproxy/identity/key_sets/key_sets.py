"""The key sets of a worker: one for each place, shared by all handlers that name it."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import gevent

from gproxy.identity.errors import Unavailable
from gproxy.identity.key_sets.discovery import Endpoint
from gproxy.identity.key_sets.fetched_key_set import Fetch, Fetched, FetchedKeySet
from gproxy.identity.key_sets.issuer_metadata import IssuerMetadata
from gproxy.identity.key_sets.kept_keys import keep, kept_keys
from gproxy.identity.key_sets.key_set import LARGEST, Key, KeySet
from gproxy.identity.key_sets.key_source import KeySource, parse_file
from gproxy.identity.key_sets.live_key_set import LiveKeySet, TrustedKeys, Withdrawn
from gproxy.identity.outcomes import watch_keys
from gproxy.identity.outgoing.client import Outgoing, OutgoingError
from gproxy.identity.watched_file import WatchedFile
from gproxy.runtime import Runtime

#: How long the start waits for key sets of which no copy is kept, in seconds.
START: Final = 5.0


class KeySets:
    """All key sets of a worker, and the metadata of issuers; `runtime.single(KeySets)` returns them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._outgoing = runtime.single(Outgoing)
        self._sets: dict[KeySource, LiveKeySet] = {}
        self._files: list[WatchedFile[KeySet]] = []
        self._metadata: dict[str, IssuerMetadata] = {}
        runtime.keys = self.snapshot

    def __iter__(self) -> Iterator[LiveKeySet]:
        return iter(list(self._sets.values()))

    def of(
        self,
        source: KeySource,
        *,
        algorithms: Collection[str],
        refresh: float = 300.0,
        stale: float = 86_400.0,
        withdrawn: Withdrawn | None = None,
    ) -> TrustedKeys:
        """Return the keys of a place for these algorithms. The first call starts to fetch them, and does not wait.

        They are fetched every `refresh` seconds, and used until they are `stale` seconds old. `withdrawn` gets keys
        that are published no longer, have changed, or are too old. Raises ValueError if the place may not be asked.
        """
        live = self._sets.get(source)
        if live is None:
            source.require(insecure=self._runtime.outgoing.insecure)
            live = self._sets[source] = self._from_file(source) if source.kind == "file" else self._fetched(source)
            watch_keys(self._runtime, live)
        trusted = live.trust(algorithms, stale, withdrawn)
        if isinstance(live, FetchedKeySet):
            live.refresh_every(refresh)
            live.start()
        return trusted

    def metadata(self, issuer: str) -> IssuerMetadata:
        """Return the metadata of an issuer, which all handlers share; nothing is fetched yet."""
        if issuer not in self._metadata:
            self._metadata[issuer] = IssuerMetadata(issuer, self._runtime)
        return self._metadata[issuer]

    def open(self) -> None:
        """Wait a few seconds for the sets that have no kept copy; then serve, with a warning for each missing one."""
        missing = [live for live in self if isinstance(live, FetchedKeySet) and live.state == "missing"]
        gevent.wait([live.settled for live in missing], START)
        for live in missing:
            if live.state == "missing":
                self._runtime.log.warning("keys of %s are missing: requests with its tokens get 503", live.name)

    def close(self) -> None:
        """Stop all fetches."""
        for live in self:
            if isinstance(live, FetchedKeySet):
                live.stop()
        for file in self._files:
            file.close()

    def snapshot(self) -> list[dict[str, Any]]:
        """Return what /health shows of each set."""
        return [live.snapshot() for live in self]

    def _fetched(self, source: KeySource) -> FetchedKeySet:
        runtime = self._runtime
        fetch = fetcher(source, self._outgoing, self.metadata)
        live = FetchedKeySet(source.name, runtime, fetch, partial(_keep, runtime, source))
        try:
            kept = kept_keys(runtime.state_dir, source)
        except ValueError as error:
            runtime.log.warning("keys of %s: %s", source.name, error)
        else:
            if kept is not None:
                live.take(kept.keys, runtime.monotonic() - max(0.0, runtime.clock() - kept.fetched))
        return live

    def _from_file(self, source: KeySource) -> LiveKeySet:
        live = LiveKeySet(source.name, self._runtime.monotonic)

        def parse(path: Path, data: bytes) -> KeySet:
            return parse_file(path, data, live.keys)

        def apply(keys: KeySet) -> None:
            live.is_fresh, live.last_error = True, ""
            live.take(keys, math.inf)

        def failed(reason: str) -> None:
            live.is_fresh, live.last_error = False, reason

        file = WatchedFile("jwks", source.path, parse, apply, failed=failed)
        apply(file.content)
        file.open(self._runtime, "keys")
        self._files.append(file)
        return live


def fetcher(source: KeySource, outgoing: Outgoing, metadata: Callable[[str], IssuerMetadata]) -> Fetch:
    """Return the function that fetches the set of a place. It raises OutgoingError."""
    if source.kind == "url":
        return partial(_fetch, outgoing, Endpoint(source.name, public=False))
    return partial(_discover, outgoing, metadata(source.name))


def _fetch(outgoing: Outgoing, endpoint: Endpoint, previous: Iterable[Key]) -> Fetched:
    answer = outgoing.fetch(endpoint.url, limit=LARGEST, public=endpoint.public)
    if answer.status != 200:
        raise OutgoingError(f"status {answer.status}")
    try:
        return Fetched(KeySet.parse(answer.body, previous), answer.body)
    except ValueError as error:
        raise OutgoingError(str(error)) from None


def _discover(outgoing: Outgoing, metadata: IssuerMetadata, previous: Iterable[Key]) -> Fetched:
    """Fetch the set that the metadata name. If that fails, read the metadata again: the set may have moved."""
    metadata.reload_if_old()
    endpoint = _jwks_uri(metadata)
    try:
        return _fetch(outgoing, endpoint, previous)
    except OutgoingError:
        metadata.reload()
        moved = _jwks_uri(metadata)
        if moved == endpoint:
            raise
    return _fetch(outgoing, moved, previous)


def _jwks_uri(metadata: IssuerMetadata) -> Endpoint:
    try:
        return metadata.url("jwks_uri")
    except Unavailable as error:
        raise OutgoingError(str(error)) from None


def _keep(runtime: Runtime, source: KeySource, data: bytes) -> None:
    try:
        runtime.offload(keep, runtime.state_dir, source, data, runtime.clock())
    except OSError as error:
        runtime.throttle.warn(f"keys of {source.name}", "keys of %s cannot be kept: %s", source.name, error)
