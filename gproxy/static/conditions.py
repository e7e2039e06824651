"""Preconditions and ranges of requests for a file (RFC 9110 sections 13 and 14).

The preconditions are judged in the order of section 13.2.2. One range is served. A request for several gets the whole
file, as section 14.2 permits. Invalid ranges get a 416, as NGINX answers them.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, NamedTuple

from gproxy.http.headers import Headers

#: The fields without which a request gets the whole file.
CONDITIONAL: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range")

_tags = re.compile(r'(W/)?("[^"]*")').findall
#: The three forms of a date in section 5.6.7.
_is_date = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT"
    r"|[A-Z][a-z]{5,8}, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9:]{8} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}"
).fullmatch
#: A position or a length, or nothing; far more digits than those of the largest file.
_is_number = re.compile(r"[0-9]{0,40}").fullmatch
_UNIT: Final = "bytes="


class Validators(NamedTuple):
    """Facts that the preconditions are judged by: strong entity tag, time of the last change in seconds, size."""

    etag: str
    modified: int
    size: int


class Outcome(NamedTuple):
    """The status of the response, and the part of the file: from `first` up to `end`, which is excluded."""

    status: int
    first: int
    end: int


def outcome(headers: Headers, file: Validators, *, now: float, is_head: bool) -> Outcome:
    """Return what the request gets at the time `now`: 200, 206 with a part, 304, 412 or 416."""
    failed = _precondition(headers, file)
    wanted = headers.lookup("range")
    if failed or wanted is None or is_head or not _is_unchanged(headers.lookup("if-range"), file, now):
        return Outcome(failed or 200, 0, file.size)
    return _part(wanted, file.size)


def _precondition(headers: Headers, file: Validators) -> int:
    """Return 412 or 304 for a precondition that is false, 0 if all are true (section 13.2.2)."""
    match, since = headers.lookup("if-match"), headers.lookup("if-unmodified-since")
    if match is not None:
        if not _has_tag(match, file.etag, weak=False):
            return 412
    elif since is not None and (date := _seconds(since)) is not None and file.modified > date:
        return 412
    none_match, since = headers.lookup("if-none-match"), headers.lookup("if-modified-since")
    if none_match is not None:
        return 304 if _has_tag(none_match, file.etag, weak=True) else 0
    return 304 if since is not None and (date := _seconds(since)) is not None and file.modified <= date else 0


def _has_tag(field: str, etag: str, *, weak: bool) -> bool:
    """Return whether the list has the tag, by the strong or by the weak comparison (section 8.8.3.2)."""
    return field.strip() == "*" or any(tag == etag and (weak or not mark) for mark, tag in _tags(field))


def _is_unchanged(condition: str | None, file: Validators, now: float) -> bool:
    """Return whether If-Range names this version: by its strong tag, or by the exact time of the change.

    The time is a weak validator until its second is over: the file can change again in it (section 8.8.2.2).
    """
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == file.etag
    return _seconds(condition) == file.modified and now >= file.modified + 1


@lru_cache(256)
def _seconds(text: str) -> int | None:
    """Return a date in seconds since the epoch; None for an invalid one, which is ignored."""
    if not _is_date(text):
        return None
    try:
        return int(parsedate_to_datetime(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _part(wanted: str, size: int) -> Outcome:
    """Return the part that Range asks for (section 14.1.2): the whole file for other units and several ranges."""
    whole = Outcome(200, 0, size)
    if not wanted.lower().startswith(_UNIT) or len(wanted) == len(_UNIT) or "," in wanted:
        return whole
    begin, dash, last = wanted[len(_UNIT) :].partition("-")
    begin, last = begin.strip(" "), last.rstrip(" ")
    if begin:
        last = last.lstrip(" ")  # blanks are permitted where NGINX permits them: all but those of `- 5`
    if not (dash and (begin or last) and _is_number(begin) and _is_number(last)):
        return Outcome(416, 0, size)
    first = int(begin) if begin else max(0, size - int(last))
    end = min(size, int(last) + 1) if begin and last else size
    if first < end:
        return Outcome(206, first, end)
    return Outcome(416, 0, size) if first else whole  # the first byte of an empty file is no mistake of the client
