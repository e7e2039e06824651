"""The action of a route that serves files: `root = DIR`."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Final, TypeVar

from gproxy.config.sections.route import RouteSettings
from gproxy.http.buffers import Buffers
from gproxy.http.errors import HTTPError
from gproxy.http.headers import Headers
from gproxy.http.negotiate import preferred_coding
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response
from gproxy.http.rewrite import tidied
from gproxy.runtime import Runtime
from gproxy.runtime.route_parts import RouteParts
from gproxy.static.cache import FileCache, Key
from gproxy.static.conditions import CONDITIONAL, Outcome, outcome
from gproxy.static.lookup import Descriptor, Found, Lookup, Missing, StoredFile

T = TypeVar("T")
_METHODS: Final = frozenset({"GET", "HEAD"})
#: Bytes that a thread reads of a large file at once.
_PIECE: Final = 256 * 1024
#: The fields of a 304 (RFC 9110 section 15.4.5).
_OF_304: Final = ("ETag", "Last-Modified", "Cache-Control", "Vary")


def action(route: RouteSettings, parts: RouteParts) -> "StaticFiles":
    """Return the action of a route with `root`."""
    return StaticFiles(route, parts.runtime, parts.change)


class StaticFiles:
    """The files below the root of a route. Small ones come from memory; threads read large ones."""

    def __init__(self, route: RouteSettings, runtime: Runtime, change: Callable[[str], str] | None = None) -> None:
        self._name = route.name
        self._fallback = route.static.fallback
        self._runtime = runtime
        self._change = change
        self._lookup = Lookup(route.static)
        self._cache = runtime.single(FileCache)

    def __call__(self, request: Request) -> Response:
        """Return the response. Raises HTTPError 403, 404, 405, 412, 416 and 500."""
        if request.method not in _METHODS:
            raise HTTPError(405, f"{request.method} is not allowed here", {"Allow": "GET, HEAD"})
        names = self._lookup.names(request.path if self._change is None else self._change(request.path))
        if names is None:
            raise _not_found()
        found = self._cache.get((self._name, names)) or self._looked_up(names)
        if isinstance(found, Missing):
            return _with_slash(request.received.target)
        file = found.plain
        if found.siblings:
            coding = _coding(request.headers.lookup("accept-encoding"), tuple(found.siblings))
            file = found.siblings[coding] if coding else file
        if file.content is None:
            return self._large(file, request)
        if request.method == "GET" and not request.headers.has_any(CONDITIONAL):
            return Response(200, file.content, file.headers.copy())
        return self._small(file, file.content, request)

    def describe(self, request: Request) -> str:
        """Return the status and the file of a GET, for `explain`. Blocks. Raises HTTPError 403 and 404."""
        names = self._lookup.names(request.path if self._change is None else self._change(request.path))
        try:
            found = self._lookup.find(names) if names is not None else Missing.NOTHING
            if found is Missing.NOTHING and names is not None and b"." not in names:
                found = self._lookup.find_fallback()
        except OSError as error:
            raise self._unreadable(error) from None
        if isinstance(found, Found):
            return f"200 {PHRASES[200]}\n  file: {self._lookup.place(found.plain)}"
        if found is Missing.SLASH:
            return f"301 {PHRASES[301]}\n  Location: {_with_slash(request.received.target).headers['Location']}"
        raise _not_found()

    def _looked_up(self, names: bytes) -> Found | Missing:
        """Return what the names lead to, or the fallback. Raises HTTPError."""
        found = self._kept((self._name, names), self._lookup.find, names)
        if found is Missing.NOTHING and self._fallback is not None and b"." not in names:
            key = (self._name, b"")
            found = self._cache.get(key) or self._kept(key, self._lookup.find_fallback)
        if found is Missing.NOTHING:
            raise _not_found()
        return found

    def _kept(self, key: Key, find: Callable[..., Found | Missing], *arguments: object) -> Found | Missing:
        """Look the file up in a thread, and keep it in the cache."""
        try:
            found = self._in_thread(find, *arguments)
        except HTTPError:
            self._cache.drop(key)
            raise
        if isinstance(found, Found):
            self._cache.put(key, found)
        else:
            self._cache.drop(key)
        return found

    def _small(self, file: StoredFile, content: bytes, request: Request) -> Response:
        is_head = request.method == "HEAD"
        result = outcome(request.headers, file.validators, now=self._runtime.clock(), is_head=is_head)
        if result.status in (200, 206) and not is_head:
            return Response(result.status, content[result.first : result.end], _fields(file, result))
        return _bodiless(file, result)

    def _large(self, file: StoredFile, request: Request) -> Response:
        """Return a response that streams the file, which is opened for it and may be another one by now."""
        is_head = request.method == "HEAD"
        result = outcome(request.headers, file.validators, now=self._runtime.clock(), is_head=is_head)
        if is_head or result.status not in (200, 206):
            return _bodiless(file, result)
        opened = self._in_thread(self._lookup.reopen, file)
        if opened is None:
            raise _not_found()
        descriptor, file = opened
        result = outcome(request.headers, file.validators, now=self._runtime.clock(), is_head=False)
        if result.status not in (200, 206):
            return _bodiless(file, result)
        pieces = FilePieces(descriptor, result, partial(self._in_thread, _read), self._runtime.buffers)
        headers = _fields(file, result)
        headers.put("Content-Length", "content-length", str(result.end - result.first))
        response = Response(result.status, pieces, headers)
        response.on_close(pieces.close)
        return response

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Return the result of a function that runs in a thread. Raises HTTPError for its OSError."""
        result: T | OSError = self._runtime.offload(_attempt, function, *arguments)
        if isinstance(result, OSError):
            raise self._unreadable(result)
        return result

    def _unreadable(self, error: OSError) -> HTTPError:
        """Return the error response for a file that exists and cannot be read, and log why."""
        why = f"[route:{self._name}]: a file cannot be read: {(error.strerror or str(error)).lower()}"
        self._runtime.throttle.warn(why, "%s: %s", why, os.fsdecode(error.filename or b""))
        if error.errno in (errno.EACCES, errno.EPERM):
            return HTTPError(403, "this file cannot be read")
        return HTTPError(500, "this file cannot be read at present", reason="file_error")


class FilePieces:
    """A part of a large file as the body of a response; each piece is read in a thread once the client takes it."""

    def __init__(
        self, descriptor: Descriptor, part: Outcome, read: Callable[[Descriptor, int, int], bytes], buffers: Buffers
    ) -> None:
        self._descriptor: Descriptor | None = descriptor
        self._part = part
        self._read = read
        self._buffers = buffers

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises HTTPError if the file has become shorter or cannot be read."""
        position = self._part.first
        while position < self._part.end and self._descriptor is not None:
            size = min(self._buffers.piece(_PIECE), self._part.end - position)
            piece = self._read(self._descriptor, size, position)
            if not piece:
                raise HTTPError(500, "the file has become shorter while it was sent", reason="file_shrunk")
            position += len(piece)
            yield piece

    def close(self) -> None:
        """Close the file, or let the thread do that which reads it."""
        self._descriptor = None


def _attempt(function: Callable[..., T], *arguments: object) -> T | OSError:
    """Return the result, or the error: gevent prints what its threads raise."""
    try:
        return function(*arguments)
    except OSError as error:
        return error


def _read(descriptor: Descriptor, size: int, position: int) -> bytes:
    return os.pread(descriptor.number, size, position)


@lru_cache(256)
def _coding(accepted: str | None, offered: tuple[str, ...]) -> str | None:
    return preferred_coding(accepted, offered)


def _fields(file: StoredFile, result: Outcome) -> Headers:
    headers = file.headers.copy()
    if result.status == 206:
        headers.put("Content-Range", "content-range", f"bytes {result.first}-{result.end - 1}/{file.validators.size}")
    return headers


def _bodiless(file: StoredFile, result: Outcome) -> Response:
    """Return the response to HEAD, or a 304. Raises HTTPError 412 and 416."""
    if result.status == 412:
        raise HTTPError(412, "the file has another version", reason="precondition")
    if result.status == 416:
        size = f"bytes */{file.validators.size}"
        raise HTTPError(416, "the file has no such part", {"Content-Range": size}, reason="range")
    if result.status == 304:
        return Response(304, b"", [(name, file.headers[name]) for name in _OF_304 if name in file.headers])
    headers = file.headers.copy()
    headers.put("Content-Length", "content-length", str(file.validators.size))
    return Response(200, b"", headers)


def _with_slash(target: str) -> Response:
    """Return the redirect to a folder's path as the client has sent it, which leads to no other host."""
    path, mark, query = target.partition("?")
    return Response(301, b"", {"Location": f"{tidied(path)}/{mark}{query}".replace("\\", "%5C")})


def _not_found() -> HTTPError:
    return HTTPError(404, "there is no such file", reason="no_file")
