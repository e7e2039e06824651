"""Revoked tokens, subjects and keys: the file of the option `revoked`.

jti 4f1c2a90
sub alice before 2026-11-29T12:00:00Z
kid 2026-10
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from gproxy.http.identity import Claims, as_text
from gproxy.identity.errors import Untrusted
from gproxy.identity.watched_file import place


@dataclass(frozen=True, slots=True)
class Revocations:
    """The revocations of one file: ids of tokens, subjects with the date of their revocation, and ids of keys.

    The date is in seconds since the epoch; infinity revokes all tokens of the subject.
    """

    tokens: frozenset[str] = frozenset()
    subjects: Mapping[str, float] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()

    def check(self, claims: Claims, kid: str | None) -> None:
        """Raise Untrusted for a revoked token; `kid` is the id of the key that has signed it."""
        if self.revokes(claims, kid):
            raise Untrusted("it is revoked")

    def revokes(self, claims: Claims, kid: str | None) -> bool:
        """Return whether a token with these claims is revoked. A token without date of issue counts as an old one."""
        return (
            _text(claims.get("jti")) in self.tokens
            or kid in self.keys
            or (bool(self.subjects) and self._has_old(claims))
        )

    def _has_old(self, claims: Claims) -> bool:
        before = self.subjects.get(_text(claims.get("sub")))
        issued = claims.get("iat")
        return before is not None and (not isinstance(issued, int | float) or issued < before)

    def __len__(self) -> int:
        return len(self.tokens) + len(self.subjects) + len(self.keys)


def parse_revocations(path: Path, data: bytes) -> Revocations:
    """Return what the content of a file revokes. Raises ValueError with a line for each wrong entry."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(place(path, 1 + data.count(b"\n", 0, error.start), "the content is not UTF-8 text")) from None
    found: dict[str, dict[str, float]] = {"jti": {}, "sub": {}, "kid": {}}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _enter(" ".join(line.split()), found)
        except ValueError as error:
            problems.append(place(path, number, str(error)))
    if problems:
        raise ValueError("\n".join(problems))
    return Revocations(frozenset(found["jti"]), found["sub"], frozenset(found["kid"]))


def _enter(line: str, found: dict[str, dict[str, float]]) -> None:
    """Enter a line into the values of its kind. Raises ValueError unless it is an entry, a comment or empty."""
    if not line or line[0] in "#;":
        return
    kind, _, value = line.partition(" ")
    if kind not in found or not value:
        raise ValueError("expected jti VALUE, sub VALUE [before DATE], or kid VALUE")
    before = inf
    if kind == "sub" and " before " in value:
        value, _, when = value.rpartition(" before ")
        before = _moment(when)
    found[kind][value] = max(before, found[kind].get(value, before))


def _moment(text: str) -> float:
    """Return a day (its start in UTC) or a time with its zone, in seconds since the epoch. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; expected one such as 2026-11-29 or 2026-11-29T12:00:00Z") from None
    if len(text) == len("2026-11-29"):
        return moment.replace(tzinfo=UTC).timestamp()
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected one such as 2026-11-29T12:00:00Z")
    return moment.timestamp()


def _text(value: object) -> str:
    return as_text(value) or ""
