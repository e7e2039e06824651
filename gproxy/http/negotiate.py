"""What a client says it can read: Accept-Encoding and Accept (RFC 9110 sections 12.5.1, 12.5.3, 12.4.2).

Both questions are asked of every request and a handful of header values make up nearly all traffic, so answers
are kept, here or by who asks. A value that breaks the grammar promises nothing: no coding is taken from it, and JSON is
sent as to clients that say nothing.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from gproxy.http.headers import TOKEN

#: A longer value counts as none; browsers send up to 200 characters.
_LONGEST: Final = 1024

_WEIGHT = r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?"
_coding = re.compile(rf"({TOKEN}++)(?:[ \t]*+;[ \t]*+[qQ]=({_WEIGHT}))?").fullmatch
_PARAMETER = rf'[ \t]*+;[ \t]*+{TOKEN}++=(?:{TOKEN}++|"[^"\\]*+")'
_media_range = re.compile(rf"({TOKEN}++/{TOKEN}++)((?:{_PARAMETER})*+)").fullmatch
_weight_of = re.compile(rf";[ \t]*[qQ]=({_WEIGHT})(?=[ \t;]|$)").search

#: What a problem report is (RFC 9457), and what older clients ask for to get one.
_JSON: Final = frozenset({"application/json", "application/problem+json", "text/json"})


def preferred_coding(header: str | None, offered: Sequence[str]) -> str | None:
    """Which of these content-codings a response to this Accept-Encoding should have; None for none of them.

    The one with the largest weight; of several the one that is offered first. Without the field RFC 9110 allows any
    coding, but who does not name one cannot be counted on to decode it: None. So if the client says it prefers none.
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


def accepts_json(header: str | None) -> bool:
    """May an error be told as JSON to a client with this Accept? The most specific range that fits decides."""
    return not header or len(header) > _LONGEST or _accepts_json(header)


@lru_cache(256)
def _accepts_json(header: str) -> bool:
    by_precision: list[list[float]] = [[], [], []]
    for element in header.split(","):
        if not (element := element.strip(" \t")):
            continue
        match = _media_range(element)
        if match is None:
            return True
        precision = _precision(match[1].lower())
        if precision is not None:
            weight = _weight_of(match[2])
            by_precision[precision].append(float(weight[1]) if weight else 1.0)
    return max(next(filter(None, by_precision), [0.0])) > 0


def _precision(media_range: str) -> int | None:
    """0 for JSON by name, 1 and 2 for the ranges that have it among others, None for what is no JSON."""
    if media_range in _JSON or media_range.endswith("+json"):
        return 0
    return {"application/*": 1, "*/*": 2}.get(media_range)
