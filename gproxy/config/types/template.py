"""Values with placeholders, which each request fills in: `{client}`, `{path}` and others."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from gproxy.config.problems import nearest, suggest
from gproxy.config.record import Record

#: The names of placeholders; `http/placeholders.py` has their values.
PLACEHOLDERS: Final = ("client", "host", "scheme", "method", "path", "query", "id", "user", "route", "port")

# Only names in lower case: a value may be JSON, such as {"group":"a"}.
NAME: Final = r"[a-z_][a-z0-9_]*"
_PLACEHOLDER: Final = re.compile(rf"\{{({NAME})\}}")
_PLACEHOLDER_OR_NUMBER: Final = re.compile(rf"\{{({NAME}|[1-9][0-9]?)\}}")


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the message for a placeholder that is not known."""
    # A name that resembles none is not quoted: it may be part of a secret.
    quoted = f" {{{name}}}" if nearest(name, known) else ""
    return f"unknown placeholder{quoted}{suggest(name, known)}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Template(Record):
    """A text with placeholders. In `parts` literal texts and names take turns; the first and the last are literals."""

    noun: ClassVar[str] = "a text, with placeholders"
    example: ClassVar[str] = "{client}"

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, known: tuple[str, ...] | None = PLACEHOLDERS, *, numbers: bool = False) -> Self:
        """Split the text at its placeholders. Raise ValueError for a name that is not known.

        `known` is None if the caller checks the names: they may be groups of a route's pattern. With `numbers`, `{1}`
        is a placeholder too, and not text.
        """
        parts = (_PLACEHOLDER_OR_NUMBER if numbers else _PLACEHOLDER).split(text)
        for name in parts[1::2]:
            if known is not None and name not in known:
                raise ValueError(unknown(name, known))
        return cls(tuple(parts))

    def __str__(self) -> str:
        return "".join(f"{{{part}}}" if index % 2 else part for index, part in enumerate(self.parts))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the placeholders, in order; empty for a fixed text."""
        return self.parts[1::2]
