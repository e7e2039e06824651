"""Content negotiation: Accept-Encoding and Accept (RFC 9110 sections 12.5.1, 12.5.3, 12.4.2).

Every request needs both results, and a few header values make up nearly all traffic. So results are cached, here or by
the caller. A malformed value counts as absent: no coding is taken from it, and errors are sent as JSON.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal

from gproxy.http.header_names import TOKEN_CHAR
from gproxy.http.headers import Headers

#: A longer value counts as absent; browsers send up to 200 characters.
_LONGEST: Final = 1024

_WEIGHT = r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?"
_coding = re.compile(rf"({TOKEN_CHAR}++)(?:[ \t]*+;[ \t]*+[qQ]=({_WEIGHT}))?").fullmatch
_PARAMETER = rf'[ \t]*+;[ \t]*+{TOKEN_CHAR}++=(?:{TOKEN_CHAR}++|"[^"\\]*+")'
_media_range = re.compile(rf"({TOKEN_CHAR}++/{TOKEN_CHAR}++)((?:{_PARAMETER})*+)").fullmatch
_weight_of = re.compile(rf";[ \t]*[qQ]=({_WEIGHT})(?=[ \t;]|$)").search

ErrorKind = Literal["html", "text", "json"]

#: The media types of a problem report (RFC 9457), and those that older clients accept instead.
_JSON: Final = frozenset({"application/json", "application/problem+json", "text/json"})


def preferred_coding(header: str | None, offered: Sequence[str]) -> str | None:
    """Return the offered content coding that the client prefers; None for no coding.

    The largest weight wins; between equal weights the order of the offer decides. Without the field RFC 9110 allows any
    coding, but a client that names none may not decode it: the result is None. The same holds if the client prefers
    identity.
    """
    weights = _weights(header or "")
    at_least = weights.get("identity", 0.0)
    by_weight = {name: weights.get(name, weights.get("*", 0.0)) for name in offered}
    best = max(by_weight, key=by_weight.__getitem__)
    return best if 0 < by_weight[best] >= at_least else None


def _weights(accept_encoding: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for element in accept_encoding.split(",") if len(accept_encoding) <= _LONGEST else ():
        if not (element := element.strip(" \t")):
            continue  # RFC 9110 section 5.6.1.2: empty elements are ignored
        match = _coding(element)
        if match is None:
            return {}
        weights.setdefault(match[1].lower().removeprefix("x-"), float(match[2] or 1))  # x-gzip: section 8.4.1.3
    return weights


def may_be_coded(status: int, headers: Headers, is_listed: Callable[[str], bool]) -> bool:
    """Return whether a client that accepts a coding would get one: then Vary is needed in every response.

    `is_listed` judges the Content-Type.
    """
    content_type = headers.lookup("content-type")
    if content_type is None:
        return status == 304  # need not have a Content-Type: RFC 9110 section 15.4.5
    return (
        status >= 200
        and is_listed(content_type)
        and headers.lookup("content-encoding") is None
        and "no-transform" not in (headers.lookup("cache-control") or "").lower()
    )


def vary_by_coding(headers: Headers) -> None:
    """Add Accept-Encoding to Vary (RFC 9110 section 12.5.5)."""
    vary = headers.lookup("vary")
    headers.put("Vary", "vary", _with_accept_encoding(vary) if vary else "Accept-Encoding")


@lru_cache(256)
def _with_accept_encoding(vary: str) -> str:
    names = {name.strip(" \t").lower() for name in vary.split(",")}
    return vary if names & {"*", "accept-encoding"} else f"{vary}, Accept-Encoding"


def error_kind(header: str | None) -> ErrorKind:
    """Return the kind of error response for a client with this Accept.

    HTML if the client prefers it to JSON, as browsers do; JSON if it accepts that; otherwise text.
    """
    return "json" if not header or len(header) > _LONGEST else _error_kind(header)


@lru_cache(256)
def _error_kind(header: str) -> ErrorKind:
    weights = _media_weights(header)
    if weights is None:
        return "json"
    json = _weight_in(weights, [name for name in weights if name in _JSON or name.endswith("+json")], "application/*")
    html = _weight_in(weights, [name for name in weights if name == "text/html"], "text/*")
    return "html" if html > json else "json" if json else "text"


def _media_weights(accept: str) -> dict[str, float] | None:
    """Return the largest weight of each media range; None for a malformed value."""
    weights: dict[str, float] = {}
    for element in accept.split(","):
        if not (element := element.strip(" \t")):
            continue
        match = _media_range(element)
        if match is None:
            return None
        weight = _weight_of(match[2])
        name = match[1].lower()
        weights[name] = max(weights.get(name, 0.0), float(weight[1]) if weight else 1.0)
    return weights


def _weight_in(weights: dict[str, float], exact: list[str], wide: str) -> float:
    """Return the weight of a kind: the most specific range decides."""
    if exact:
        return max([weights[name] for name in exact])
    return weights.get(wide, weights.get("*/*", 0.0))
