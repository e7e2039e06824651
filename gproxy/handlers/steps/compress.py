"""The step of `compress`: a whole body at once, a stream piece by piece (RFC 9110 sections 8.4 and 12.5.3).

A compressed response is another representation, so it gets another strong ETag: the backend's, with the coding
(`-gzip`) before the closing quote. The step removes this suffix from requests, so the backend can answer 304 and check
If-Match.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from gproxy.http.codings import Coding
from gproxy.http.handler import Next
from gproxy.http.headers import Headers
from gproxy.http.negotiate import may_be_coded, vary_by_coding
from gproxy.http.request import Request
from gproxy.http.response import Response

#: Fields that describe the bytes before compression (RFC 9530).
_DIGESTS: Final = frozenset({"content-digest", "repr-digest", "digest", "content-md5"})
#: Request fields that may have an ETag of ours.
_CONDITIONAL: Final = ("if-match", "if-none-match")
_is_strong_tag = re.compile(r'"[!#-~\x80-\xff]*"').fullmatch
_is_weak_tag = re.compile(r'W/"[!#-~\x80-\xff]*"').fullmatch


class CompressStep:
    """The step that compresses responses of listed types for clients that accept a coding.

    `is_listed` judges the Content-Type; `choose` returns the coding for a value of Accept-Encoding. `min_size` is in
    bytes. `offload`, from `open` on, runs in a thread what would hold the loop.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        min_size: int,
        is_listed: Callable[[str], bool],
        choose: Callable[[str | None], Coding | None],
    ) -> None:
        self._names = names
        self._without_suffix = re.compile(f'-(?:{"|".join(names)})"').sub
        self._min_size = max(min_size, 1)
        self._is_listed = is_listed
        self._choose = choose
        self.offload: Callable[..., Any] | None = None

    def __call__(self, request: Request, next: Next) -> Response:
        tags = self._undo_suffixes(request.headers) if request.headers.has_any(_CONDITIONAL) else ""
        response = next(request)
        headers = response.headers
        if not may_be_coded(response.status, headers, self._is_listed):
            return response
        vary_by_coding(headers)
        if response.status == 304:
            self._restore_suffix(headers, tags)
        elif (chosen := self._choose(request.headers.get("accept-encoding"))) is not None:
            is_head = request.method == "HEAD"
            if self._is_whole_and_large(response, is_head=is_head) and _suffix(headers, chosen):
                response.body = b"" if is_head else self._compressed(response.raw_body, chosen)  # unsets Content-Length
                _declare(headers, chosen)
        return response

    def _is_whole_and_large(self, response: Response, *, is_head: bool) -> bool:
        """Return whether the body is whole and long enough; for HEAD, that of GET (RFC 9110 section 9.3.2)."""
        headers = response.headers
        if response.status in {204, 205, 206} or "content-range" in headers:
            return False
        body = response.raw_body
        if isinstance(body, bytes) and (body or not is_head):
            return len(body) >= self._min_size
        length = headers.get("content-length")
        return length is None or not length.isdecimal() or int(length) >= self._min_size

    def _compressed(self, body: bytes | Iterable[bytes], coding: Coding) -> bytes | Iterable[bytes]:
        if isinstance(body, bytes):
            return self._at_once(body, coding)
        return _CompressedStream(body, coding, self.offload)

    def _at_once(self, body: bytes, coding: Coding) -> bytes:
        if len(body) > coding.quick and self.offload is not None:
            compressed: bytes = self.offload(coding.compress, body)
            return compressed
        return coding.compress(body)

    def _undo_suffixes(self, headers: Headers) -> str:
        """Restore the backend's ETags in the request. Return If-None-Match as received if it had a suffix, else ""."""
        self._undo_suffix(headers, "If-Match", "if-match")
        return self._undo_suffix(headers, "If-None-Match", "if-none-match")

    def _undo_suffix(self, headers: Headers, name: str, key: str) -> str:
        tags = headers.get(key)
        if tags is None or (original := self._without_suffix('"', tags)) == tags:
            return ""
        headers.put(name, key, original)
        return tags

    def _restore_suffix(self, headers: Headers, tags: str) -> None:
        """Put the suffix on the ETag of a 304: it must name the representation that the client has stored."""
        tag = headers.get("etag")
        if not tags or tag is None or not _is_strong_tag(tag):
            return
        stored = next((stored for name in self._names if (stored := f'{tag[:-1]}-{name}"') in tags), None)
        if stored is not None:
            headers.put("ETag", "etag", stored)
            headers.discard("content-length")  # the length of the uncompressed representation (RFC 9110 section 8.6)


class _CompressedStream:
    """A compressed stream: each piece is flushed, so nothing waits for the next one.

    An exception of the body is passed on without the end of the coding, so the client sees the cut. Trailers are passed
    on too, except digests of the uncompressed bytes.
    """

    def __init__(self, body: Iterable[bytes], coding: Coding, offload: Callable[..., Any] | None) -> None:
        self._body = body
        self._coding = coding
        self._offload = offload

    @property
    def trailers(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = getattr(self._body, "trailers", [])
        return [(name, value) for name, value in found if name.lower() not in _DIGESTS]

    def __iter__(self) -> Iterator[bytes]:
        encoder = self._coding.encoder()
        for piece in self._body:
            if len(piece) > self._coding.quick and self._offload is not None:
                yield self._offload(encoder.add, piece)
            elif piece:
                yield encoder.add(piece)
        yield encoder.end()


def _suffix(headers: Headers, coding: Coding) -> bool:
    """Add the coding to a strong ETag. Return False for an invalid ETag: it cannot distinguish the representations."""
    tag = headers.get("etag")
    if tag is None or _is_weak_tag(tag):
        return True
    if not _is_strong_tag(tag):
        return False  # malformed or repeated
    headers.put("ETag", "etag", f'{tag[:-1]}-{coding.name}"')
    return True


def _declare(headers: Headers, coding: Coding) -> None:
    headers.put("Content-Encoding", "content-encoding", coding.name)
    headers.discard("accept-ranges")
