"""Patterns of routes: values to match, and regular expressions that rewrite paths.

Python's `re` backtracks: an expression with nested repetition, `(a+)+`, can take forever on a crafted text. Clients
choose the text that these expressions match, so prefer `[^/]+` to `.*`, and possessive `++` and `*+` to nested
repetition. For paths only expressions with bounded work are accepted.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Self

from gproxy.config.record import Record
from gproxy.config.types.bounded import bounded

_REFERENCE = re.compile(r"\\(?:([1-9][0-9]?)|g<([^\W\d]\w*)>)")
_NOT = "not "
_CAPTURE = re.compile(r"\{([1-9][0-9]?|[^\W\d]\w*)\}")
_SENT = re.compile(r"/(?:[!\"$&->@-\[\]-~]|%[0-9A-Fa-f]{2})*")  # visible ASCII, whole escapes, none of ? # \


def compiled(text: str) -> re.Pattern[str]:
    """Compile the expression. Raise ValueError with the problem and its position."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"the regular expression does not compile: {error}") from None


def plain_name(name: str) -> str:
    """Return the name in an item such as `not X-Beta: yes`, whose condition must not hold."""
    return name.removeprefix(_NOT).lstrip()


def is_negated(name: str) -> bool:
    """Return whether an item with this name is a condition that must not hold."""
    return name.startswith(_NOT)


def sent_path(text: str) -> str:
    """Return the path. Raise ValueError unless the path can be sent in a request line."""
    if not text.startswith("/"):
        raise ValueError("a path starts with '/'")
    if not _SENT.fullmatch(text):
        raise ValueError("spaces, non-ASCII characters, '?', '#' and '\\' must be percent-encoded")
    if "//" in text or {".", ".."} & set(text.split("/")):
        raise ValueError("'//', '/./' and '/../' are not allowed: backends interpret them differently")
    return text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pattern(Record):
    """A value to match: `yes` is that text, `*` any text, `~[0-9]+` a regular expression for the whole text."""

    noun: ClassVar[str] = "a value, * or ~REGEX"
    example: ClassVar[str] = "yes"
    #: Separates the pairs of a list: a comma before NAME: or not NAME:.
    separator: ClassVar[re.Pattern[str]] = re.compile(r",(?=\s*(?:not\s+)?[^\s:,]+\s*:)")

    text: str
    expression: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a value, `*` or `~REGEX`. Raise ValueError for an invalid expression."""
        return cls(text, compiled(text[1:]) if text.startswith("~") else None)

    def fits(self, value: str | None) -> bool:
        """Return whether the value matches; None, a missing value, never does."""
        if value is None:
            return False
        if self.expression is not None:
            return self.expression.fullmatch(value) is not None
        return self.text in ("*", value)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rewrite(Record):
    r"""A rewrite of each path that an expression matches as a whole: `/old/(\d+) -> /new/\1`."""

    noun: ClassVar[str] = "REGEX -> PATH"
    example: ClassVar[str] = r"/old/(\d+) -> /new/\1"

    expression: re.Pattern[str]
    template: str
    #: The literal beginning of every result.
    beginning: str = field(default="")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `REGEX -> PATH`. Raise ValueError with the problem, also if a match may take too long."""
        pattern, arrow, template = (part.strip() for part in text.rpartition("->"))
        if not arrow or not pattern:
            raise ValueError
        expression = bounded(pattern).expression
        for number, name in _REFERENCE.findall(template):
            if int(number or 0) > expression.groups or (name and name not in expression.groupindex):
                raise ValueError(f"the regular expression has no group {number or name}")
        if expression.groups and (foreign := re.search(r"\$([0-9])", template)):
            raise ValueError(f"the text of a group is written \\{foreign[1]}, not {foreign[0]}")
        sent_path(_REFERENCE.sub("x", template))
        return cls(expression, template, _REFERENCE.split(template)[0])

    def apply(self, path: str) -> str | None:
        """Return the new path, or None if the expression does not match."""
        match = self.expression.fullmatch(path)
        if match is None:
            return None
        return _REFERENCE.sub(lambda one: match[int(one[1]) if one[1] else one[2]] or "", self.template)

    def __str__(self) -> str:
        return f"{self.expression.pattern} -> {self.template}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CapturedPath(Record):
    """A new path with groups of the route's own pattern, which has matched the whole path: `/new/{1}`, `/new/{id}`."""

    noun: ClassVar[str] = "PATH with {1} or {NAME}"
    example: ClassVar[str] = "/new/{1}"

    template: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a path with at least one group. Raise ValueError with the problem."""
        if "->" in text or not _CAPTURE.search(text):
            raise ValueError
        sent_path(_CAPTURE.sub("x", text))
        return cls(text)

    @property
    def groups(self) -> tuple[str, ...]:
        """The numbers and names of the groups."""
        return tuple(_CAPTURE.findall(self.template))

    @property
    def beginning(self) -> str:
        """The literal beginning of every result."""
        return _CAPTURE.split(self.template)[0]

    def fill(self, match: re.Match[str], escape: Callable[[str], str]) -> str:
        """Return the path with the groups of the match, each escaped. A group without a part in the match is empty."""
        return _CAPTURE.sub(lambda one: escape(match[int(one[1]) if one[1].isdigit() else one[1]] or ""), self.template)

    def __str__(self) -> str:
        return self.template
