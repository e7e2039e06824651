"""The path that routing decides on, as opposed to the one that travels (RFC 3986 section 6.2.2).

A path has more than one spelling, and backends disagree on which ones are the same: some decode %2F, some decode
twice, some take a backslash for a slash, some cut `;parameters` off before they look for dots, some do not look for
dots at all. So an odd path has several readings, and the router refuses one whose readings lead to different routes.
Their number is bounded, and so is the work that finds them: any client can send such a path, unauthenticated.
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

#: A path that is still escaped after being decoded so many times hides something.
_MAX_LEVELS: Final = 4
#: Nor is there a reason for a path with more readings, in any step of the work.
_MAX_READINGS: Final = 16
#: A path with so many escapes may be long text of any script, but must not need a second look.
_MAX_ESCAPES: Final = 800
#: All work on one path, estimated in nanoseconds, and what it adds up from: each look at a reading costs so much, and
#: so much more for each character, segment, parameter and escape in it.
_MAX_WORK: Final = 150_000
_COST_OF_LOOK: Final = 1000
_COST_OF_CHARACTER: Final = 2
_COST_OF_SEGMENT: Final = 60
_COST_OF_ESCAPE: Final = 30


def readings(path: str) -> tuple[str, ...]:
    """The normalized path, followed by what other readers could make of it; only one if all agree.

    Raises BadMessage for a broken escape, for %00, and for what is too ambiguous to follow.
    """
    # PERF: a quarter of what one expression would cost
    if not ("%" in path or "//" in path or "/." in path or ";" in path or "\\" in path):
        return (path,)
    decoded = "\0" if _broken_escape.search(path) else _decoded(path, is_sound=True)
    if "\0" in decoded:
        raise BadMessage("a broken escape in the path")
    if _is_clear(decoded) and decoded.count("/") == path.count("/"):  # no escape hides anything
        return (decoded,)
    if path.count("%") > _MAX_ESCAPES:
        raise BadMessage("a path that can be read in too many ways")
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
    """What is left of the work that may be done on one path."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MAX_WORK

    def spend(self, paths: AbstractSet[str]) -> None:
        """Count a look at each of these readings. Raises BadMessage if it is one too many."""
        for path in paths:
            self._left -= _COST_OF_LOOK + _COST_OF_CHARACTER * len(path)
            self._left -= _COST_OF_SEGMENT * (path.count("/") + path.count(";"))
            self._left -= _COST_OF_ESCAPE * path.count("%")
        if self._left < 0 or len(paths) > _MAX_READINGS:
            raise BadMessage("a path that can be read in too many ways")


def decode(text: str, *, is_sound: bool = False) -> bytes:
    """Decode percent-escapes; a broken one stays as it is, unless it `is_sound` that there is none.

    Raises UnicodeEncodeError beyond Latin-1.

    PERF: `urllib.parse.unquote` takes a hundred times as long if there are many of them. Quoted-printable text is the
    same but for the character that begins an escape (RFC 2045 section 6.7), and its decoder is written in C.
    """
    if "%" not in text:
        return text.encode("latin-1")
    if not is_sound and _broken_escape.search(text):
        text = _broken_escape.sub("%25", text)
    return a2b_qp(text.replace("=", "%3D").replace("%", "=").encode("latin-1"))


def _decoded(path: str, *, is_sound: bool = False) -> str:
    try:
        return decode(path, is_sound=is_sound).decode("latin-1") if "%" in path else path
    except UnicodeEncodeError:  # only a handler can have assigned it
        return unquote(path, "latin-1")


def _decoded_but_slashes(path: str) -> str:
    return _decoded(path.replace("%2F", "%252F").replace("%2f", "%252f"))


def _is_clear(path: str) -> bool:
    """Do all readers see the same in it?"""
    return not any(odd in path for odd in _ODD)


def _as_decoded(path: str, work: _Work) -> Iterable[str]:
    """Once or more often: a second decoder may stand behind the first, and look for dots in between."""
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
    raise BadMessage("a path that is escaped too often")


def _with_backslashes(path: str, _: _Work) -> Iterable[str]:
    return (path, path.replace("\\", "/")) if "\\" in path else (path,)


def _with_parameters(path: str, _: _Work) -> Iterable[str]:
    return (path, _parameters.sub("", path)) if ";" in path else (path,)


def _with_end(path: str, _: _Work) -> Iterable[str]:
    """Some rewrite a path first and look for its query then."""
    end = _end.search(path) if "?" in path or "#" in path or "\0" in path else None
    return (path, path[: end.start()]) if end else (path,)


def _with_dots(path: str, _: _Work) -> Iterable[str]:
    """Before and after doubled slashes were merged the same dots lead elsewhere; and some leave all as it is."""
    merged = _merged(path)
    if not _has_parents(merged):
        return (_flat(merged),)
    return (_flat(merged), _merged(_flat(path)), merged, _single_dots.sub("", merged))


def _merged(path: str) -> str:
    return _slashes.sub("/", path) if "//" in path else path


def _flat(path: str) -> str:
    """Without dot segments (RFC 3986 section 5.2.4)."""
    return "/" + "/".join(without_dots(path.split("/")[1:], str)) if "/." in path else path


def without_dots(segments: list[str], read: Callable[[str], str]) -> list[str]:
    """RFC 3986 section 5.2.4, on segments as `read` understands them; what is kept stays as it is spelled."""
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


#: In what readers differ, in the order of their work.
_DOUBTS: Final[tuple[Callable[[str, _Work], Iterable[str]], ...]] = (
    _with_parameters,
    _as_decoded,
    _with_backslashes,
    _with_end,
    _with_parameters,
    _with_dots,
)
