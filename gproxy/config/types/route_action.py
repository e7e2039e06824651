"""Values of a route's action: shares of several upstreams, a mirrored share, a redirect target."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from gproxy.config.problems import suggest
from gproxy.config.types.addresses import split_host
from gproxy.http.header_names import is_token

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS = ("host", "path")
_LOCATION = re.compile(r"(https?://(?:[^/?#{}\s]|\{host\})+)?(/(?!/)[!-\[\]-z|~]*)?(\{path\})?")


@dataclass(frozen=True, slots=True)
class UpstreamShare:
    """An upstream of a route, and its share of the requests (0: no share)."""

    noun: ClassVar[str] = "an upstream's name, with weight=N"
    example: ClassVar[str] = "users weight=95"

    name: str
    weight: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `users` or `users weight=95`. Raise ValueError with the problem."""
        name, *words = text.split() or [""]
        if not words:
            return cls(name)
        option, equals, number = words[0].partition("=")
        if option != "weight" or not equals or len(words) > 1:
            raise ValueError(f"expected weight=N after the name; found {' '.join(words)!r}")
        if not re.fullmatch("[0-9]{1,9}", number):
            raise ValueError("weight must be a whole number of at least 0")
        return cls(name, int(number))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SplitKey:
    """The key that keeps a client on one upstream: its address, or the header or cookie called `name`."""

    noun: ClassVar[str] = "ip, header:NAME or cookie:NAME"
    example: ClassVar[str] = "cookie:session"

    kind: Literal["ip", "header", "cookie"]
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `ip`, `header:NAME` or `cookie:NAME`. Raise ValueError if `text` is none of these."""
        kind, colon, name = (part.strip() for part in text.partition(":"))
        if kind == "ip" and not colon:
            return cls("ip")
        if kind not in ("header", "cookie") or not is_token(name):
            raise ValueError
        return cls("header" if kind == "header" else "cookie", name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Share:
    """A share of requests in millionths, so that counting is exact."""

    noun: ClassVar[str] = "a share"
    example: ClassVar[str] = "10%"
    WHOLE: ClassVar[int] = 1_000_000

    millionths: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a share of more than 0% and at most 100%, in steps of 0.0001%. Raise ValueError with the problem."""
        match = _PERCENT.fullmatch(text)
        if not match:
            raise ValueError
        whole, _, decimals = match[1].partition(".")
        millionths = int(whole) * 10_000 + int(decimals.ljust(4, "0"))
        if not 0 < millionths <= cls.WHOLE:
            raise ValueError("a share must be more than 0% and at most 100%")
        return cls(millionths)

    def __str__(self) -> str:
        return f"{self.millionths / 10_000:g}%"


@dataclass(frozen=True, slots=True)
class RedirectTarget:
    """The target of a redirect: `{host}` is the request's host without its port, `{path}` its path and query.

    `{host}` is allowed only before the path, `{path}` only at its end, so that no request can redirect to another site.
    """

    noun: ClassVar[str] = "a URL or path, with {host} and {path}"
    example: ClassVar[str] = "https://new.example.com{path}"

    #: Scheme and host; empty for those of the request.
    origin: str
    path: str
    with_path: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a URL or path. Raise ValueError with the problem."""
        for name in _PLACEHOLDER.findall(text):
            if name not in _PLACEHOLDERS:
                raise ValueError(f"unknown placeholder {{{name}}}{suggest(name, _PLACEHOLDERS)}")
        match = _LOCATION.fullmatch(text)
        if not text or not match:
            raise ValueError("{host} is allowed before the path, {path} at its end")
        origin, path, rest = (part or "" for part in match.groups())
        if origin and not split_host(_PLACEHOLDER.sub("host", origin.partition("//")[2]))[0]:
            raise ValueError("the host is missing")
        if rest and ("?" in path or "#" in path):
            raise ValueError("{path} must end the path, with no '?' or '#' before it")
        return cls(origin, path.rstrip("/") if rest else path, bool(rest))

    @property
    def asks_for_host(self) -> bool:
        """True if the target contains the request's host."""
        return "{host}" in self.origin

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{'{path}' if self.with_path else ''}"
