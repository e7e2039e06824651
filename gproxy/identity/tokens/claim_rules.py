"""Demands on single claims of a token: `claims = email_verified: true, tenant: /t-[0-9]+/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from re import Pattern
from typing import ClassVar, Self

from gproxy.config.types.patterns import compiled
from gproxy.http.identity import Claims, claim
from gproxy.identity.errors import Untrusted
from gproxy.identity.rules.word_tests import claim_texts


@dataclass(frozen=True, slots=True)
class ClaimValue:
    """A value that a claim must have: `admin` is that value, alone or in a list; `*` any; `/t-[0-9]+/` a pattern."""

    noun: ClassVar[str] = "a value, * or /REGEX/"
    example: ClassVar[str] = "admin"

    text: str
    pattern: Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a value, `*` or `/REGEX/`. Raises ValueError for an empty text and an invalid expression."""
        if not text:
            raise ValueError("the value is missing")
        is_pattern = len(text) > 2 and text.startswith("/") and text.endswith("/")
        return cls(text, compiled(text[1:-1]) if is_pattern else None)

    @property
    def is_text(self) -> bool:
        """Return whether the demand is a value, and no pattern."""
        return self.text != "*" and self.pattern is None

    def fits(self, value: object) -> bool:
        """Return whether the value of a claim, or one item of it, is as demanded; None is an absent claim."""
        if self.text == "*":
            return value is not None
        texts = claim_texts(value)
        return self.text in texts if self.pattern is None else any(map(self.pattern.fullmatch, texts))

    def __str__(self) -> str:
        return self.text


def check_claims(demands: Mapping[str, ClaimValue], claims: Claims) -> None:
    """Raise Untrusted if a claim, named literally or by a path with dots, is not as demanded."""
    for name, demand in demands.items():
        if not demand.fits(claim(claims, name)):
            raise Untrusted(f"its claim {name} is not as demanded")
