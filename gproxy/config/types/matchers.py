"""Matchers for responses, in the file's syntax: `200-299, 304`, `"status": "ok"`, `/ready|warm/`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from gproxy.config.record import Record

_STATUSES = re.compile(r"([1-5][0-9][0-9])(?:\s*-\s*([1-5][0-9][0-9]))?")
_CLASS = re.compile(r"([1-5])xx", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Statuses(Record):
    """A status, or an inclusive range of statuses."""

    noun: ClassVar[str] = "a status or a range of statuses"
    example: ClassVar[str] = "200-299"

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `304`, `200-299` or `2xx`. Raise ValueError if `text` is none of these."""
        if whole := _CLASS.fullmatch(text):
            return cls(int(whole[1]) * 100, int(whole[1]) * 100 + 99)
        match = _STATUSES.fullmatch(text)
        if not match:
            raise ValueError
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError("the lower status comes first")
        return cls(first, last)

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def as_set(ranges: Iterable[Statuses]) -> frozenset[int]:
    """Return all statuses of the ranges."""
    return frozenset(status for one in ranges for status in range(one.first, one.last + 1))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BodyText(Record):
    """A text to find in a body, or a regular expression between slashes."""

    noun: ClassVar[str] = "a text or /regular expression/"
    example: ClassVar[str] = "/ready|warm/"

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the matcher. Raise ValueError for an empty text and for an invalid expression."""
        if not text or text == "//":
            raise ValueError("the text must not be empty")
        made = cls(text)
        try:
            made.compile()
        except re.error as error:
            raise ValueError(str(error)) from None
        return made

    def compile(self) -> re.Pattern[bytes]:
        """Return the expression for bodies in UTF-8."""
        data = self.text.encode("utf-8", "surrogateescape")
        is_expression = len(data) > 1 and data.startswith(b"/") and data.endswith(b"/")
        return re.compile(data[1:-1] if is_expression else re.escape(data))

    def __str__(self) -> str:
        return self.text
