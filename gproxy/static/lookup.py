"""The file of a path: below the root, with its precompressed siblings and its head.

All functions that touch files block, and run in threads. What a path leads to is judged by the open file, whose real
path the kernel knows: a symlink that is exchanged between check and use gains nothing.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from email.utils import formatdate
from enum import Enum
from mimetypes import MimeTypes
from pathlib import Path
from typing import Final, NamedTuple

from gevent.monkey import get_original

from gproxy.config.sections.static import StaticOptions
from gproxy.http.headers import Headers
from gproxy.http.target import decode
from gproxy.static.conditions import Validators

#: The original: gevent's leaves the file open for the loop of the thread, which may never run.
_close: Final = get_original("os", "close")
#: The size in bytes up to which the content of a file is kept in memory.
SMALL: Final = 64 * 1024
_SUFFIXES: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
#: O_NONBLOCK: to open a pipe must not wait for its writer.
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
#: The errors of a path that names no file; ENXIO is that of a socket.
_ABSENT: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EINVAL}
)
_is_rejected = re.compile(r"%(?:2[EeFf]|5[Cc]|00|(?![0-9A-Fa-f]{2}))|[\\\0]").search
_LATEST: Final = 253_402_300_799  # 9999-12-31, the last date that a field can have

#: The media types by suffix: Python's, and those that its table lacks, or has otherwise in some version.
_TYPES: Final = MimeTypes().types_map[True] | {
    ".js": "text/javascript", ".mjs": "text/javascript", ".map": "application/json", ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json", ".webp": "image/webp", ".avif": "image/avif", ".svg": "image/svg+xml",
    ".ico": "image/x-icon", ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf",
    ".md": "text/markdown", ".xml": "text/xml", ".gz": "application/gzip", ".yaml": "application/yaml",
}  # fmt: skip
_UNKNOWN: Final = "application/octet-stream"


class Descriptor:
    """An open file, which closes once nothing refers to it: neither a response nor a thread that reads."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        _close(self.number)


class StoredFile(NamedTuple):
    """A file in one version and coding; `content` is None for a large one. The headers are those of a 200."""

    path: bytes
    coding: str
    validators: Validators
    headers: Headers
    content: bytes | None


class Found(NamedTuple):
    """A file as it is, and its siblings by their coding, in the order of preference."""

    plain: StoredFile
    siblings: dict[str, StoredFile]

    @property
    def files(self) -> Iterator[StoredFile]:
        """All of these files."""
        yield self.plain
        yield from self.siblings.values()


class Missing(Enum):
    """Places that a path leads to without a file: nowhere, or a folder with an index, whose path lacks the slash."""

    NOTHING = 0
    SLASH = 1


class Lookup:
    """The look-up of files below the root of one route."""

    def __init__(self, options: StaticOptions) -> None:
        self._options = options
        self._root = os.fsencode(options.folder)
        self._index = os.fsencode(options.index)
        self._fallback = os.fsencode(options.fallback.removeprefix("/")) if options.fallback is not None else None

    def find(self, path: bytes) -> Found | Missing:
        """Return the files of a path that `names` has judged, or of the index below it.

        Raises OSError for a file that cannot be read.
        """
        opened = self._opened(path)
        if opened is None:
            return Missing.NOTHING
        descriptor, status = opened
        if not stat.S_ISDIR(status.st_mode):
            return self._found(path, descriptor, status)
        if path.endswith(b"/"):
            path += self._index
            opened = self._opened_file(path)
            if opened is None:
                return Missing.NOTHING
            return self._found(path, *opened)
        return Missing.SLASH if self._opened_file(path + b"/" + self._index) else Missing.NOTHING

    def find_fallback(self) -> Found | Missing:
        """Return the files of the fallback, if there is one. Raises OSError."""
        return self.find(b"/" + self._fallback) if self._fallback is not None else Missing.NOTHING

    def names(self, path: str) -> bytes | None:
        """Return the path below the root of the request's path; None for one that no file may have."""
        if not path.startswith("/") or _is_rejected(path):
            return None
        try:
            decoded = decode(path)
        except UnicodeEncodeError:
            return None
        parts = decoded.split(b"/")
        if any(part.startswith(b".") and (part in (b".", b"..") or not self._options.hidden) for part in parts):
            return None
        names = [part for part in parts if part]
        return b"/" + b"/".join(names) + (b"/" if names and not parts[-1] else b"")

    def reopen(self, file: StoredFile) -> tuple[Descriptor, StoredFile] | None:
        """Open a large file for a response, and return it as it is now; None if it is gone. Raises OSError."""
        opened = self._opened_file(file.path)
        if opened is None:
            return None
        descriptor, status = opened
        varies = file.headers.lookup("vary") is not None
        return descriptor, self._stored(file.path, file.coding, status, None, varies=varies)

    def place(self, file: StoredFile) -> str:
        """Return the path of the file on this machine."""
        return os.fsdecode(self._root + file.path)

    def _found(self, path: bytes, descriptor: Descriptor, status: os.stat_result) -> Found:
        siblings = dict(self._siblings(path))
        plain = self._stored(path, "", status, _content(descriptor, status), varies=bool(siblings))
        return Found(plain, siblings)

    def _siblings(self, path: bytes) -> Iterator[tuple[str, StoredFile]]:
        """Yield the precompressed siblings; one that cannot be read is as one that is missing."""
        for coding in self._options.precompressed:
            try:
                opened = self._opened_file(path + _SUFFIXES[coding].encode())
            except OSError:
                opened = None
            if opened is not None:
                descriptor, status = opened
                content = _content(descriptor, status)
                yield coding, self._stored(path + _SUFFIXES[coding].encode(), coding, status, content, varies=True)

    def _opened_file(self, path: bytes) -> tuple[Descriptor, os.stat_result] | None:
        opened = self._opened(path)
        return opened if opened is not None and stat.S_ISREG(opened[1].st_mode) else None

    def _opened(self, path: bytes) -> tuple[Descriptor, os.stat_result] | None:
        """Open a file or folder below the root; None if there is none. Raises OSError, for missing permissions too."""
        try:
            descriptor = Descriptor(os.open(self._root + path, _FLAGS))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        status = os.fstat(descriptor.number)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or not self._is_below(descriptor):
            return None
        return descriptor, status

    def _is_below(self, descriptor: Descriptor) -> bool:
        """Return whether the open file is in the root, by the real paths of both."""
        root = os.path.realpath(self._root)
        real = os.readlink(b"/proc/self/fd/%d" % descriptor.number)  # noqa: PTH115 a path of bytes
        return real == root or real.startswith(root.rstrip(b"/") + b"/")

    def _stored(
        self, path: bytes, coding: str, status: os.stat_result, content: bytes | None, *, varies: bool
    ) -> StoredFile:
        """Return the file with its validators and headers; without content it is a large one."""
        size = status.st_size if content is None else len(content)
        modified = min(max(0, status.st_mtime_ns // 1_000_000_000), _LATEST)
        mark = f"{coding}-" if coding else ""  # in front: the suffix is that of the handler `compress`
        validators = Validators(f'"{mark}{status.st_mtime_ns:x}-{size:x}"', modified, size)
        name = os.fsdecode(path.removesuffix(_SUFFIXES[coding].encode()) if coding else path)
        fields = {
            "Content-Type": _media_type(name),
            "ETag": validators.etag,
            "Last-Modified": formatdate(modified, usegmt=True),
            "Cache-Control": self._options.cache_control(name),
            "Accept-Ranges": "bytes",
        }
        headers = Headers(fields | ({"Content-Encoding": coding} if coding else {}))
        if varies:
            headers.add("Vary", "Accept-Encoding")
        headers.is_stripped = True
        return StoredFile(path, coding, validators, headers, content)


def _media_type(name: str) -> str:
    """Return the media type of the name. That of an archive is not that of what it holds."""
    found = _TYPES.get(Path(name).suffix.lower(), _UNKNOWN)
    return f"{found}; charset=utf-8" if found.startswith("text/") else found


def _content(descriptor: Descriptor, status: os.stat_result) -> bytes | None:
    """Return the content of a small file; None for a large one, or one that grows meanwhile."""
    if status.st_size > SMALL:
        return None
    content = os.pread(descriptor.number, SMALL + 1, 0)
    return content if len(content) <= SMALL else None
