"""`[admin]`: the listener of operators, its secrets, and what it permits."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gproxy.config.ini.build import doc
from gproxy.config.problems import OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import SHORTEST_SECRET, Address, Network, Seconds, Secret
from gproxy.config.types.addresses import LOOPBACK

#: The shortest and the longest history, in seconds: one sample a second, and a day.
_SHORTEST: Final = 60.0
_LONGEST: Final = 86400.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AdminSettings(Record):
    """`[admin]`: the listener of operators, its secrets, and what it permits. Without `bind` there is none."""

    bind: tuple[Address, ...] = field(
        default=(), metadata=doc("addresses of the admin listener: unix:PATH or HOST:PORT, with tls=NAME; none: off")
    )
    token: Secret | None = field(
        default=None,
        metadata=doc("secret that permits reading and acting on TCP; none: generated, kept in state_dir/admin.token"),
    )
    read_token: Secret | None = field(
        default=None, metadata=doc("secret that permits reading only; none: there is no such secret")
    )
    mode: str = field(default="0600", metadata=doc("permissions of the unix socket, which are its authentication"))
    group: str | None = field(default=None, metadata=doc("group of the unix socket; none: that of the process"))
    act: bool = field(default=True, metadata=doc("whether operations that change something are permitted"))
    debug: bool = field(
        default=False,
        metadata=doc("whether gproxy debug may stop requests, over a unix socket; it is a shell in the gateway"),
    )
    hosts: tuple[str, ...] = field(
        default=(), metadata=doc("names in the Host header of requests on TCP; none: localhost and the bind address")
    )
    allow: tuple[Network, ...] = field(default=LOOPBACK, metadata=doc("addresses and networks that may connect by TCP"))
    title: str = field(default="", metadata=doc("name of the gateway on the page; none: the name of the machine"))
    history: Seconds = field(default=Seconds(900), metadata=doc("how far back the figures of the page reach"))
    slow: Seconds = field(default=Seconds(1), metadata=doc("duration above which a request is listed as slow"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.distinct(self, "bind", "hosts", "allow"),
            _listeners(self.bind),
            _long_enough("token", self.token),
            _long_enough("read_token", self.read_token),
            rules.require(
                self.token is None or self.token != self.read_token, "read_token", "is the same as token; it would act"
            ),
            rules.require(re.fullmatch("0?[0-7]{3}", self.mode), "mode", "expected octal permissions such as 0660"),
            rules.require(_SHORTEST <= self.history <= _LONGEST, "history", "expected a time from 1m to 1d"),
            rules.positive(self, "slow"),
            rules.require(
                not self.debug or any(address.kind == "unix" for address in self.bind),
                "debug",
                "needs a unix socket in bind, such as unix:/run/gproxy/admin.sock",
            ),
        )

    @property
    def permissions(self) -> int:
        """The permissions of the unix socket, as a number."""
        return int(self.mode, 8)

    @property
    def name(self) -> str:
        """The name of the gateway on the page."""
        return self.title or os.uname().nodename

    @property
    def has_tcp(self) -> bool:
        """True if one of the addresses is no unix socket, so that clients need a token."""
        return any(address.kind != "unix" for address in self.bind)


def _listeners(addresses: tuple[Address, ...]) -> Iterator[OptionProblem]:
    for address in addresses:
        if address.proxy or address.redirect:
            yield ("bind",), f"only tls or tls=NAME may follow the address; write {address}"
        elif address.kind == "fd":
            yield ("bind",), f"{address}: an inherited socket is not supported here; write unix:PATH or HOST:PORT"


def _long_enough(name: str, secret: Secret | None) -> Iterator[OptionProblem]:
    if secret is not None and len(secret.reveal().encode("utf-8", "surrogatepass")) < SHORTEST_SECRET:
        yield (name,), f"expected at least {SHORTEST_SECRET} bytes, such as the output of openssl rand -hex 32"
