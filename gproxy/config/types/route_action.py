"""Values of a route's action: shares of several upstreams, a mirrored share, protocols to tunnel, a redirect target."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from gproxy.config.problems import nearest
from gproxy.config.record import Record
from gproxy.config.types.addresses import split_host
from gproxy.config.types.template import NAME, PLACEHOLDERS, Template, unknown
from gproxy.http.header_names import carries_requests, is_protocol, is_token

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")
_PLACEHOLDER = rf"\{{(?:{NAME}|[1-9][0-9]?)\}}"
# Visible ASCII without a backslash, which browsers read as a slash.
_LOCATION = re.compile(
    r"((?:https?|\{scheme\})://(?:[^/?#{}\s]|\{(?:host|port)\})+)?"
    rf"(/(?!/)(?:[!\"$->@-\[\]-z|~]|{_PLACEHOLDER})*?)?(\{{path\}})?"
    rf"(\?(?:[!\"$-\[\]-z|~]|{_PLACEHOLDER})*)?(#[!-\[\]-z|~]*)?"
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UpstreamShare(Record):
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
            share = f"; write {name} weight={words[0].rstrip('%')}" if re.fullmatch("[0-9]+%?", words[0]) else ""
            raise ValueError(f"expected weight=N after the name; found {' '.join(words)!r}{share}")
        if not re.fullmatch("[0-9]{1,9}", number):
            raise ValueError("weight must be a whole number of at least 0")
        return cls(name, int(number))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SplitKey(Record):
    """The key that keeps a client on one upstream: its address, or the header or cookie called `name`.

    The cookie of `sticky` is set by the gateway; without a name it has that of the route.
    """

    noun: ClassVar[str] = "ip, header:NAME, cookie:NAME, sticky or sticky:NAME"
    example: ClassVar[str] = "cookie:session"

    kind: Literal["ip", "header", "cookie", "sticky"]
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `ip`, `header:NAME`, `cookie:NAME`, `sticky` or `sticky:NAME`. Raise ValueError for another text."""
        kind, colon, name = (part.strip() for part in text.partition(":"))
        if kind == "ip" and not colon:
            return cls("ip")
        if kind == "sticky" and (not colon or is_token(name)):
            return cls("sticky", name)
        if kind not in ("header", "cookie") or not is_token(name):
            raise ValueError
        return cls("header" if kind == "header" else "cookie", name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Share(Record):
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


class UpgradeToken(str):
    """A protocol in Upgrade that a route tunnels, in lower case."""

    __slots__ = ()

    noun: ClassVar[str] = "a protocol"
    example: ClassVar[str] = "websocket"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the protocol. Raise ValueError for one that would carry requests past every handler."""
        if not is_protocol(text):
            raise ValueError("a protocol is a name, perhaps with a version: SPDY/3.1")
        if carries_requests(text):
            raise ValueError(f"{text} is never tunnelled: it would bypass every handler")
        return cls(text.lower())


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RedirectTarget(Record):
    """The target of a redirect; its placeholders are filled in for each request.

    Only `{scheme}`, `{host}` and `{port}` are allowed before the path, so that no request can redirect to another site.
    `{path}` is path and query; in the path it is allowed only at the end.
    """

    noun: ClassVar[str] = "a URL or path"
    example: ClassVar[str] = "https://new.example.com{path}"

    #: Scheme, host and port; empty for those of the request.
    origin: Template
    path: Template
    with_path: bool
    #: With its question mark; empty if there is none.
    query: Template
    fragment: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a URL or path. Raise ValueError with the problem."""
        match = _LOCATION.fullmatch(text)
        if match is None:
            _raise_for_typos(text)
        origin, path, with_path, query, fragment = match.groups("") if match else [""] * 5
        if not (origin or path or with_path):
            raise ValueError("{scheme}, {host} and {port} are allowed before the path, no placeholder behind '#'")
        if origin and not split_host(_example(origin).partition("//")[2])[0]:
            raise ValueError("the host is missing")
        if "{path}" in path:
            raise ValueError("{path} must end the path, or be in the query")
        if with_path and (query or fragment):
            raise ValueError("{path} is path and query, with nothing behind it")
        plain = path.rstrip("/") if with_path else path
        before, behind = Template.parse(plain, None, numbers=True), Template.parse(query, None, numbers=True)
        return cls(Template.parse(origin), before, bool(with_path), behind, fragment)

    @property
    def names(self) -> tuple[str, ...]:
        """The names and numbers of all placeholders; some may be groups of the route's pattern."""
        path = ("path",) if self.with_path else ()
        return (*self.origin.names, *self.path.names, *path, *self.query.names)

    @property
    def asks_for_host(self) -> bool:
        """True if the target contains the request's host."""
        return any("host" in part.names for part in (self.origin, self.path, self.query))

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{'{path}' if self.with_path else ''}{self.query}{self.fragment}"


def _raise_for_typos(text: str) -> None:
    """Raise ValueError for a name that resembles a placeholder; others may be groups, in a place where none may be."""
    for name in Template.parse(text, None).names:
        if name not in PLACEHOLDERS and nearest(name, PLACEHOLDERS):
            raise ValueError(unknown(name, PLACEHOLDERS))


def _example(origin: str) -> str:
    return origin.replace("{scheme}", "http").replace("{host}", "host").replace("{port}", "1")
