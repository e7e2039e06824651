"""What a route compares and rewrites: values to match, and a path's regular expression with what becomes of it.

Python's `re` backtracks: an expression with nested repetition, `(a+)+`, can take for ever on a text made for it. What
is written here meets text from strangers, so prefer `[^/]+` to `.*`, and possessive `++` and `*+` to nested repetition.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

#: What names of methods, headers and cookies are made of (RFC 9110 section 5.6.2).
TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

_REFERENCE = re.compile(r"\\(?:([1-9][0-9]?)|g<([^\W\d]\w*)>)")
_SENT = re.compile(r"/(?:[!\"$&->@-\[\]-~]|%[0-9A-Fa-f]{2})*")  # visible ASCII, whole escapes, none of ? # \


def compiled(text: str) -> re.Pattern[str]:
    """Raises ValueError with what is wrong with the expression, and where."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"the regular expression does not compile: {error}") from None


def sent_path(text: str) -> str:
    """A path that can stand in a request line. Raises ValueError."""
    if not text.startswith("/"):
        raise ValueError("a path starts with '/'")
    if not _SENT.fullmatch(text):
        raise ValueError("it is sent as it stands, so blanks, other scripts, '?', '#' and '\\' are percent-encoded")
    if "//" in text or {".", ".."} & set(text.split("/")):
        raise ValueError("backends differ in what they make of '//', '/./' and '/../'")
    return text


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value to match: `yes` is that text, `*` any that is there, `~[0-9]+` all of it by a regular expression."""

    noun: ClassVar[str] = "a value, * or ~REGEX"
    example: ClassVar[str] = "yes"

    text: str
    expression: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        return cls(text, compiled(text[1:]) if text.startswith("~") else None)

    def fits(self, value: str | None) -> bool:
        """None is a value that is not there, which fits nothing."""
        if value is None:
            return False
        if self.expression is not None:
            return self.expression.fullmatch(value) is not None
        return self.text in ("*", value)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Rewrite:
    r"""What becomes of a path that an expression fits as a whole: `/old/(\d+) -> /new/\1`."""

    noun: ClassVar[str] = "REGEX -> PATH"
    example: ClassVar[str] = r"/old/(\d+) -> /new/\1"

    expression: re.Pattern[str]
    template: str
    #: What every result begins with.
    beginning: str = field(default="")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        pattern, arrow, template = (part.strip() for part in text.rpartition("->"))
        if not arrow or not pattern:
            raise ValueError
        expression = compiled(pattern)
        for number, name in _REFERENCE.findall(template):
            if int(number or 0) > expression.groups or (name and name not in expression.groupindex):
                raise ValueError(f"the regular expression has no group {number or name}")
        sent_path(_REFERENCE.sub("x", template))
        return cls(expression, template, _REFERENCE.split(template)[0])

    def apply(self, path: str) -> str | None:
        """The new path; None if the expression does not fit."""
        match = self.expression.fullmatch(path)
        if match is None:
            return None
        return _REFERENCE.sub(lambda one: match[int(one[1]) if one[1] else one[2]] or "", self.template)

    def __str__(self) -> str:
        return f"{self.expression.pattern} -> {self.template}"
