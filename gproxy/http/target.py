"""The path that routing decides on, as opposed to the one that travels (RFC 3986 section 6.2.2).

A path has more than one spelling, and backends disagree on which ones are the same: some decode %2F, some take a
backslash for a slash, some cut `;parameters` off before they look for dots. So there are two readings of a path,
the strict one and the most lenient one; the router refuses a path whose readings lead to different routes.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote

from gproxy.http.errors import BadMessage

_is_badly_escaped = re.compile(r"%(?![0-9A-Fa-f]{2})|%00").search
_slashes = re.compile(r"/{2,}")
# RFC 9112 section 3.2: a target is visible ASCII.
_is_target = re.compile(r"[!-~]+").fullmatch
_is_plain = re.compile(r"(?!.*(?://|/\.|%2[Ee]))").match


def readings(path: str) -> tuple[str, ...]:
    """The normalized path: once if all readers agree on it, else the strict and the lenient reading.

    Raises BadMessage for a broken escape and for %00.
    """
    if "%" not in path and "//" not in path and "/." not in path and ";" not in path and "\\" not in path:
        return (path,)
    if _is_badly_escaped(path):
        raise BadMessage("a broken escape in the path")
    strict = _flat(re.sub("(?i)%2f", "%252F", path))
    lenient = _flat(re.sub(r";[^/]*", "", _fully_decoded(path).replace("\\", "/")), decoded=True)
    return (strict,) if strict == lenient else (strict, lenient)


def without_prefix(path: str, prefix: str) -> str:
    """What follows the prefix, its escapes as they came: decoded, they could end the line that they stand in.

    The prefix itself may be spelled otherwise in the path; one that is not there in any spelling is not taken off.
    """
    if path.startswith(prefix) and _is_plain(path):
        return path[len(prefix) :] or "/"
    if not readings(path)[0].startswith(prefix):
        return path
    segments = _without_dots(_slashes.sub("/", path).split("/")[1:], unquote)
    return "/" + "/".join(segments[prefix.count("/") :])


def checked(target: str) -> str:
    """The target that a handler has put together. Raises ValueError if it would not stay one word on its line."""
    if not _is_target(target):
        raise ValueError(f"{target!r} is no request target: what is not visible ASCII has to be percent-encoded")
    return target


def _fully_decoded(path: str) -> str:
    """Decoded until nothing changes: a second decoder may stand behind the first."""
    before = ""
    while before != path:
        before, path = path, unquote(path, "latin-1")
    return path


def _flat(path: str, *, decoded: bool = False) -> str:
    """Decoded, without doubled slashes and dot segments (RFC 3986 section 5.2.4)."""
    path = _slashes.sub("/", path if decoded else unquote(path, "latin-1"))
    if "/." not in path:
        return path
    return "/" + "/".join(_without_dots(path.split("/")[1:], str))


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
