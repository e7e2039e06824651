"""Rules that concern one section; each yields its problems, with the names of the fields that they concern."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gproxy.config import hints
from gproxy.config.ini.build import changed
from gproxy.config.problems import OptionErrors, OptionProblem
from gproxy.config.types import Address
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.patterns import sent_path
from gproxy.config.types.route_action import SplitKey, UpstreamShare
from gproxy.config.types.template import PLACEHOLDERS, unknown
from gproxy.http.header_names import HEADERS, is_field_value, is_token

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")
#: The parts of other routers' paths: `/*`, `/:id`, `/{id}`, `/<id>`, `/[id]`, `/.*`, `/(.*)`, `^`, `$` at the end.
_ROUTER_PATTERN = re.compile(r"(?:/|^)(?:\*|:\w|\{|<|\[\w|\.[*+]|\()|\.\*|\*$|^[\^~=]|\$$")
_AUTHORITY = re.compile(rf"(?:{_HOST.pattern})(:[0-9]{{1,5}})?")


def raise_problems(*groups: Iterable[OptionProblem]) -> None:
    """Raise OptionErrors with all problems, or return if there is none."""
    if problems := [problem for group in groups for problem in group]:
        raise OptionErrors(problems)


def require(condition: object, name: str, problem: str) -> Iterator[OptionProblem]:
    """Yield the problem of the option unless the condition is true."""
    if not condition:
        yield (name,), problem


def at_least(least: int, settings: object, *names: str) -> Iterator[OptionProblem]:
    """Yield a problem for each option below `least`; None passes."""
    for name, value in _values(settings, names):
        if isinstance(value, int | float) and value < least:
            yield (name,), f"must be at least {least}"


def positive(settings: object, *names: str) -> Iterator[OptionProblem]:
    """Yield a problem for each option that is not more than 0; None passes."""
    for name, value in _values(settings, names):
        if value is not None and value <= 0:
            yield (name,), "must be more than 0"


def between(least: float, most: float, settings: object, *names: str) -> Iterator[OptionProblem]:
    """Yield a problem for each option outside the open interval; None passes."""
    for name, value in _values(settings, names):
        if value is not None and not least < value < most:
            yield (name,), f"must be more than {least:g} and less than {most:g}"


def distinct(settings: object, *names: str, fold: bool = False) -> Iterator[OptionProblem]:
    """Yield a problem for each duplicate in the lists; `fold` ignores case."""
    for name, value in _values(settings, names):
        yield from listed_once(name, map(str, value), fold=fold)


def listed_once(name: str, values: Iterable[str], *, fold: bool = False) -> Iterator[OptionProblem]:
    """Yield a problem of the option for each duplicate of the values; `fold` ignores case."""
    seen: set[str] = set()
    for text in values:
        if (key := text.lower() if fold else text) in seen:
            yield (name,), f"{text!r} is listed twice"
        seen.add(key)


def one_of_them(settings: object, *names: str) -> Iterator[OptionProblem]:
    """Yield a problem for each empty list."""
    for name, value in _values(settings, names):
        if not value:
            yield (name,), "expected at least one"


def one_destination(values: Mapping[str, object]) -> Iterator[OptionProblem]:
    """Yield problems unless exactly one of the options has a value."""
    names = tuple(values)
    given = [name for name, value in values.items() if value not in ((), None)]
    choice = f"{', '.join(f'{name} =' for name in names[:-1])} or {names[-1]} ="
    if not given:
        yield names, f"is missing; expected {choice}"
    for name in given[1:]:
        yield (name,), f"a route has one of {choice}; found {given[0]} too"


def only_with(settings: "DataclassInstance", needed: str, *names: str) -> Iterator[OptionProblem]:
    """Yield a problem for each option that is set while `needed` is not."""
    if getattr(settings, needed) in ((), "", None, False):
        yield from (((name, needed), f"has no meaning without {needed} =") for name in _changed(settings, names))


def not_with(settings: "DataclassInstance", other: str, *names: str) -> Iterator[OptionProblem]:
    """Yield a problem for each option that is set together with `other`."""
    if getattr(settings, other) is not None:
        yield from (((name,), f"cannot be combined with {other} =") for name in _changed(settings, names))


def _changed(settings: "DataclassInstance", names: Sequence[str]) -> Iterator[str]:
    return (name for name in changed(settings) if name in names)


def split(name: str, shares: Sequence[UpstreamShare], key: SplitKey | None) -> Iterator[OptionProblem]:
    """Yield problems of `upstream` and `split_by`: no weight at all, or a key for a single upstream."""
    if shares and not any(share.weight for share in shares):
        yield (name,), "every weight is 0"
    if key and len(shares) == 1:
        yield ("split_by",), f"has no meaning with one {name}"


def fixed_response(status: int | None, body: str, content_type: str) -> Iterator[OptionProblem]:
    """Yield the problems of a fixed response."""
    if status is not None and not 200 <= status <= 599:
        yield ("respond",), f"expected a status from 200 to 599; found {status}"
    if body and status in {204, 205, 304}:
        yield ("body",), f"a {status} response has no body"
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", content_type):
        yield ("content_type",), f"expected a media type such as text/html; found {content_type!r}"


def sent_prefix(name: str, path: str) -> Iterator[OptionProblem]:
    """Yield a problem unless `path` is empty or can be sent in a request line."""
    try:
        sent_path(path or "/")
    except ValueError as error:
        yield (name,), f"{error}; found {path!r}"


def route_paths(name: str, paths: Iterable[RoutePath]) -> Iterator[OptionProblem]:
    """Yield the problems of the paths to match; patterns are checked when they are parsed."""
    for path in paths:
        if path.expression is None:
            yield from _route_path(name, path.text)


def for_prefixes(paths: Sequence[RoutePath], *, exact: bool, strip_prefix: bool) -> Iterator[OptionProblem]:
    """Yield the problems of options for prefixes, on a route with patterns or several paths."""
    has_patterns = any(path.expression is not None for path in paths)
    if exact and has_patterns:
        yield ("exact",), "cannot be combined with a pattern, which always matches the whole path"
    if strip_prefix and (has_patterns or len(paths) > 1):
        problem = "needs a single path that is no pattern; write a route for each path, or rewrite = REGEX -> PATH"
        yield ("strip_prefix",), problem


def captures(name: str, groups: Iterable[str], paths: Iterable[RoutePath]) -> Iterator[OptionProblem]:
    """Yield a problem for each path of a route that lacks one of the groups, so that a result would lack a part."""
    for group in groups:
        for path in paths:
            if path.expression is None:
                yield (name,), f"{{{group}}} is a group of a pattern, but path {path} is no pattern"
            elif not path.has_group(group):
                yield (name,), f"the pattern {path} has no group {group}"


def redirect_placeholders(name: str, names: Iterable[str], paths: Sequence[RoutePath]) -> Iterator[OptionProblem]:
    """Yield a problem for each name in a redirect that is neither a placeholder nor a group of each path's pattern.

    Before the path, `{host}` and the like are never groups, so that no request leads to another site.
    """
    known = {*PLACEHOLDERS, *(group for path in paths if path.expression for group in path.expression.groupindex)}
    for one in dict.fromkeys(names):
        is_group = any(path.has_group(one) for path in paths)
        if is_group and one in {"path", "scheme", "host", "port"}:
            yield (name,), f"{{{one}}} is a placeholder and a group of the pattern; give the group another name"
        elif is_group or one.isdigit():
            yield from captures(name, [one], paths)
        elif one not in known:
            yield (name,), unknown(one, known)


def _route_path(name: str, path: str) -> Iterator[OptionProblem]:
    """Yield the first problem of a path to match, which must be absolute, decoded and normalized."""
    if not path.startswith("/"):
        yield (name,), f"a path starts with '/'; found {path!r}{_path_hint(path)}"
    elif hint := _path_hint(path):
        yield (name,), f"{path!r} is a literal path, so it matches no such request{hint}"
    elif sign := next((sign for sign in "%?#\\" if sign in path), ""):
        yield (name,), f"a path to match is decoded and has no query, so {sign!r} is not allowed"
    elif "//" in path or {".", ".."} & set(path.split("/")):
        yield (name,), "request paths are normalized, so a path with '//', '/./' or '/../' matches nothing"
    elif any(sign.isspace() or not sign.isprintable() for sign in path):
        yield (name,), "a path must not contain spaces or control characters"


def addresses_only(name: str, addresses: Iterable[Address]) -> Iterator[OptionProblem]:
    """Yield a problem for each address with words such as tls: these belong to [server] bind."""
    for address in addresses:
        if address.words:
            yield (name,), f"only the address is expected, without {address.words}; write {address}"


def _path_hint(path: str) -> str:
    """Return the hint for a path that looks like the pattern of another router; its literal beginning matches more."""
    if url := re.fullmatch(r"\w+://([^/:]+)(?::[0-9]+)?(/.*)?", path):
        return f"; write path = {url[2] or '/'} and host = {url[1]}"
    text = path.lstrip("^~=* ")
    match = _ROUTER_PATTERN.search(text)
    if hints.is_quoted(path) or (text == path and not match and path.startswith("/")):
        return ""
    literal = (text[: match.start()] if match else text).strip("/")
    if path.startswith("="):
        return f"; write path = /{literal}, and exact = yes"
    pattern = ", or path = ~ REGEX" if match else ""
    return f"; write path = /{literal}, which matches everything below it too{pattern}"


def probe_path(name: str, path: str | None) -> Iterator[OptionProblem]:
    """Yield the problems of a request target to send: it must be absolute and must not end the request line."""
    if path is not None and not path.startswith("/"):
        yield (name,), f"a path starts with '/'; found {path!r}"
    elif path is not None and not re.fullmatch(r"[!-~]+", path):
        yield (name,), "spaces, control and non-ASCII characters must be percent-encoded, as in %20"


def own_headers(name: str, values: Mapping[str, str], *, reserved: Collection[str]) -> Iterator[OptionProblem]:
    """Yield the problems of header fields to send: invalid names or values (RFC 9110 section 5.5), reserved names."""
    yield from header_names(name, values)
    for header, value in values.items():
        if header.lower() in reserved:
            yield (name,), f"{header} is set by the gateway"
        elif not is_field_value(value):
            yield (name,), f"the value of {header} has a character that is not allowed in a header"


def methods(name: str, values: Iterable[str]) -> Iterator[OptionProblem]:
    """Yield the problems of method names, which are case-sensitive (RFC 9110 section 9.1) and in upper case."""
    for value in values:
        if not is_token(value) or "|" in value:  # a valid sign of a token, but here it stands between two methods
            yield (name,), f"{value!r} is not a method{hints.item(value.replace('|', ' '))}"
        elif value != value.upper():
            yield (name,), f"methods are upper case; write {value.upper()}"


def id_header(name: str, value: str) -> Iterator[OptionProblem]:
    """Yield the problems of the name of a header for the request's id, which the gateway sets; off passes."""
    if not is_token(value) or value.lower() in {"none", "no", "yes", "on"}:
        yield (name,), f"expected a header's name, or off; found {value!r}"
    elif value.lower() in HEADERS and value.lower() != "x-request-id":
        yield (name,), f"{value} has another meaning; expected a name such as X-Request-ID or X-Correlation-ID, or off"


def header_names(name: str, values: Iterable[str]) -> Iterator[OptionProblem]:
    """Yield a problem for each invalid field name (RFC 9110 section 5.1)."""
    for value in values:
        if not is_token(value):
            yield (name,), f"{value!r} is not a header's name"


def cookie_names(name: str, values: Iterable[str]) -> Iterator[OptionProblem]:
    """Yield a problem for each invalid cookie name (RFC 6265 section 4.1.1)."""
    for value in values:
        if not is_token(value):
            yield (name,), f"{value!r} is not a cookie's name"


def hosts(name: str, values: Iterable[str]) -> Iterator[OptionProblem]:
    """Yield the problems of host names to match, without scheme or port; `*.example.com` is any name below."""
    for value in values:
        if not _HOST.fullmatch(value):
            yield (name,), f"{value!r} is not a host name such as api.example.com or *.example.com{_host_hint(value)}"


def _host_hint(value: str) -> str:
    if match := re.fullmatch(rf"(?:\w+://)?(?P<host>{_HOST.pattern})(?::[0-9]+)?(?P<path>/.*)?", value):
        path = f", and path = {match['path']}" if match["path"] not in {None, "/"} else ""
        return f"; write {match['host']}{path}: a host to match has no scheme and no port"
    pattern = "; a host is no pattern, but *.example.com is any name below" if value.startswith("~") else ""
    return pattern or hints.item(value)


def sent_host(name: str, value: str | None, words: str = "") -> Iterator[OptionProblem]:
    """Yield a problem unless `value` is a name or address with an optional port. None passes."""
    if value is not None and (not _AUTHORITY.fullmatch(value) or "*" in value):
        yield (name,), f"expected {words}a host such as api.example.com; found {value!r}"


def tls_name(name: str, value: str | None) -> Iterator[OptionProblem]:
    """Yield a problem unless `value` is a name or address as in a certificate; None passes."""
    if value is not None and (not _HOST.fullmatch(value) or value[0] in "*["):
        yield (name,), f"expected a host name such as api.example.com; found {value!r}"


def _values(settings: object, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(settings, name)) for name in names)
