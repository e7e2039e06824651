"""The metadata of one issuer, fetched when it is first needed and again every hour (discovery)."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import gevent

from gproxy.identity.errors import Unavailable
from gproxy.identity.key_sets.discovery import LARGEST, Endpoint, endpoint, metadata_urls, parse_metadata
from gproxy.identity.outgoing.client import Outgoing, OutgoingError
from gproxy.runtime import Runtime

#: Seconds after which the document is read again; after a failure, with and without an older document.
HOUR: Final = 3600.0
_RETRY: Final = 60.0
_SOON: Final = 1.0

_log = logging.getLogger("gproxy")


class IssuerMetadata:
    """The metadata of one issuer; a document that was good stays in force while later ones cannot be fetched.

    One fetch at a time runs in a greenlet of its own, and all who need the document meanwhile wait for it.
    """

    def __init__(self, issuer: str, runtime: Runtime) -> None:
        self.issuer = issuer
        self.last_error = ""
        self._outgoing = runtime.single(Outgoing)
        self._insecure = runtime.outgoing.insecure
        self._spawn = runtime.spawn
        self._monotonic = runtime.monotonic
        self._document: Mapping[str, Any] | None = None
        self._next = 0.0
        self._fetching: gevent.Greenlet | None = None

    def read(self) -> Mapping[str, Any]:
        """Return the document; a call waits only while there is none. Raises Unavailable."""
        if self._document is None:
            self.reload_if_old()
        elif self._monotonic() >= self._next:
            self._start()
        if self._document is None:
            raise Unavailable(f"metadata of {self.issuer}: {self.last_error}")
        return self._document

    def reload(self) -> None:
        """Fetch the document now, and wait for it; if that fails, the old one stays."""
        self._start().join()

    def reload_if_old(self) -> None:
        """Fetch the document if it is due, and wait for it: for callers in the background."""
        if self._monotonic() >= self._next:
            self.reload()

    def url(self, name: str) -> Endpoint:
        """Return the URL with this name, such as `introspection_endpoint`. Raises Unavailable."""
        try:
            return endpoint(self.issuer, self.read(), name, insecure=self._insecure)
        except ValueError as error:
            raise Unavailable(f"metadata of {self.issuer}: {error}") from None

    def _start(self) -> gevent.Greenlet:
        if self._fetching is None:
            self._fetching = self._spawn(self._fetch)
        return self._fetching

    def _fetch(self) -> None:
        try:
            self._document, self.last_error = self._first_document(), ""
        except OutgoingError as error:
            self.last_error = str(error)
        except Exception as error:  # noqa: BLE001 all who need the document would ask again at once
            _log.exception("metadata of %s cannot be fetched", self.issuer)
            self.last_error = type(error).__name__
        finally:
            retry = _SOON if self._document is None else _RETRY
            self._next = self._monotonic() + (retry if self.last_error else HOUR)
            self._fetching = None

    def _first_document(self) -> Mapping[str, Any]:
        """Return the document of the first form that has one; a server that does not answer is asked only once.

        Raises OutgoingError.
        """
        reasons = []
        for url in metadata_urls(self.issuer):
            answer = self._outgoing.fetch(url, limit=LARGEST)
            if answer.status != 200:
                reasons.append(f"the metadata has status {answer.status}")
                continue
            try:
                return parse_metadata(self.issuer, answer.body)
            except ValueError as error:
                reasons.append(str(error))
        raise OutgoingError("; ".join(dict.fromkeys(reasons)))
