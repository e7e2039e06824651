"""The differences between a recorded response and another one: status, header fields, body."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gproxy.http.header_names import RESPONSE_HOP_BY_HOP
from gproxy.recording.body_diff import BodyDiff, Ignored, Pair, Values, has_json

#: Fields that differ between any two responses: times, ages, framing, and what is measured.
_ALWAYS_IGNORED: Final = RESPONSE_HOP_BY_HOP | {"date", "age", "expires", "content-length", "server-timing"}
#: Fields that carry the id of a request or of a trace.
_IDS: Final = frozenset(
    {
        "x-request-id", "request-id", "x-correlation-id", "correlation-id", "x-trace-id", "traceparent", "tracestate",
        "x-b3-traceid", "x-b3-spanid", "x-amzn-trace-id", "x-amzn-requestid", "cf-ray", "x-cloud-trace-context",
    }
)  # fmt: skip
#: Fields of requests to backends that say by which way they came. A replay is another way.
_WAY: Final = frozenset(
    {"via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix"}
)
#: The value of a field that a response does not have.
ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True)
class Side:
    """A response as it is compared. The body is None if it is not known as a whole; `id` is that of the request."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request to a backend as it is compared; `line` is its method and target."""

    line: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    id: str = ""


Message: TypeAlias = Side | Sent


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference: its kind, which examples share, and the two values as texts."""

    kind: str
    before: str
    after: str


@dataclass(slots=True)
class Comparison:
    """The differences of a comparison, and what it could not compare."""

    differences: list[Difference] = field(default_factory=list)
    #: The number of values that the recording does not have: it has pseudonyms for them.
    hidden: int = 0
    #: Why the bodies were not compared; empty if they were.
    body_skipped: str = ""
    #: True if the request was rejected because the recording does not have its credentials.
    denied: bool = False


class Diff:
    """The comparison of responses by the same rules; `ignored` is what the user does not want to compare."""

    def __init__(self, ignored: Ignored | None = None, pseudonym: re.Pattern[str] | None = None) -> None:
        self._ignored = ignored or Ignored()
        self._pseudonym = pseudonym
        self._never = _ALWAYS_IGNORED | _IDS | self._ignored.headers

    def compare(self, before: Side, after: Side, *, is_head: bool = False) -> Comparison:
        """Return the differences between the recorded response and the one of now, to HEAD if `is_head`.

        Of an error in place of a success, or the other way round, everything differs: only the status is one.
        """
        values = Values(self._pseudonym, before.id, after.id)
        found = Comparison()
        if before.status != after.status:
            found.differences.append(Difference("status", str(before.status), str(after.status)))
        if before.status // 100 != after.status // 100:
            return found
        found.differences += self._headers(before, after, values)
        if not is_head:
            self._body(before, after, values, found)
        found.hidden = values.hidden
        return found

    def compare_sent(self, before: Sent, after: Sent) -> list[Difference]:
        """Return the differences between two requests that the same backend has got."""
        values = Values(self._pseudonym, before.id, after.id)
        found = Comparison()
        if not values.are_equal(before.line, after.line):
            found.differences.append(Difference("line", before.line, after.line))
        found.differences += self._headers(before, after, values, _WAY)
        self._body(before, after, values, found)
        return found.differences

    def _headers(
        self, before: Message, after: Message, values: Values, never: frozenset[str] = frozenset()
    ) -> Iterable[Difference]:
        old, new = _by_name(before.headers), _by_name(after.headers)
        for key in [*old, *(key for key in new if key not in old)]:
            if key in self._never or key in never or _is_id(old.get(key), before.id) or _is_id(new.get(key), after.id):
                continue
            name, left = old.get(key, ("", []))
            other_name, right = new.get(key, ("", []))
            if not _are_equal(left, right, values):
                yield Difference(f"header {name or other_name}", _shown(left), _shown(right))

    def _body(self, before: Message, after: Message, values: Values, found: Comparison) -> None:
        if before.body is None or after.body is None:
            found.body_skipped = "not recorded" if before.body is None else "not read"
            return
        bodies = Pair(before.body, after.body)
        media = Pair(_field(before, "content-type"), _field(after, "content-type"))
        codings = Pair(_field(before, "content-encoding"), _field(after, "content-encoding"))
        comparison = BodyDiff(values, self._ignored if has_json(media) else Ignored())
        for kind, left, right in comparison.compare(bodies, media, codings):
            found.differences.append(Difference(kind, left, right))


def _by_name(headers: Iterable[tuple[str, str]]) -> dict[str, tuple[str, list[str]]]:
    """Return each field by its name in lower case: the name as it is written, and its lines."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), (name, []))[1].append(value.strip())
    return found


def _are_equal(left: Sequence[str], right: Sequence[str], values: Values) -> bool:
    """Return whether the lines of a field are equal; lines that make one list count as one."""
    if len(left) == len(right):
        return all(values.are_equal(one, other) for one, other in zip(left, right, strict=True))
    return bool(left and right) and values.are_equal(", ".join(left), ", ".join(right))


def _is_id(found: tuple[str, list[str]] | None, identity: str) -> bool:
    return bool(identity) and found is not None and found[1] == [identity]


def _field(side: Message, key: str) -> str:
    return next((value for name, value in side.headers if name.lower() == key), "")


def _shown(lines: Sequence[str]) -> str:
    return ", ".join(lines) if lines else ABSENT
