"""`[state]`: what several machines have in common."""

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from gproxy.config.ini.build import doc
from gproxy.config.sections import rules
from gproxy.config.types import Seconds, Secret

_SCHEMES = ("redis", "rediss", "unix")


class RedisURL(Secret):
    """Where a Redis is. A secret as a whole, for it may hold a password; `where` may be shown."""

    __slots__ = ("database", "host", "password", "path", "port", "scheme", "user", "where")

    noun: ClassVar[str] = "a Redis URL"
    example: ClassVar[str] = "redis://localhost:6379/0, ${NAME} or file:PATH"

    def __init__(self, text: str) -> None:
        """Raises ValueError, which does not quote it."""
        super().__init__(text)
        parts = _split(text)
        if parts.scheme not in _SCHEMES:
            raise ValueError("it begins with redis://, rediss:// or unix:")
        self.scheme = parts.scheme
        self.user, self.password = _user(parts)
        if parts.scheme == "unix":
            self.host, self.port, self.path = "", 0, unquote(parts.path)
            self.database = _database(parts.query.removeprefix("db=") or "0")
            self.where = f"unix:{self.path}"
            if not self.path.startswith("/") or parts.hostname:
                raise ValueError("unix: is followed by an absolute path, and by ?db=N if need be")
            return
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError("after // comes [user:password@]host:port/db and nothing else")
        self.host, self.port, self.path = parts.hostname, _port(parts), ""
        self.database = _database(parts.path.removeprefix("/") or "0")
        self.where = f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        return cls(text)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:  # its own words quote
        raise ValueError("it is no URL") from None


def _user(parts: SplitResult) -> tuple[str, str]:
    userinfo, at, _ = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    if at and not (colon and password):
        raise ValueError("before @ comes user:password, or :password")
    return unquote(user), unquote(password)


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or 6379
    except ValueError:
        raise ValueError("its port is no number from 1 to 65535") from None


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError("its database is no number")
    return int(text)


@dataclass(frozen=True, slots=True)
class StateSettings:
    """`[state]`: the store that several machines share; without it each machine counts for itself."""

    redis: RedisURL | None = field(
        default=None,
        metadata=doc("the Redis or Valkey where limits count: redis://[user:password@]host:port/db, rediss:, unix:"),
    )
    timeout: Seconds = field(default=Seconds(0.05), metadata=doc("what a request waits for its answer at most"))
    on_failure: Literal["open", "closed"] = field(
        default="open", metadata=doc("open: each machine counts for itself until it is back; closed: 503")
    )
    lease: int = field(
        default=1, metadata=doc("permits of a busy client fetched at a time; those not spent soon are lost to it")
    )
    prefix: str = field(default="gproxy:", metadata=doc("what all keys begin with"))
    max_connections: int = field(default=16, metadata=doc("most connections to it at a time, for each worker"))
    tls_ca: Path | None = field(default=None, metadata=doc("for rediss: the authorities to trust; none: the system's"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "timeout"),
            rules.at_least(1, self, "lease", "max_connections"),
            _installed(self.redis),
            ["prefix: has no spaces or control characters"] * (not re.fullmatch(r"[!-~]*", self.prefix)),
            [f"tls_ca: {self.tls_ca} is no file"] * (self.tls_ca is not None and not self.tls_ca.is_file()),
        )

    @property
    def meanwhile(self) -> str:
        """What happens while the store is lost, in words."""
        if self.on_failure == "open":
            return "each machine counts for itself"
        return "what it should count is refused with 503"


def _installed(redis: Any) -> list[str]:
    missing = redis is not None and find_spec("redis") is None
    return ["redis: needs the Python package redis; install gproxy[redis]"] * missing
