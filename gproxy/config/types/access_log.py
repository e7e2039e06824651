"""Values of `[log]`, in the file's syntax: `syslog:loghost:514`, `request.Referer`, `/health 2xx`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from gproxy.config.problems import nearest
from gproxy.config.record import Record
from gproxy.config.types.addresses import Address
from gproxy.http.header_names import is_likely_secret

#: The fields of an access line that `default` stands for, in their order.
DEFAULT_FIELDS: Final = (
    "time", "id", "client", "method", "path", "protocol", "status", "duration", "size", "reqsize", "route", "upstream",
    "backend", "tries", "reason", "vhost", "referer", "ua", "user", "auth",
)  # fmt: skip
#: Further fields, besides headers.
FURTHER_FIELDS: Final = ("apptime", "grpc", "handlers", "query", "report", "scheme", "tls", "trace")
#: Fields that are numbers.
NUMBER_FIELDS: Final = frozenset({"status", "duration", "size", "reqsize", "tries", "apptime"})
_DEFAULT: Final = "default"
_HEADER: Final = re.compile(r"(request|response)([.:/ _-])(.+)", re.IGNORECASE)
#: The characters of a label (ltsv.org).
_is_label: Final = re.compile(r"[0-9A-Za-z_.-]+").fullmatch

_SYSLOG: Final = "syslog:"
_STREAM: Final = "tcp:"
#: Schemes of URLs that other programs take for a syslog server, and what is written here.
_SCHEMES: Final = {"syslog": _SYSLOG, "udp": _SYSLOG, "tcp": _SYSLOG + _STREAM}
#: Files that are standard output. A log by this name would rotate the system's file.
_STDOUT: Final = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogTarget(Record):
    """A place that access lines go to: a file, standard output (`-`), or a syslog server; `off` is no place.

    `address` is that of a syslog server, None for other targets. With `is_stream` it is reached over TCP, otherwise
    over UDP or a unix datagram socket.
    """

    noun: ClassVar[str] = "a file, -, syslog:ADDRESS or off"
    example: ClassVar[str] = "log/access.log"

    text: str
    address: Address | None = None
    is_stream: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a path, `-`, `off`, or `syslog:` with HOST:PORT, tcp:HOST:PORT or unix:PATH. Raise ValueError."""
        if text == _SYSLOG.removesuffix(":"):
            raise ValueError("write syslog:unix:/dev/log for the syslog of this machine")
        scheme, url, rest = text.partition("://")
        if url and not rest.startswith("/"):
            raise ValueError(f"write {_SCHEMES[scheme]}{rest}" if scheme in _SCHEMES else "a URL is no target")
        if not text.startswith(_SYSLOG):
            if text.endswith("/"):
                raise ValueError(f"write the name of a file, such as {text}access.log")
            return cls("-" if text in _STDOUT else text)
        place = text.removeprefix(_SYSLOG)
        is_stream = place.startswith(_STREAM)
        address = _server(place.removeprefix(_STREAM))
        if is_stream and address.kind == "unix":
            raise ValueError("a unix socket is written syslog:unix:PATH")
        return cls(f"{_SYSLOG}{_STREAM if is_stream else ''}{address}", address, is_stream)

    @property
    def is_off(self) -> bool:
        return self.text == "off"

    @property
    def is_file(self) -> bool:
        return self.address is None and self.text not in ("-", "off")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogField(Record):
    """A field of access lines: a usual or further one, a header as `request.NAME` or `response.NAME`, or `default`."""

    noun: ClassVar[str] = "a field of the access line"
    example: ClassVar[str] = "request.Accept-Language"

    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the name of a field. Raise ValueError with the problem: no header that may carry a secret is logged."""
        known = (_DEFAULT, *DEFAULT_FIELDS, *FURTHER_FIELDS)
        if text in known:
            return cls(text)
        match = _HEADER.fullmatch(text)
        if match is None:
            raise ValueError(_meant(text, known))
        side, header = match[1].lower(), match[3]
        if not _is_label(header):
            raise ValueError("the name of a header has letters, digits, '-', '_' and '.' here")
        if is_likely_secret(header):
            raise ValueError(f"{header} may carry a secret, by its name, and is never logged")
        if (name := f"{side}.{header}") != text:
            raise ValueError(f"write {name}")
        return cls(name)

    @property
    def header(self) -> str:
        """The header's name; empty for another field."""
        return self.name.partition(".")[2]

    def __str__(self) -> str:
        return self.name


def expanded(fields: Iterable[LogField]) -> tuple[str, ...]:
    """Return the names of the fields, those of `default` in its place."""
    return tuple(name for field in fields for name in (DEFAULT_FIELDS if field.name == _DEFAULT else (field.name,)))


def _meant(text: str, known: Sequence[str]) -> str:
    if meant := nearest(text, known):
        return f"did you mean {meant!r}?"
    if "-" in text and _is_label(text):
        return f"write request.{text} or response.{text} for a header"
    return f"known are {', '.join(known)}, request.NAME and response.NAME"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SkippedLines(Record):
    """Access lines that are not written: those of a path and all below it, of a class of statuses, or of both.

    An empty `path` is every path. `statuses` are the status or the class, as in the file; empty: every status.
    """

    noun: ClassVar[str] = "a path, a status or a class of them, or both"
    example: ClassVar[str] = "/health 2xx"

    path: str = ""
    statuses: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `/health`, `2xx`, `304` or `/health 2xx`. Raise ValueError with the problem."""
        path, _, statuses = (text if text.startswith("/") else f" {text}").partition(" ")
        statuses = statuses.strip()
        if "?" in path:
            raise ValueError("a path has no query")
        if "*" in path:
            begin = path.partition("*")[0].rstrip("/") or "/"
            raise ValueError(f"a path has no '*'; {begin} stands for everything below it too")
        if statuses and not re.fullmatch("[1-5](xx|[0-9][0-9])", statuses):
            raise ValueError("a path starts with '/'" if not path and not statuses[0].isdigit() else "")
        return cls(path, statuses)

    @property
    def first(self) -> int:
        """The lowest of the statuses."""
        return int(self.statuses.replace("x", "0") or 0)

    @property
    def last(self) -> int:
        """The highest of the statuses."""
        return int(self.statuses.replace("x", "9") or 999)

    def __str__(self) -> str:
        return f"{self.path} {self.statuses}".strip()


def _server(place: str) -> Address:
    """Return the address of a syslog server. Raise ValueError with the problem."""
    if place.startswith("/"):
        raise ValueError(f"a unix socket is written {_SYSLOG}unix:/{place.lstrip('/')}")
    if place.startswith("udp:"):
        raise ValueError(f"UDP is written {_SYSLOG}HOST:PORT")
    address = Address.parse(place)
    if address.words or address.kind == "fd":
        raise ValueError("expected HOST:PORT, tcp:HOST:PORT or unix:PATH behind syslog:")
    if address.kind == "tcp" and not (address.host and address.port):
        raise ValueError("the host or the port is missing")
    return address
