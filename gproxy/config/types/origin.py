"""Origins of pages, as browsers send them in Origin (Fetch, section 3.2), and patterns of origins."""

import re
from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar, Final, Self

from gproxy.config.record import Record
from gproxy.config.types.bounded import bounded

_ANY: Final = "*"
#: The origin of pages without one: sandboxed frames and files, of any site.
_OPAQUE: Final = "null"
_SCHEME: Final = r"[a-z][a-z0-9+.-]*://"
_PORT: Final = r"(?::[0-9]{1,5})?"
_ORIGIN: Final = re.compile(rf"{_OPAQUE}|{_SCHEME}(?:[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\]){_PORT}")
_BELOW: Final = re.compile(rf"({_SCHEME})\*(\.[a-z0-9._-]+{_PORT})")
#: Some characters more than the longest name of a host, its scheme and its port need.
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Origin(Record):
    """An origin, the names below one, `https://*.example.com`, a pattern for the whole text, `~ REGEX`, or `*`, any."""

    noun: ClassVar[str] = "an origin"
    example: ClassVar[str] = "https://app.example.com"
    #: Separates the items of a list: no comma of a pattern such as `x{1,3}`.
    separator: ClassVar[re.Pattern[str]] = re.compile(r",(?!\d*\})")

    text: str
    expression: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an origin or a pattern. Raise ValueError with the problem."""
        if text.startswith("~"):
            expression = _compiled(text[1:].strip())
            return cls(f"~ {expression.pattern}", expression)
        if below := _BELOW.fullmatch(text):
            return cls(text, re.compile(rf"{re.escape(below[1])}[a-z0-9_-][a-z0-9._-]*{re.escape(below[2])}"))
        if text != _ANY and not _ORIGIN.fullmatch(text):
            raise ValueError(_hint(text))
        if usual := re.fullmatch(r"(https://.*):443|(http://.*):80", text):
            raise ValueError(f"browsers leave out the usual port; write {usual[1] or usual[2]}")
        return cls(text)

    @property
    def is_any(self) -> bool:
        """True for `*`."""
        return self.text == _ANY

    @property
    def admits_anyone(self) -> bool:
        """True if any site can have such an origin: each one can show a sandboxed frame, whose origin is `null`."""
        return self.text in {_ANY, _OPAQUE} or self.fits("https://anyone.invalid") or self.fits("http://anyone.invalid")

    def fits(self, origin: str) -> bool:
        """Return whether the origin matches. No pattern matches `null`, which says nothing of the page."""
        if self.expression is None:
            return self.text in {_ANY, origin}
        return len(origin) <= _LONGEST and origin != _OPAQUE and self.expression.fullmatch(origin) is not None

    def __str__(self) -> str:
        return self.text


def _compiled(text: str) -> re.Pattern[str]:
    found = bounded(text)
    if not found.may_begin_with(ascii_lowercase):
        raise ValueError("the pattern matches no origin: every origin begins with its scheme, such as https://")
    if found.has_dot:
        raise ValueError(
            r"'.' stands for any character, so the pattern matches hosts of others too; write \. for a dot"
        )
    return found.expression


def _hint(text: str) -> str:
    """Return why the text is no origin that a browser sends, and what may be meant."""
    if not text.isascii():
        return "browsers send the ASCII form of a host name, xn--..."
    path = re.fullmatch(r"(\w[\w+.-]*://[^/]+)/.*", text)
    if path:
        return f"an origin has no path; write {path[1]}"
    for meant in (text.lower(), f"https://{text.lower()}"):
        if _ORIGIN.fullmatch(meant) or _BELOW.fullmatch(meant):
            return f"write {meant}"
    return "'*' stands for names below a host, as in https://*.example.com; ~ REGEX is a pattern" if "*" in text else ""
