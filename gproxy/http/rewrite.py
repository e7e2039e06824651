"""The target that travels on: what a prefix leaves of it, and what a handler may make of it."""

import re
from urllib.parse import unquote

from gproxy.http.headers import TOKEN
from gproxy.http.target import readings, without_dots
from gproxy.http.wire import is_host

_is_plain = re.compile(r"(?!.*(?://|/\.|%2[Ee]))").match
_slashes = re.compile(r"/{2,}")
# RFC 9112 section 3.2: visible ASCII.
_is_method = re.compile(f"{TOKEN}+").fullmatch
_is_target = re.compile(r"[!-~]+").fullmatch


def without_prefix(path: str, prefix: str) -> str:
    """What follows the prefix, its escapes as they came: decoded, they could end the line that they stand in.

    The prefix itself may be spelled otherwise in the path; one that is not there in any spelling is not taken off.
    """
    if path.startswith(prefix) and _is_plain(path):
        return path[len(prefix) :] or "/"
    if not readings(path)[0].startswith(prefix):
        return path
    segments = without_dots(_slashes.sub("/", path).split("/")[1:], unquote)
    return "/" + "/".join(segments[prefix.count("/") :])


def checked(target: str) -> str:
    """The target that was put together. Raises ValueError if it would not stay one word on its line."""
    if not _is_target(target):
        raise ValueError(f"{target!r} is no request target: what is not visible ASCII has to be percent-encoded")
    return target


def check_assigned(method: str, host: str) -> None:
    """Raises ValueError for a method or host, assigned by a handler, that would garble the head."""
    if not _is_method(method):
        raise ValueError(f"{method!r} is no method")
    if host and not is_host(host):
        raise ValueError(f"{host!r} is no host")
