"""`[state]`: the store that several machines share."""

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from gproxy.config.ini.build import doc
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Seconds, Secret

#: Scheme → beginning of the URL of a store. gproxy.state.store has the class for each scheme.
SCHEMES: Final = {"redis": "redis://", "rediss": "rediss://", "unix": "unix:"}


class RedisURL(Secret):
    """The URL of a Redis. The whole URL is a secret, because it may hold a password; `where` may be shown."""

    __slots__ = ("database", "host", "password", "path", "port", "scheme", "user", "where")

    noun: ClassVar[str] = "a Redis URL"
    example: ClassVar[str] = "redis://localhost:6379/0, ${NAME} or file:PATH"

    def __init__(self, text: str) -> None:
        """Parse the URL. Raise ValueError, whose message does not quote the URL."""
        super().__init__(text)
        parts = _split(text)
        if parts.scheme not in SCHEMES:
            *others, last = SCHEMES.values()
            raise ValueError(f"the URL must begin with {', '.join(others)} or {last}")
        self.scheme = parts.scheme
        self.user, self.password = _user(parts)
        if parts.scheme == "unix":
            self.host, self.port, self.path = "", 0, unquote(parts.path)
            self.database = _database(parts.query.removeprefix("db=") or "0")
            self.where = f"unix:{self.path}"
            if not self.path.startswith("/") or parts.hostname:
                raise ValueError("after unix: comes an absolute path, and optionally ?db=N")
            return
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError("after // comes only [user:password@]host:port/db")
        self.host, self.port, self.path = parts.hostname, _port(parts), ""
        self.database = _database(parts.path.removeprefix("/") or "0")
        self.where = f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL in `text`. Raise ValueError if `text` is not a Redis URL."""
        return cls(text)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:  # its message quotes the URL
        raise ValueError("the value is not a URL") from None


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
        raise ValueError("the port must be a number from 1 to 65535") from None


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError("the database must be a number")
    return int(text)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StateSettings(Record):
    """`[state]`: the store that several machines share. Without a store each machine counts locally."""

    redis: RedisURL | None = field(
        default=None,
        metadata=doc(
            "URL of the Redis or Valkey that counts limits: redis://[user:password@]host:port/db, rediss:, unix:"
        ),
    )
    timeout: Seconds = field(default=Seconds(0.05), metadata=doc("longest time that a request waits for the store"))
    on_failure: Literal["open", "closed"] = field(
        default="open", metadata=doc("open: each machine counts locally while the store is unavailable; closed: 503")
    )
    lease: int = field(default=1, metadata=doc("permits fetched at a time for a busy client; unspent ones expire"))
    prefix: str = field(default="gproxy:", metadata=doc("prefix of all keys"))
    max_connections: int = field(default=16, metadata=doc("most connections of each worker to the store"))
    tls_ca: Path | None = field(
        default=None, metadata=doc("PEM file of the authorities to trust, for rediss:; none: the system's")
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.positive(self, "timeout"),
            rules.at_least(1, self, "lease", "max_connections"),
            rules.require(
                self.redis is None or find_spec("redis"),
                "redis",
                "needs the Python package redis; install gproxy[redis]",
            ),
            rules.require(
                re.fullmatch(r"[!-~]*", self.prefix), "prefix", "must not contain spaces or control characters"
            ),
            rules.require(self.tls_ca is None or self.tls_ca.is_file(), "tls_ca", f"{self.tls_ca} is not a file"),
        )

    @property
    def meanwhile(self) -> str:
        """The behaviour while the store is unavailable, in words."""
        if self.on_failure == "open":
            return "each machine counts locally"
        return "limited requests get 503"
