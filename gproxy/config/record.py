"""The methods that dataclasses of settings and of messages share."""

from collections.abc import Sequence
from dataclasses import Field, fields
from functools import cache
from typing import Any, ClassVar


class Record:
    """Equality, hash and text by the fields of a dataclass; only a frozen one may be a key.

    The decorator would write these methods anew for each class, and Python compile them at each start: a fifth of the
    time that the arbiter takes to import.
    """

    __slots__ = ()

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__qualname__}({shown})"

    def _compared(self) -> tuple[object, ...]:
        names = _names(type(self))  # type: ignore[arg-type]  # to mypy a class has the hash of its instances
        return tuple([getattr(self, name) for name in names])


@cache
def _names(cls: type[Record]) -> Sequence[str]:
    """Return the names of the fields that are compared. PERF: a limiter looks rates up for each request."""
    return [field.name for field in fields(cls) if field.compare]
