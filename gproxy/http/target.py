"""The path that routing decides on, in contrast to the path that is forwarded (RFC 3986 section 6.2.2).

A path has several spellings, and backends disagree on which are equal: some decode %2F, some decode twice, some read a
backslash as a slash, some remove `;parameters` before dot segments, some keep dot segments. So an odd path has several
readings, and the router rejects a path whose readings match different routes. The number of readings and the work to
find them are bounded: any client can send such a path, unauthenticated.
"""

import re
from binascii import a2b_qp
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import unquote

from gproxy.http.errors import BadMessage

_broken_escape = re.compile(r"%(?![0-9A-Fa-f]{2})")
_has_parents = re.compile(r"/\.\.(?:/|\Z)").search
_single_dots = re.compile(r"/\.(?=/|\Z)")
_slashes = re.compile(r"/{2,}")
_parameters = re.compile(r";[^/]*")
_end = re.compile(r"[?#\0]")
_ODD: Final = ("%", "//", "/.", ";", "\\", "?", "#")

#: The most levels of percent-encoding; a path with more hides something.
_MAX_LEVELS: Final = 4
#: The most readings of one path, in any step of the work.
_MAX_READINGS: Final = 16
#: The most escapes of a path that needs a closer look; without oddities a path may have any number.
_MAX_ESCAPES: Final = 800
#: The most work on one path, as an estimate in nanoseconds, and its parts: the cost of one look at a reading, and of
#: each character, segment, parameter and escape in it.
_MAX_WORK: Final = 150_000
_COST_OF_LOOK: Final = 1000
_COST_OF_CHARACTER: Final = 2
_COST_OF_SEGMENT: Final = 60
_COST_OF_ESCAPE: Final = 30


def readings(path: str) -> tuple[str, ...]:
    """Return the normalized path, then all other readings of it; only one if all readers agree.

    Raises BadMessage for a broken escape, for %00, and for a path with too many readings.
    """
    # PERF: a quarter of the cost of one regular expression
    if not ("%" in path or "//" in path or "/." in path or ";" in path or "\\" in path):
        return (path,)
    decoded = "\0" if _broken_escape.search(path) else _decoded(path, is_sound=True)
    if "\0" in decoded:
        raise BadMessage("the path has a broken escape")
    if _is_clear(decoded) and decoded.count("/") == path.count("/"):  # no escape hides a slash or a dot
        return (decoded,)
    if path.count("%") > _MAX_ESCAPES:
        raise BadMessage("the path is ambiguous: too many escapes")
    work = _Work()
    work.spend({path})
    normal = _flat(_merged(_decoded_but_slashes(path)))
    found: set[str] = {path}
    for further in _DOUBTS:
        work.spend(found)
        found = {other for one in found for other in further(one, work)}
    work.spend(found)
    found.discard(normal)
    return (normal, *found)


class _Work:
    """The remaining work that one path may cost."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MAX_WORK

    def spend(self, paths: AbstractSet[str]) -> None:
        """Count a look at each of these readings. Raises BadMessage over the limit."""
        for path in paths:
            self._left -= _COST_OF_LOOK + _COST_OF_CHARACTER * len(path)
            self._left -= _COST_OF_SEGMENT * (path.count("/") + path.count(";"))
            self._left -= _COST_OF_ESCAPE * path.count("%")
        if self._left < 0 or len(paths) > _MAX_READINGS:
            raise BadMessage("the path is ambiguous: too many readings")


def decode(text: str, *, is_sound: bool = False) -> bytes:
    """Decode percent-escapes. A broken escape stays, unless `is_sound` promises that there is none.

    Raises UnicodeEncodeError beyond Latin-1.

    PERF: `urllib.parse.unquote` takes a hundred times as long for many escapes. Quoted-printable text differs only in
    the character that begins an escape (RFC 2045 section 6.7), and its decoder is written in C.
    """
    if "%" not in text:
        return text.encode("latin-1")
    if not is_sound and _broken_escape.search(text):
        text = _broken_escape.sub("%25", text)
    return a2b_qp(text.replace("=", "%3D").replace("%", "=").encode("latin-1"))


def _decoded(path: str, *, is_sound: bool = False) -> str:
    try:
        return decode(path, is_sound=is_sound).decode("latin-1") if "%" in path else path
    except UnicodeEncodeError:  # possible only in a path that a handler assigned
        return unquote(path, "latin-1")


def _decoded_but_slashes(path: str) -> str:
    return _decoded(path.replace("%2F", "%252F").replace("%2f", "%252f"))


def _is_clear(path: str) -> bool:
    """Return whether all readers agree on the path."""
    return not any(odd in path for odd in _ODD)


def _as_decoded(path: str, work: _Work) -> Iterable[str]:
    """Return the readings after one or more decodings: a second decoder may remove dots in between."""
    found: set[str] = set()
    level = {path}
    for _ in range(_MAX_LEVELS):
        level |= {_flat(_merged(one)) for one in level}
        work.spend(level)
        found |= {_decoded_but_slashes(one) for one in level}
        before, level = level, {_decoded(one) for one in level}
        if before == level:
            return found
        found |= level
    raise BadMessage("the path has too many levels of percent-encoding")


def _with_backslashes(path: str, _: _Work) -> Iterable[str]:
    return (path, path.replace("\\", "/")) if "\\" in path else (path,)


def _with_parameters(path: str, _: _Work) -> Iterable[str]:
    return (path, _parameters.sub("", path)) if ";" in path else (path,)


def _with_end(path: str, _: _Work) -> Iterable[str]:
    """Return the readings of backends that rewrite a path before they split off the query."""
    end = _end.search(path) if "?" in path or "#" in path or "\0" in path else None
    return (path, path[: end.start()]) if end else (path,)


def _with_dots(path: str, _: _Work) -> Iterable[str]:
    """Return the readings of dot segments: resolved before or after merging slashes, or kept."""
    merged = _merged(path)
    if not _has_parents(merged):
        return (_flat(merged),)
    return (_flat(merged), _merged(_flat(path)), merged, _single_dots.sub("", merged))


def _merged(path: str) -> str:
    return _slashes.sub("/", path) if "//" in path else path


def _flat(path: str) -> str:
    """Remove dot segments (RFC 3986 section 5.2.4)."""
    return "/" + "/".join(without_dots(path.split("/")[1:], str)) if "/." in path else path


def without_dots(segments: list[str], read: Callable[[str], str]) -> list[str]:
    """Remove dot segments (RFC 3986 section 5.2.4). `read` decodes a segment; kept segments stay as spelled."""
    kept: list[str] = []
    for segment in segments:
        plain = read(segment)
        if plain == ".." and kept:
            kept.pop()
        elif plain not in (".", ".."):
            kept.append(segment)
    if read(segments[-1]) in (".", "..") and (not kept or kept[-1]):
        kept.append("")
    return kept


#: The differences between readers, in the order of processing.
_DOUBTS: Final[tuple[Callable[[str, _Work], Iterable[str]], ...]] = (
    _with_parameters,
    _as_decoded,
    _with_backslashes,
    _with_end,
    _with_parameters,
    _with_dots,
)
