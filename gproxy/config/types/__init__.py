"""Types of options beyond Python's own, for the fields of sections and handlers.

Any class with a class method `parse(text)` that raises ValueError can be an option's type too. Messages use its
attributes `noun` ("a rate") and `example` ("100/minute"), if the class has them.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self

from gproxy.config.record import Record
from gproxy.config.types.addresses import Address, BackendURL, Network
from gproxy.config.types.matchers import BodyText, Statuses
from gproxy.config.types.units import Bytes, Percent, Rate, Rotate, Seconds

__all__ = [
    "SHORTEST_SECRET",
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
    "UpstreamName",
    "Workers",
]

Workers = int | Literal["auto"]

#: The length of the shortest secret that may sign tokens or cookies, in bytes. A shorter one can be guessed.
SHORTEST_SECRET: Final = 16

_REFERENCE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")


class Secret:
    """A text that `repr` and `str` show as `***`; `reveal()` returns the text."""

    __slots__ = ("_text",)

    noun: ClassVar[str] = "a secret"
    example: ClassVar[str] = "${NAME} or file:PATH"

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the secret. Reject an empty text: its cause is an unset variable, and it is a guessable key."""
        if not text:
            raise ValueError("a secret must not be empty")
        return cls(text)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest  # loads OpenSSL: three megabytes that the arbiter does not need

        return compare_digest(self._bytes(), other._bytes())

    def _bytes(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")  # the environment may hold other bytes than UTF-8

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModuleRef(Record):
    """A reference to an object in a Python module; parsing imports nothing."""

    noun: ClassVar[str] = "MODULE:NAME"
    example: ClassVar[str] = "mypackage.handlers:Tenant"

    module: str
    attribute: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference. Raise ValueError unless `text` has the form `package.module:Name`."""
        match = _REFERENCE.fullmatch(text)
        if not match:
            raise ValueError
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


class UpstreamName(str):
    """The name of an `[upstream:NAME]` section, as an option of a handler; `gproxy check` reports an unknown one."""

    __slots__ = ()

    noun: ClassVar[str] = "the name of an upstream"
    example: ClassVar[str] = "authorizer"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name. Raise ValueError for an empty text."""
        if not text:
            raise ValueError
        return cls(text)
