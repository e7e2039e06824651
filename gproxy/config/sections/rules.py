"""Rules that concern one section; each yields its problems as `option: problem`."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from gproxy.config.types.patterns import sent_path
from gproxy.config.types.route_action import SplitKey, UpstreamShare
from gproxy.http.header_names import is_field_value, is_token

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")
_AUTHORITY = re.compile(rf"(?:{_HOST.pattern})(:[0-9]{{1,5}})?")


def raise_problems(*groups: Iterable[str]) -> None:
    """Raise one ValueError with a line for each problem, or return if there is none."""
    if lines := [line for group in groups for line in group]:
        raise ValueError("\n".join(lines))


def at_least(least: int, settings: object, *names: str) -> Iterator[str]:
    """Yield a problem for each option below `least`; None passes."""
    for name, value in _values(settings, names):
        if isinstance(value, int | float) and value < least:
            yield f"{name}: must be at least {least}"


def positive(settings: object, *names: str) -> Iterator[str]:
    """Yield a problem for each option that is not more than 0; None passes."""
    for name, value in _values(settings, names):
        if value is not None and value <= 0:
            yield f"{name}: must be more than 0"


def between(least: float, most: float, settings: object, *names: str) -> Iterator[str]:
    """Yield a problem for each option outside the open interval; None passes."""
    for name, value in _values(settings, names):
        if value is not None and not least < value < most:
            yield f"{name}: must be more than {least:g} and less than {most:g}"


def distinct(settings: object, *names: str, fold: bool = False) -> Iterator[str]:
    """Yield a problem for each duplicate in the lists; `fold` ignores case."""
    for name, value in _values(settings, names):
        seen: set[str] = set()
        for text in map(str, value):
            if (key := text.lower() if fold else text) in seen:
                yield f"{name}: {text!r} is listed twice"
            seen.add(key)


def one_of_them(settings: object, *names: str) -> Iterator[str]:
    """Yield a problem for each empty list."""
    for name, value in _values(settings, names):
        if not value:
            yield f"{name}: expected at least one"


def one_destination(settings: object, *names: str) -> Iterator[str]:
    """Yield problems unless exactly one of the options is set."""
    given = [name for name, value in _values(settings, names) if value not in ((), None)]
    choice = f"{', '.join(f'{name} =' for name in names[:-1])} or {names[-1]} ="
    if not given:
        yield f"{', '.join(names)}: is missing; expected {choice}"
    for name in given[1:]:
        yield f"{name}: a route has one of {choice}; found {given[0]} too"


def only_with(settings: Any, needed: str, *names: str) -> Iterator[str]:
    """Yield a problem for each option that is set while `needed` is not."""
    if getattr(settings, needed) in ((), "", None):
        yield from (f"{name}, {needed}: has no meaning without {needed} =" for name in _changed(settings, names))


def not_with(settings: Any, other: str, *names: str) -> Iterator[str]:
    """Yield a problem for each option that is set together with `other`."""
    if getattr(settings, other) is not None:
        yield from (f"{name}: cannot be combined with {other} =" for name in _changed(settings, names))


def _changed(settings: Any, names: Sequence[str]) -> Iterator[str]:
    defaults = {field.name: field.default for field in fields(settings)}
    return (name for name, value in _values(settings, names) if value != defaults[name])


def split(name: str, shares: Sequence[UpstreamShare], key: SplitKey | None) -> Iterator[str]:
    """Yield problems of `upstream` and `split_by`: no weight at all, or a key for a single upstream."""
    if shares and not any(share.weight for share in shares):
        yield f"{name}: every weight is 0"
    if key and len(shares) == 1:
        yield f"split_by: has no meaning with one {name}"


def fixed_response(status: int | None, body: str, content_type: str) -> Iterator[str]:
    """Yield the problems of a fixed response."""
    if status is not None and not 200 <= status <= 599:
        yield f"respond: expected a status from 200 to 599; found {status}"
    if body and status in {204, 205, 304}:
        yield f"body: a {status} response has no body"
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", content_type):
        yield f"content_type: expected a media type such as text/html; found {content_type!r}"


def sent_prefix(name: str, path: str) -> Iterator[str]:
    """Yield a problem unless `path` is empty or can be sent in a request line."""
    try:
        sent_path(path or "/")
    except ValueError as error:
        yield f"{name}: {error}; found {path!r}"


def route_path(name: str, path: str) -> Iterator[str]:
    """Yield the problems of a path to match, which must be absolute, decoded and normalized."""
    if not path.startswith("/"):
        yield f"{name}: a path starts with '/'; found {path!r}"
    for sign in "%?#\\":
        if sign in path:
            yield f"{name}: a path to match is decoded and has no query, so {sign!r} is not allowed"
    if "//" in path or {".", ".."} & set(path.split("/")):
        yield f"{name}: request paths are normalized, so a path with '//', '/./' or '/../' matches nothing"
    if any(sign.isspace() or not sign.isprintable() for sign in path):
        yield f"{name}: a path must not contain spaces or control characters"


def probe_path(name: str, path: str | None) -> Iterator[str]:
    """Yield the problems of a request target to send: it must be absolute and must not end the request line."""
    if path is not None and not path.startswith("/"):
        yield f"{name}: a path starts with '/'; found {path!r}"
    elif path is not None and not re.fullmatch(r"[!-~]+", path):
        yield f"{name}: spaces, control and non-ASCII characters must be percent-encoded, as in %20"


def own_headers(name: str, values: Mapping[str, str], *, reserved: Collection[str]) -> Iterator[str]:
    """Yield the problems of header fields to send: invalid names or values (RFC 9110 section 5.5), reserved names."""
    yield from header_names(name, values)
    for header, value in values.items():
        if header.lower() in reserved:
            yield f"{name}: {header} is set by the gateway"
        elif not is_field_value(value):
            yield f"{name}: the value of {header} has a character that is not allowed in a header"


def methods(name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield the problems of method names, which are case-sensitive (RFC 9110 section 9.1) and in upper case."""
    for value in values:
        if not is_token(value):
            yield f"{name}: {value!r} is not a method"
        elif value != value.upper():
            yield f"{name}: methods are upper case; write {value.upper()}"


def header_names(name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield a problem for each invalid field name (RFC 9110 section 5.1)."""
    for value in values:
        if not is_token(value):
            yield f"{name}: {value!r} is not a header's name"


def cookie_names(name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield a problem for each invalid cookie name (RFC 6265 section 4.1.1)."""
    for value in values:
        if not is_token(value):
            yield f"{name}: {value!r} is not a cookie's name"


def hosts(name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield the problems of host names to match, without scheme or port; `*.example.com` is any name below."""
    for value in values:
        if not _HOST.fullmatch(value):
            yield f"{name}: {value!r} is not a host name such as api.example.com or *.example.com"


def sent_host(name: str, value: str | None, words: str = "") -> Iterator[str]:
    """Yield a problem unless `value` is a name or address with an optional port. None passes."""
    if value is not None and (not _AUTHORITY.fullmatch(value) or "*" in value):
        yield f"{name}: expected {words}a host such as api.example.com; found {value!r}"


def tls_name(name: str, value: str | None) -> Iterator[str]:
    """Yield a problem unless `value` is a name or address as in a certificate; None passes."""
    if value is not None and (not _HOST.fullmatch(value) or value[0] in "*["):
        yield f"{name}: expected a host name such as api.example.com; found {value!r}"


def _values(settings: object, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(settings, name)) for name in names)
