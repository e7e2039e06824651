"""The target that the gateway forwards: prefixes removed and added, and values that handlers assign."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.header_names import is_token
from gproxy.http.target import readings, without_dots
from gproxy.http.wire import is_host

_is_plain = re.compile(r"(?!.*(?://|/\.|%2[Ee]))").match
#: The characters of a path that need no escape (RFC 3986 section 3.3), and the slash.
UNESCAPED: Final = "/:@!$&'()*+,;=~"
_slashes = re.compile(r"/{2,}")
_has_dots = re.compile(r"/(?:\.|%2[Ee]){1,2}(?=/|\Z)").search
#: The longest spelling of `..`.
_LONGEST_DOTS: Final = len("%2e%2e")
# RFC 9112 section 3.2: visible ASCII without a fragment; a path begins with a slash.
_is_target = re.compile(r"/[!\"$-~]*|\*").fullmatch
_is_prefix = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[\w.~-]+)+", re.ASCII).fullmatch
#: Matches a text of visible ASCII.
is_visible = re.compile(r"[!-~]+").fullmatch


def without_prefix(path: str, prefix: str) -> str:
    """Return the path after the prefix. Escapes stay: decoded, they could end the request line.

    The path may spell the prefix differently. A path without the prefix is returned unchanged.
    """
    if path.startswith(prefix) and _is_plain(path):
        return path[len(prefix) :] or "/"
    if not readings(path)[0].startswith(prefix):
        return path
    return "/" + "/".join(tidied(path).split("/")[prefix.count("/") + 1 :])


def path_match(path: str, patterns: Iterable[re.Pattern[str]]) -> re.Match[str] | None:
    """Return the match of the first pattern that matches the path as routing reads it; None if none does.

    Raises HTTPError 400 for a path that backends may read in several ways: then it is unknown what a group stands for.
    """
    try:
        normal, *others = readings(path)
    except BadMessage as error:
        raise HTTPError(400, error.detail) from None
    match = next((found for pattern in patterns if (found := pattern.fullmatch(normal))), None)
    if match is not None and others:
        raise HTTPError(400, "the path is ambiguous: its parts have several readings")
    return match


def escaped(text: str) -> str:
    """Escape a part of a path as routing reads it: the bytes of UTF-8 as Latin-1."""
    return quote(text, safe=UNESCAPED, encoding="latin-1")


def tidied(path: str) -> str:
    """Remove dot segments and doubled slashes. Escapes and asterisk form stay."""
    if _is_plain(path) or not path.startswith("/"):
        return path
    path = _slashes.sub("/", path)
    if not _has_dots(path):
        return path
    return "/" + "/".join(without_dots(path.split("/")[1:], _as_dots))


def _as_dots(segment: str) -> str:
    """Decode the escapes of dots. PERF: other escapes do not matter here."""
    return segment.replace("%2e", ".").replace("%2E", ".") if len(segment) <= _LONGEST_DOTS else segment


def reprefixed(path: str, strip: str, add: str) -> str:
    """Replace one prefix of the path with another. Raises HTTPError 400, see `confined`."""
    if not path.startswith("/"):
        return path
    rest = without_prefix(path, strip) if strip else tidied(path)
    if not add:
        return rest
    if rest == "/" and not path.endswith("/"):
        return add
    return confined(add + rest, add + "/")


def prefixed(path: str, prefix: str) -> str:
    """Put a handler's prefix before the path. Raises ValueError for an odd prefix, and HTTPError, see `confined`."""
    if not _is_prefix(prefix):
        raise ValueError(
            f"{prefix!r} is no prefix: expected '/' and names in letters, digits and -._~, without dot segments"
        )
    return reprefixed(path, "", prefix)


def confined(path: str, beginning: str) -> str:
    """Return the path if all backends read it with this beginning. Raises HTTPError 400 otherwise.

    Routing checks the path as received. The rewritten path has readings of its own: `..%2f` leaves a prefix that was
    put before it.
    """
    try:
        normal = readings(beginning)[0]
        if all(one.startswith(normal) for one in readings(path)):
            return path
    except BadMessage:
        pass
    raise HTTPError(400, "the path is ambiguous: some readings leave the prefix")


def checked(target: str) -> str:
    """Return an assembled target. Raises ValueError for one that cannot stand in a request line."""
    if not _is_target(visible(target)):
        raise ValueError(f"{target!r} is no request target: a path begins with '/', and has no '#'")
    return target


def visible(url: str) -> str:
    """Return an assembled URL. Raises ValueError for characters other than visible ASCII."""
    if not is_visible(url):
        raise ValueError(f"{url!r} is no request target: characters other than visible ASCII must be percent-encoded")
    return url


def check_assigned(method: str, host: str) -> None:
    """Raise ValueError for an assigned method or host that would corrupt the head."""
    if not is_token(method):
        raise ValueError(f"{method!r} is no method")
    if host and not is_host(host):
        raise ValueError(f"{host!r} is no host")
