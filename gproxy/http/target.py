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

_is_odd = re.compile(r"[%;\\]|//|/\.").search
_is_badly_escaped = re.compile(r"%(?![0-9A-Fa-f]{2})|%00").search
_has_parents = re.compile(r"/\.\.(?:/|\Z)").search
_single_dots = re.compile(r"/\.(?=/|\Z)")
_slashes = re.compile(r"/{2,}")
_parameters = re.compile(r";[^/]*")
_encoded_slash = re.compile(r"%(?=2[Ff])")
_end = re.compile(r"[?#\0]")
# RFC 9112 section 3.2: a target is visible ASCII.
_is_target = re.compile(r"[!-~]+").fullmatch
_is_plain = re.compile(r"(?!.*(?://|/\.|%2[Ee]))").match

#: A path that is still escaped after being decoded so many times hides something.
_MAX_LEVELS: Final = 4
#: Nor is there a reason for a long path with many readings; in characters of all readings together.
_MAX_TOTAL: Final = 65536


def readings(path: str) -> tuple[str, ...]:
    """The normalized path, followed by what other readers could make of it; only one if all agree.

    Raises BadMessage for a broken escape, for %00, and for what is too ambiguous to follow.
    """
    if not _is_odd(path):
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


def without_prefix(path: str, prefix: str) -> str:
    """What follows the prefix, its escapes as they came: decoded, they could end the line that they stand in.

    The prefix itself may be spelled otherwise in the path; one that is not there in any spelling is not taken off.
    """
    if path.startswith(prefix) and _is_plain(path):
        return path[len(prefix) :] or "/"
    if not readings(path)[0].startswith(prefix):
        return path
    segments = _without_dots(_merged(path).split("/")[1:], unquote)
    return "/" + "/".join(segments[prefix.count("/") :])


def checked(target: str) -> str:
    """The target that a handler has put together. Raises ValueError if it would not stay one word on its line."""
    if not _is_target(target):
        raise ValueError(f"{target!r} is no request target: what is not visible ASCII has to be percent-encoded")
    return target


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
    return "/" + "/".join(_without_dots(path.split("/")[1:], str)) if "/." in path else path


def _without_dots(segments: list[str], read: Callable[[str], str]) -> list[str]:
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
