"""The target that travels on: what a prefix leaves of it, and what a handler may make of it."""

import re
from typing import Final

from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.headers import TOKEN
from gproxy.http.target import readings, without_dots
from gproxy.http.wire import is_host

_is_plain = re.compile(r"(?!.*(?://|/\.|%2[Ee]))").match
_slashes = re.compile(r"/{2,}")
_has_dots = re.compile(r"/(?:\.|%2[Ee]){1,2}(?=/|\Z)").search
#: The longest spelling of `..`.
_LONGEST_DOTS: Final = len("%2e%2e")
_is_method = re.compile(f"{TOKEN}+").fullmatch
# RFC 9112 section 3.2: visible ASCII without a fragment; a path begins with a slash.
_is_target = re.compile(r"/[!\"$-~]*|\*").fullmatch
_is_visible = re.compile(r"[!-~]+").fullmatch


def without_prefix(path: str, prefix: str) -> str:
    """What follows the prefix, its escapes as they came: decoded, they could end the line that they stand in.

    The prefix itself may be spelled otherwise in the path; one that is not there in any spelling is not taken off.
    """
    if path.startswith(prefix) and _is_plain(path):
        return path[len(prefix) :] or "/"
    if not readings(path)[0].startswith(prefix):
        return path
    return "/" + "/".join(tidied(path).split("/")[prefix.count("/") + 1 :])


def tidied(path: str) -> str:
    """Without dot segments and doubled slashes, its escapes as they came; asterisk form stays as it is."""
    if _is_plain(path) or not path.startswith("/"):
        return path
    path = _slashes.sub("/", path)
    if not _has_dots(path):
        return path
    return "/" + "/".join(without_dots(path.split("/")[1:], _as_dots))


def _as_dots(segment: str) -> str:
    """PERF: escapes other than those of dots need not be decoded."""
    return segment.replace("%2e", ".").replace("%2E", ".") if len(segment) <= _LONGEST_DOTS else segment


def reprefixed(path: str, strip: str, add: str) -> str:
    """The path with one prefix taken off and another put before it. Raises HTTPError 400, see `confined`."""
    if not path.startswith("/"):
        return path
    rest = without_prefix(path, strip) if strip else tidied(path)
    if not add:
        return rest
    if rest == "/" and not path.endswith("/"):
        return add
    return confined(add + rest, add + "/")


def confined(path: str, beginning: str) -> str:
    """The path, once it is sure that no backend takes it for one that begins otherwise. Raises HTTPError 400.

    Routing has looked at the path as it came; what became of it has readings of its own: `..%2f` leads out of a
    prefix that was put before it.
    """
    try:
        normal = readings(beginning)[0]
        if all(one.startswith(normal) for one in readings(path)):
            return path
    except BadMessage:
        pass
    raise HTTPError(400, "the path can be read in ways that lead elsewhere")


def checked(target: str) -> str:
    """The target that was put together. Raises ValueError for what cannot stand in a request line."""
    if not _is_target(visible(target)):
        raise ValueError(f"{target!r} is no request target: a path begins with '/', and has no '#'")
    return target


def visible(url: str) -> str:
    """The URL that was put together. Raises ValueError if it would not stay one word on its line."""
    if not _is_visible(url):
        raise ValueError(f"{url!r} is no request target: what is not visible ASCII has to be percent-encoded")
    return url


def check_assigned(method: str, host: str) -> None:
    """Raises ValueError for a method or host, assigned by a handler, that would garble the head."""
    if not _is_method(method):
        raise ValueError(f"{method!r} is no method")
    if host and not is_host(host):
        raise ValueError(f"{host!r} is no host")
