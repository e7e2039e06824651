"""The options of a route whose requests a WSGI app answers."""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Self

from gproxy.config.ini.build import NOT_AN_OPTION, doc
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import ModuleRef


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AppRef(Record):
    """A reference to a WSGI app, or to a factory that returns one; parsing imports nothing."""

    noun: ClassVar[str] = "MODULE:NAME, or MODULE:NAME() for a factory"
    example: ClassVar[str] = "shop.wsgi:application"

    reference: ModuleRef
    is_factory: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference. Raise ValueError unless `text` has the form `package.module:name` or `…:name()`."""
        match = re.fullmatch(r"([^()]*?)(\(\))?", text)
        if not match:
            raise ValueError
        return cls(ModuleRef.parse(match[1]), match[2] is not None)

    @property
    def parts(self) -> tuple[str, str]:
        """The module and the name in it."""
        return self.reference.module, self.reference.attribute

    def __str__(self) -> str:
        return f"{self.reference}{'()' if self.is_factory else ''}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AppOptions(Record):
    """The WSGI app of a route. `live` is the app itself, once it is imported."""

    app: AppRef | None = field(
        default=None, metadata=doc("WSGI app that answers the requests, in place of an upstream")
    )
    fallthrough: int | None = field(
        default=None,
        metadata=doc("status of the app's response in whose place the upstream gets the request; none: no upstream"),
    )
    offload: bool = field(
        default=False, metadata=doc("whether the app runs in the threads of the worker, for drivers that wait in C")
    )
    live: object = field(default=None, metadata=NOT_AN_OPTION, compare=False, repr=False)

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.only_with(self, "app", "fallthrough", "offload"),
            rules.require(
                self.fallthrough is None or 400 <= self.fallthrough <= 599, "fallthrough", "expected an error status"
            ),
        )
