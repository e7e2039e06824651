"""`[server]`: the process, its listeners, and what a client connection may do."""

from dataclasses import dataclass, field
from pathlib import Path

from gproxy.config.ini.build import doc
from gproxy.config.sections import rules
from gproxy.config.types import Address, Bytes, Seconds, Workers


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`[server]`: the process, its listeners, and what a client connection may do."""

    bind: tuple[Address, ...] = field(
        default=(Address("tcp", "0.0.0.0", 8080),),
        metadata=doc(
            "addresses to listen on, each with tls, tls=NAME (of [tls:NAME]), proxy (expects a PROXY header), redirect"
        ),
    )
    workers: Workers = field(default=1, metadata=doc("worker processes; auto: one per core"))
    worker_timeout: Seconds = field(
        default=Seconds(30), metadata=doc("a worker that hangs for so long is replaced; 0s: never")
    )
    grace: Seconds = field(default=Seconds(30), metadata=doc("how long a stop waits for requests in flight"))
    stop_delay: Seconds = field(
        default=Seconds(0), metadata=doc("how long a stop still accepts connections while /ready is 503 already")
    )
    reload: bool = field(default=False, metadata=doc("reload when the settings, or modules of yours, change"))
    head_timeout: Seconds = field(default=Seconds(10), metadata=doc("for a request's head to arrive"))
    body_timeout: Seconds = field(default=Seconds(30), metadata=doc("between two pieces of an upload"))
    idle_timeout: Seconds = field(default=Seconds(75), metadata=doc("for the next request on a kept-alive connection"))
    write_timeout: Seconds = field(default=Seconds(30), metadata=doc("for the client to take a piece of a response"))
    max_head: Bytes = field(default=Bytes(32 * 1024), metadata=doc("largest request head"))
    max_fields: int = field(default=100, metadata=doc("most header fields in a request"))
    max_body: Bytes = field(default=Bytes(0), metadata=doc("largest request body; 0: no limit"))
    max_connections: int = field(default=0, metadata=doc("most client connections of a worker at a time; 0: no limit"))
    max_connections_per_address: int = field(
        default=0, metadata=doc("most client connections of a worker from one address (or IPv6 /64); 0: no limit")
    )
    state_dir: Path = field(default=Path("var"), metadata=doc("where what outlives a restart is kept"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.one_of_them(self, "bind"),
            rules.distinct(self, "bind"),
            rules.at_least(1, self, "workers", "max_fields"),
            rules.positive(self, "head_timeout", "body_timeout", "idle_timeout", "write_timeout", "max_head"),
            rules.at_least(0, self, "max_connections", "max_connections_per_address"),
            ["worker_timeout: expected at least 1s, or 0s for never"] * (0 < self.worker_timeout < 1),
        )
