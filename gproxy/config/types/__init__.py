"""The types an option may have beyond Python's own; a handler's dataclass takes its field types from here.

Any class with a class method `parse(text)` that raises ValueError can be an option's type too; its attributes `noun`
("a rate") and `example` ("100/minute"), if it has them, make the messages better.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from gproxy.config.types.addresses import Address, BackendURL, Network
from gproxy.config.types.matchers import BodyText, Statuses
from gproxy.config.types.units import Bytes, Percent, Rate, Rotate, Seconds

__all__ = [
    "Address",
    "BackendURL",
    "BodyText",
    "Bytes",
    "ModuleRef",
    "Network",
    "Percent",
    "Rate",
    "Rotate",
    "Seconds",
    "Secret",
    "Statuses",
    "Workers",
]

Workers = int | Literal["auto"]

_REFERENCE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")


class Secret:
    """A text that nothing shows by accident: `repr` and `str` are `***`; `reveal()` gives it."""

    __slots__ = ("_text",)

    noun: ClassVar[str] = "a secret"
    example: ClassVar[str] = "${NAME} or file:PATH"

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, text: str) -> Self:
        """An empty text is refused: it is a variable somebody forgot, and a key anybody can guess."""
        if not text:
            raise ValueError("it is empty")
        return cls(text)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest  # which brings OpenSSL, and three megabytes that an arbiter does not need

        return compare_digest(self._bytes(), other._bytes())

    def _bytes(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")  # what the environment holds need not be UTF-8

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class ModuleRef:
    """Something in a Python module, by name; nothing is imported here."""

    noun: ClassVar[str] = "MODULE:NAME"
    example: ClassVar[str] = "mypackage.handlers:Tenant"

    module: str
    attribute: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError if `text` has another shape than `package.module:Name`."""
        match = _REFERENCE.fullmatch(text)
        if not match:
            raise ValueError
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"
