"""Paths of routes: prefixes, and patterns that are matched within a bound on work."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from gproxy.config.record import Record
from gproxy.config.types.bounded import bounded


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoutePath(Record):
    """A path that a route matches: `/users` and everything below it, or the whole path by a pattern, `~ REGEX`."""

    noun: ClassVar[str] = "a path or ~ REGEX"
    example: ClassVar[str] = "/users"
    #: Separates the items of a list: other commas belong to a path or a pattern.
    separator: ClassVar[re.Pattern[str]] = re.compile(r",(?=\s*(?:[/~]|$))")

    text: str
    expression: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a path or `~ REGEX`. Raise ValueError for a pattern that is invalid or may take too long."""
        if not text.startswith("~"):
            return cls(text)
        expression = compiled_path(text[1:].strip())
        return cls(f"~ {expression.pattern}", expression)

    @property
    def read(self) -> str:
        """The path as routing reads it, with the bytes of UTF-8 as Latin-1; empty for a pattern."""
        return "" if self.expression is not None else self.text.encode().decode("latin-1")

    @property
    def prefix(self) -> str:
        """The path as routing reads it, without a final slash; empty for a pattern."""
        return self.read and (self.read.rstrip("/") or "/")

    def has_group(self, name: str) -> bool:
        """Return whether the pattern has a group of this name or number; a path that is no pattern has none."""
        if self.expression is None:
            return False
        return int(name) <= self.expression.groups if name.isdigit() else name in self.expression.groupindex

    def __str__(self) -> str:
        return self.text


def compiled_path(text: str) -> re.Pattern[str]:
    """Compile an expression for whole paths. Raise ValueError with the problem."""
    found = bounded(text)
    if not found.may_begin_with("/"):
        raise ValueError("the pattern matches no path: every path starts with '/'")
    return found.expression
