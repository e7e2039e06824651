"""`[outgoing]`: requests of the gateway itself, for keys of issuers and the like. Backends have their own options."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from gproxy.config.ini.build import doc
from gproxy.config.problems import OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Seconds, Secret


class ProxyURL(Secret):
    """The URL of an HTTP proxy. The whole URL is a secret, because it may hold a password; `where` may be shown."""

    __slots__ = ("where",)

    noun: ClassVar[str] = "the URL of an HTTP proxy"
    example: ClassVar[str] = "http://proxy.example.com:3128, ${NAME} or file:PATH"

    def __init__(self, text: str) -> None:
        """Parse the URL. Raise ValueError, whose message does not quote the URL."""
        super().__init__(text)
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:  # its message quotes the URL
            raise ValueError("the value is not a URL") from None
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError("the URL must begin with http:// or https://, and have a host")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError("after // comes only [user:password@]host:port")
        self.where = f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL in `text`. Raise ValueError if `text` is not the URL of a proxy."""
        return cls(text)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OutgoingSettings(Record):
    """`[outgoing]`: requests of the gateway itself, to issuers and other endpoints of identity handlers."""

    timeout: Seconds = field(
        default=Seconds(5), metadata=doc("longest time of a whole exchange, from the look-up of the name to the body")
    )
    tls_ca: Path | None = field(
        default=None, metadata=doc("PEM file of authorities that are trusted beside the system's; none: no others")
    )
    proxy: ProxyURL | None = field(
        default=None, metadata=doc("HTTP proxy for these requests, except for those to loopback; none: direct")
    )
    insecure: bool = field(
        default=False, metadata=doc("whether http:// is allowed beyond loopback; yes is dangerous: anyone can answer")
    )

    def __post_init__(self) -> None:
        rules.raise_problems(rules.positive(self, "timeout"), _authorities(self.tls_ca))


def _authorities(path: Path | None) -> Iterator[OptionProblem]:
    if path is None:
        return
    import ssl  # late: gevent patches it first

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        yield ("tls_ca",), f"{path} holds no certificates in PEM form"
    except OSError as error:
        yield ("tls_ca",), f"{path} cannot be read: {(error.strerror or str(error)).lower()}"
