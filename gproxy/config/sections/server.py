"""`[server]`: the processes, their listeners, and the limits of client connections."""

from dataclasses import dataclass, field
from pathlib import Path

from gproxy.config.ini.build import doc
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Address, Bytes, Percent, Seconds, Workers
from gproxy.config.types.selftest import SelfTestLine

#: Each stream takes a greenlet and the memory of a request.
_MOST_STREAMS = 10_000


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ServerSettings(Record):
    """`[server]`: the processes, their listeners, and the limits of client connections."""

    bind: tuple[Address, ...] = field(
        default=(Address("tcp", "0.0.0.0", 8080),),  # noqa: S104 a gateway listens on all interfaces
        metadata=doc(
            "addresses to listen on, each with tls, tls=NAME (of [tls:NAME]), proxy (expects a PROXY header), "
            "redirect (to https), except=PATH (a path that is not redirected), h2c (HTTP/2 too, on a plain address)"
        ),
    )
    workers: Workers = field(default=1, metadata=doc("number of worker processes; auto: one per core"))
    threads: int = field(default=10, metadata=doc("most threads of each worker for apps with offload = yes"))
    worker_timeout: Seconds = field(
        default=Seconds(30), metadata=doc("time after which a hung worker is replaced; 0s: never")
    )
    grace: Seconds = field(default=Seconds(30), metadata=doc("longest time that a stop waits for active requests"))
    stop_delay: Seconds = field(
        default=Seconds(0), metadata=doc("time that a stop keeps accepting connections while /ready answers 503")
    )
    reload: bool = field(
        default=False, metadata=doc("whether changes of the settings or of user modules trigger a reload")
    )
    watch: tuple[str, ...] = field(
        default=(),
        metadata=doc(
            "with reload = on: further files, folders or patterns whose changes trigger a reload, such as templates, "
            "data/*.json, .env; relative to the folder of the settings file"
        ),
    )
    selftest: tuple[SelfTestLine, ...] = field(
        default=(),
        metadata=doc(
            "requests with the statuses that a new generation must answer with before it serves, one a line: "
            "GET /users/1 200,401; or MODULE:NAME, a function that gets ask"
        ),
    )
    probation: Seconds = field(
        default=Seconds(0),
        metadata=doc(
            "time after a reload in which too many errors of handlers bring the previous generation back; 0s: off"
        ),
    )
    probation_errors: Percent = field(
        default=Percent(0.05),
        metadata=doc("largest share of requests that may fail in handlers during probation, of at least 20 requests"),
    )
    http2: bool = field(default=True, metadata=doc("whether TLS listeners offer HTTP/2, by ALPN"))
    max_streams: int = field(
        default=128, metadata=doc("most requests under way on one HTTP/2 connection; below 100, some clients stall")
    )
    head_timeout: Seconds = field(default=Seconds(10), metadata=doc("longest time until a request's head is complete"))
    body_timeout: Seconds = field(
        default=Seconds(30), metadata=doc("longest pause between two parts of a request body")
    )
    idle_timeout: Seconds = field(
        default=Seconds(75), metadata=doc("longest idle time of a client connection between two requests")
    )
    write_timeout: Seconds = field(
        default=Seconds(30), metadata=doc("longest time until the client accepts more of a response")
    )
    min_rate: Bytes = field(
        default=Bytes(240),
        metadata=doc(
            "fewest bytes a second that a client must send of a request body, or take of a response, after 5 s; not in "
            "tunnels, event streams and with stream = yes; 0: no limit"
        ),
    )
    max_head: Bytes = field(default=Bytes(32 * 1024), metadata=doc("largest request head"))
    max_fields: int = field(default=100, metadata=doc("most header fields of a request"))
    max_body: Bytes = field(default=Bytes(0), metadata=doc("largest request body; 0: no limit"))
    max_connections: int = field(default=0, metadata=doc("most concurrent client connections of a worker; 0: no limit"))
    max_connections_per_address: int = field(
        default=0,
        metadata=doc("most concurrent client connections of a worker from one address (or IPv6 /64); 0: no limit"),
    )
    buffers: Bytes = field(
        default=Bytes(64 * 1024 * 1024),
        metadata=doc(
            "bytes that a worker keeps in memory for slow clients; beyond it, uploads are collected on disk and "
            "nothing is read ahead"
        ),
    )
    block_log: Seconds = field(
        default=Seconds(0.1),
        metadata=doc("log a handler that blocks the event loop of a worker for longer, with its line; 0s: off"),
    )
    state_dir: Path = field(default=Path("var"), metadata=doc("directory for state that survives restarts"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.one_of_them(self, "bind"),
            rules.distinct(self, "bind", "watch"),
            rules.at_least(1, self, "workers", "threads", "max_fields", "max_streams"),
            rules.require(self.max_streams <= _MOST_STREAMS, "max_streams", f"must be at most {_MOST_STREAMS}"),
            rules.positive(self, "head_timeout", "body_timeout", "idle_timeout", "write_timeout", "max_head"),
            rules.at_least(0, self, "min_rate", "max_connections", "max_connections_per_address"),
            rules.require(not 0 < self.worker_timeout < 1, "worker_timeout", "expected at least 1s, or 0s for never"),
            rules.require(
                0 < self.probation_errors < 1, "probation_errors", "expected more than 0% and less than 100%"
            ),
            rules.require(not 0 < self.block_log < 0.01, "block_log", "expected at least 10ms, or 0s for off"),
        )
