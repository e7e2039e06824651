"""The content codings that Compress offers, each from the fastest library for it (RFC 9110 section 8.4.1).

brotli and zstd are extras: their libraries are imported on demand. Python has zstd from 3.14 on.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Final, NamedTuple, Protocol

from isal import isal_zlib

#: wbits for deflate's largest window in gzip's wrapping.
_GZIP: Final = 31
#: Base 2 logarithm of brotli's window: 512 KiB a stream, as in NGINX's module.
_WINDOW: Final = 19
_ZSTD: Final = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


class Encoder(Protocol):
    """A compressor of one stream."""

    def add(self, piece: bytes, /) -> bytes:
        """Compress and flush: the client can decode every byte added so far."""

    def end(self) -> bytes: ...


class Coding(NamedTuple):
    """A compression algorithm at one level."""

    name: str
    #: The largest body in bytes that compresses in about 0.25 ms; a larger one would block the event loop.
    quick: int
    compress: Callable[[bytes], bytes]
    encoder: Callable[[], Encoder]


class _Gzip:
    def __init__(self, level: int) -> None:
        self._packer = isal_zlib.compressobj(level, isal_zlib.DEFLATED, _GZIP)

    def add(self, piece: bytes) -> bytes:
        packed: bytes = self._packer.compress(piece) + self._packer.flush(isal_zlib.Z_SYNC_FLUSH)
        return packed

    def end(self) -> bytes:
        packed: bytes = self._packer.flush()
        return packed


class _Brotli:
    def __init__(self, brotli: ModuleType, quality: int) -> None:
        self._packer = brotli.Compressor(quality=quality, lgwin=_WINDOW)

    def add(self, piece: bytes) -> bytes:
        packed: bytes = self._packer.process(piece) + self._packer.flush()
        return packed

    def end(self) -> bytes:
        packed: bytes = self._packer.finish()
        return packed


class _Zstd:
    def __init__(self, zstd: ModuleType, level: int) -> None:
        self._packer = zstd.ZstdCompressor(level)
        self._flush = zstd.ZstdCompressor.FLUSH_BLOCK

    def add(self, piece: bytes) -> bytes:
        packed: bytes = self._packer.compress(piece, self._flush)
        return packed

    def end(self) -> bytes:
        packed: bytes = self._packer.flush()
        return packed


def _gzip(level: int) -> Coding:
    return Coding("gzip", 256 * 1024, lambda data: isal_zlib.compress(data, level, _GZIP), partial(_Gzip, level))


def _brotli(level: int) -> Coding:
    brotli = import_module("brotli")
    quality = (1, 2, 3, 5)[level]
    compress = partial(brotli.compress, quality=quality, lgwin=_WINDOW)
    return Coding("br", 64 * 1024, compress, partial(_Brotli, brotli, quality))


def _zstd(level: int) -> Coding:
    zstd = import_module(_ZSTD)
    degree = (1, 2, 3, 6)[level]  # no level here exceeds the window that browsers accept: RFC 9659
    return Coding("zstd", 128 * 1024, partial(zstd.compress, level=degree), partial(_Zstd, zstd, degree))


_MAKERS: Final = {"gzip": _gzip, "br": _brotli, "zstd": _zstd}


def coding(name: str, level: int) -> Coding:
    """Return the coding with this name; `level` is 0 (fastest) to 3 (smallest). Raises ValueError."""
    if name not in _MAKERS:
        hint = "; write br" if name == "brotli" else ""
        raise ValueError(f"codings: {name!r} is unknown; some of {', '.join(_MAKERS)} are expected{hint}")
    try:
        return _MAKERS[name](level)
    except ImportError:
        raise ValueError(f"codings: {name} needs pip install 'gproxy[{name}]'") from None
