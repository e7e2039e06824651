"""The lines of `[server] selftest`: a request with the statuses that are expected, or a function of the user."""

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from gproxy.config.record import Record
from gproxy.config.types import ModuleRef, Statuses

_METHOD: Final = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
#: A path, or a URL whose host the request then has: visible ASCII without `#`, as in a request line.
_TARGET: Final = re.compile(r"(?:https?://[^/?#@]+)?/[!-\"$-~]*")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SelfTestLine(Record):
    """A line of the self-test; one with a function has no request."""

    noun: ClassVar[str] = "a request with its statuses, or a function MODULE:NAME,"
    example: ClassVar[str] = "GET /users/1 200,401"
    #: Only line ends separate these: statuses have commas between them.
    separator: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")

    method: str = ""
    target: str = ""
    statuses: tuple[Statuses, ...] = ()
    function: ModuleRef | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `GET /users/1 200,401` or `package.module:function`. Raise ValueError with the problem."""
        method, *rest = text.split(None, 2)
        if not rest:
            return cls(function=ModuleRef.parse(text))
        if not _METHOD.fullmatch(method):
            hint = f"; did you mean {method.upper()!r}?" if _METHOD.fullmatch(method.upper()) else ""
            raise ValueError(f"{method!r} is no method{hint}")
        if method == "CONNECT":
            raise ValueError("CONNECT is not supported")
        if not _TARGET.fullmatch(rest[0]):
            raise ValueError(f"{rest[0]!r} is no target; expected a path such as /health, or an http URL with a path")
        if len(rest) < 2:
            raise ValueError("the expected status is missing")
        return cls(method, rest[0], _statuses(rest[1]))

    def __str__(self) -> str:
        if self.function is not None:
            return str(self.function)
        return f"{self.method} {self.target} {','.join(map(str, self.statuses))}"


def _statuses(text: str) -> tuple[Statuses, ...]:
    """Return the statuses of `200,401` or `2xx, 404`. Raise ValueError with the problem."""
    found = []
    for one in text.split(","):
        try:
            found.append(Statuses.parse(one.strip()))
        except ValueError:
            raise ValueError(f"{one.strip()!r} is no status; expected one such as 200, 200-299 or 2xx") from None
    return tuple(found)
