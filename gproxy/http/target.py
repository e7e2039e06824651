"""The path that routing decides on, as opposed to the one that travels (RFC 3986 section 6.2.2).

A path has more than one spelling, and backends disagree on which ones are the same: some decode %2F, some decode
twice, some take a backslash for a slash, some cut `;parameters` off before they look for dots, some do not look for
dots at all. So an odd path has several readings, and the router refuses one whose readings lead to different routes.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import unquote

from gproxy.http.errors import BadMessage

_is_badly_escaped = re.compile(r"%(?![0-9A-Fa-f]{2})|%00").search
_has_parents = re.compile(r"/\.\.(?:/|\Z)").search
_single_dots = re.compile(r"/\.(?=/|\Z)")
_slashes = re.compile(r"/{2,}")
_parameters = re.compile(r";[^/]*")
_encoded_slash = re.compile(r"%(?=2[Ff])")
_end = re.compile(r"[?#\0]")

#: A path that is still escaped after being decoded so many times hides something.
_MAX_LEVELS: Final = 4
#: Nor is there a reason for a long path with many readings; in characters of all readings together.
_MAX_TOTAL: Final = 65536


def readings(path: str) -> tuple[str, ...]:
    """The normalized path, followed by what other readers could make of it; only one if all agree.

    Raises BadMessage for a broken escape, for %00, and for what is too ambiguous to follow.
    """
    # PERF: a quarter of what one expression would cost
    if not ("%" in path or "//" in path or "/." in path or ";" in path or "\\" in path):
        return (path,)
    if _is_badly_escaped(path):
        raise BadMessage("a broken escape in the path")
    normal = _flat(_merged(_decoded(path, keep_slashes=True)))
    found: set[str] = {path}
    for further in _DOUBTS:
        found = {other for one in found for other in further(one)}
        if len(found) * len(path) > _MAX_TOTAL:
            raise BadMessage("a path that can be read in too many ways")
    found.discard(normal)
    return (normal, *found)


def _decoded(path: str, *, keep_slashes: bool) -> str:
    return unquote(_encoded_slash.sub("%25", path) if keep_slashes else path, "latin-1")


def _as_decoded(path: str) -> Iterable[str]:
    """Once or more often: a second decoder may stand behind the first, and look for dots in between."""
    found: set[str] = set()
    level = {path}
    for _ in range(_MAX_LEVELS):
        level |= {_flat(_merged(one)) for one in level}
        found |= {_decoded(one, keep_slashes=True) for one in level}
        before, level = level, {_decoded(one, keep_slashes=False) for one in level}
        if before == level:
            return found
        found |= level
    raise BadMessage("a path that is escaped too often")


def _with_backslashes(path: str) -> Iterable[str]:
    return (path, path.replace("\\", "/")) if "\\" in path else (path,)


def _with_parameters(path: str) -> Iterable[str]:
    return (path, _parameters.sub("", path)) if ";" in path else (path,)


def _with_end(path: str) -> Iterable[str]:
    """Some rewrite a path first and look for its query then."""
    end = _end.search(path)
    return (path, path[: end.start()]) if end else (path,)


def _with_dots(path: str) -> Iterable[str]:
    """Before and after doubled slashes were merged the same dots lead elsewhere; and some leave all as it is."""
    merged = _merged(path)
    if not _has_parents(merged):
        return (_flat(merged),)
    return (_flat(merged), _merged(_flat(path)), merged, _single_dots.sub("", merged))


def _merged(path: str) -> str:
    return _slashes.sub("/", path)


def _flat(path: str) -> str:
    """Without dot segments (RFC 3986 section 5.2.4)."""
    return "/" + "/".join(without_dots(path.split("/")[1:], str)) if "/." in path else path


def without_dots(segments: list[str], read: Callable[[str], str]) -> list[str]:
    """RFC 3986 section 5.2.4, on segments as `read` understands them; what is kept stays as it is spelled."""
    kept: list[str] = []
    for segment in segments:
        if read(segment) == ".." and kept:
            kept.pop()
        elif read(segment) not in (".", ".."):
            kept.append(segment)
    if read(segments[-1]) in (".", "..") and (not kept or kept[-1]):
        kept.append("")
    return kept


#: In what readers differ, in the order of their work.
_DOUBTS: Final[tuple[Callable[[str], Iterable[str]], ...]] = (
    _with_parameters,
    _as_decoded,
    _with_backslashes,
    _with_end,
    _with_parameters,
    _with_dots,
)
