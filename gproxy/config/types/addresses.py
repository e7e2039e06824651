"""Addresses of listeners, trusted networks and backends, in the file's syntax."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, ClassVar, Final, Literal, Self

from gproxy.config import hints
from gproxy.config.problems import nearest
from gproxy.config.record import Record

Network = IPv4Network | IPv6Network
#: Clients on the same machine.
LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

#: The length of the prefix of IPv4 addresses in IPv6 (RFC 4291 section 2.5.5.2).
_MAPPED: Final = 96
_LONGEST_UNIX_PATH = 107  # sun_path of Linux is 108 bytes with the final NUL
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_URL = re.compile(r"([^:/?#@]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")
#: URL schemes of other proxies for HTTP/2, and the scheme that says the same with `http2 = yes`.
_HTTP2_SCHEMES = {"grpc": "http", "h2c": "http", "grpcs": "https", "h2": "https"}
_AND_HTTP2 = ", and http2 = yes in a line of its own"
#: Words of other proxies behind a server's address, and what has their meaning in [upstream:NAME].
_SERVER_WORDS = {
    "max_fails": "max_fails = N in a line of its own",
    "fail_timeout": "fail_window = TIME in a line of its own",
    "check": "health_path = PATH in a line of its own",
    "ssl": "an https:// URL",
    "max_conns": "max_connections=N",
}
_NUMBERS = ("weight", "max_connections")
_FLAGS = ("backup", "down", "drain")
#: The words that may follow a listener's address: the field, and its value if the word has none.
_LISTENER_WORDS: dict[str, Any] = {"tls": "", "proxy": True, "redirect": 443, "h2c": True}


def parse_network(text: str) -> Network:
    """Parse `10.0.0.0/8` or `::1`. A bare address is a network of one; bits beyond the prefix are ignored.

    `::ffff:10.0.0.0/104` is 10.0.0.0/8: clients with such an address count as clients of IPv4. Raises ValueError.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(hints.network(text)) from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    return ipaddress.IPv4Network((int(mapped), network.prefixlen - _MAPPED))


def network_of(text: str) -> Network:
    """Parse an address or a network as `parse_network` does. Raises ValueError with a whole sentence."""
    try:
        return parse_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address and no network; expected one such as 10.0.0.0/8") from None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Address(Record):
    """The address of a listener.

    Depending on `kind` it has `host` and `port` of TCP (an empty host is every interface), the `path` of a unix socket,
    or an inherited file descriptor `fd`.

    `tls` is None for plain HTTP, else the [tls:NAME] section for clients without a known server name (empty: the
    first). With `proxy` each connection begins with a PROXY header. With `h2c` a plain address takes HTTP/2 by prior
    knowledge, besides HTTP/1. `redirect` (0: none) is the https port that clients are redirected to, except from the
    paths of `excepted` and below them. Equality compares only the place.
    """

    noun: ClassVar[str] = "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd:N"
    example: ClassVar[str] = "0.0.0.0:8080"

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1
    tls: str | None = field(default=None, compare=False)
    proxy: bool = field(default=False, compare=False)
    redirect: int = field(default=0, compare=False)
    excepted: tuple[str, ...] = field(default=(), compare=False)
    h2c: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `HOST:PORT tls proxy`. Raise ValueError with the problem. Port 0 lets the system choose."""
        place, *words = text.split() or [""]
        found = _listener_words(words)
        scheme, colon, rest = place.partition(":")
        if colon and scheme == "unix":
            return cls("unix", path=_unix_path(rest), **found)
        if colon and scheme == "fd":
            if not re.fullmatch("[0-9]{1,9}", rest):
                raise ValueError("fd: needs a number")
            return cls("fd", fd=int(rest), **found)
        if hint := _address_hint(place):
            raise ValueError(hint)
        if not re.search(r":[^]]*$", place):
            raise ValueError("the port is missing")
        host, port = split_host(place)
        return cls("tcp", host, port or 0, **found)

    def serves(self, backend: "BackendURL") -> bool:
        """Return whether a connection to the backend comes to this listener, as far as that can be seen here."""
        if self.kind == "unix":
            return self.path == backend.path
        if self.kind != "tcp" or backend.path or not self.port or self.port != backend.port:
            return False
        return self.host == backend.host or (is_here(backend.host) and (not self.host or is_here(self.host)))

    @property
    def words(self) -> str:
        """The words after the address, in the file's syntax."""
        words = [f"tls={self.tls}" if self.tls else "tls"] if self.tls is not None else []
        words += ["proxy"] * self.proxy + ["h2c"] * self.h2c + [f"redirect={self.redirect}"] * bool(self.redirect)
        return " ".join([*words, *(f"except={path}" for path in self.excepted)])

    def __str__(self) -> str:
        if self.kind == "tcp":
            return f"{bracket(self.host)}:{self.port}"
        return f"unix:{self.path}" if self.kind == "unix" else f"fd:{self.fd}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BackendURL(Record):
    """The address and the options of one backend.

    `weight` is its share of requests (0: no share), `max_connections` its limit (0: no limit). A `backup` backend is
    used if no other is available, a `down` backend never, and a `drain` backend only for clients with a sticky cookie
    for it. A backend on a unix socket has a `path`, and its host is `localhost`.
    """

    noun: ClassVar[str] = "a backend's URL"
    example: ClassVar[str] = "http://localhost:5001"

    scheme: Literal["http", "https"]
    host: str
    port: int
    weight: int = 1
    max_connections: int = 0
    backup: bool = False
    down: bool = False
    drain: bool = False
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `http://HOST:PORT weight=3 max_connections=10 backup down drain`. Raise ValueError with the problem."""
        url, *words = text.split() or [""]
        if url.startswith("unix:"):
            return cls("http", "localhost", 80, path=_unix_path(url.removeprefix("unix:")), **_backend_words(words))
        match = _URL.fullmatch(url)
        if not match:
            address = re.fullmatch(r"([\w.-]*)(:[0-9]+|(?<=\w))", url)
            written = f"; write http://{address[1] or 'localhost'}{address[2]}" if address else ""
            raise ValueError(f"a backend's URL starts with http://, https:// or unix:{written}")
        scheme, authority, path, query, fragment = match.groups()
        for wrong, message in (
            (scheme in _HTTP2_SCHEMES, f"write {_HTTP2_SCHEMES.get(scheme)}://{authority}{_AND_HTTP2}"),
            (scheme in {"ws", "wss"}, f"a WebSocket begins as HTTP; write http{scheme[2:]}://{authority}"),
            (scheme not in {"http", "https"}, "only http:// and https:// are supported"),
            ("@" in authority, "a user or password in the URL is not supported"),
            (authority == "unix:", f"a unix socket is written unix:{path}"),
            (path not in {"", "/"}, "a path in the URL is not supported; add_prefix = in the route adds one"),
            (query, "a query in the URL is not supported"),
            (fragment, "a fragment in the URL is not supported"),
        ):
            if wrong:
                raise ValueError(message)
        host, port = split_host(authority)
        if not host:
            raise ValueError("the host is missing")
        if port == 0:
            raise ValueError("the port must be a number from 1 to 65535")
        secure = scheme == "https"
        return cls("https" if secure else "http", host, port or (443 if secure else 80), **_backend_words(words))

    @property
    def authority(self) -> str:
        """The value of a Host header, without the scheme's default port."""
        default = 443 if self.scheme == "https" else 80
        return bracket(self.host) if self.port == default else f"{bracket(self.host)}:{self.port}"

    @property
    def flags(self) -> str:
        """The options after the URL, in the file's syntax."""
        numbers = [f"weight={self.weight}"] * (self.weight != 1)
        numbers += [f"max_connections={self.max_connections}"] * bool(self.max_connections)
        return " ".join(numbers + [flag for flag in _FLAGS if getattr(self, flag)])

    @property
    def place(self) -> str:
        """The place of the backend: HOST:PORT or unix:PATH."""
        return f"unix:{self.path}" if self.path else f"{bracket(self.host)}:{self.port}"

    @property
    def is_name(self) -> bool:
        """True if the host must be resolved; `localhost` need not (RFC 6761 section 6.3)."""
        return not (self.path or self.host == "localhost" or ":" in self.host or re.fullmatch(r"[0-9.]+", self.host))

    @property
    def addresses(self) -> tuple[str, ...]:
        """The IP addresses in the URL; empty for a host to resolve and for a unix socket."""
        if self.path or self.is_name:
            return ()
        return ("127.0.0.1", "::1") if self.host == "localhost" else (self.host,)

    def __str__(self) -> str:
        return self.place if self.path else f"{self.scheme}://{self.place}"


def is_here(host: str) -> bool:
    """Return whether the host is this machine: localhost, a loopback address, or the unspecified one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def split_host(text: str) -> tuple[str, int | None]:
    """Return host (lower case, without brackets) and port (or None). Raise ValueError with the problem."""
    match = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    host, port = (match[1], match[2]) if match else _host_and_port(text)
    if port == "":
        raise ValueError("the port is missing")
    if port is not None and not (re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535):
        raise ValueError("the port must be a number up to 65535")
    return _host(host, version=6 if match else 4), None if port is None else int(port)


def bracket(host: str) -> str:
    """Return `host` as it is written before `:PORT`."""
    return f"[{host}]" if ":" in host else host


def _host_and_port(text: str) -> tuple[str, str | None]:
    if text.count(":") > 1:
        raise ValueError("an IPv6 address needs brackets, as in [::1]:8080")
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _host(host: str, version: int) -> str:
    if version == 6 or re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv{version} address") from None
    if host and not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name")
    return host.lower()


def _unix_path(path: str) -> str:
    if not path or "\0" in path:
        raise ValueError("unix: needs a path")
    if len(path.encode()) > _LONGEST_UNIX_PATH:
        raise ValueError(f"a unix socket's path has at most {_LONGEST_UNIX_PATH} bytes")
    return path


def _listener_words(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    excepted = [word.removeprefix("except=") for word in words if word.startswith("except=")]
    for word in words:
        name, equals, value = word.partition("=")
        if name in found:
            raise ValueError(f"{name} is given twice")
        if name == "except" and equals:
            _check_excepted(value)
        elif not equals and name in _LISTENER_WORDS:
            found[name] = _LISTENER_WORDS[name]
        elif name == "tls" and value:
            found[name] = value
        elif name == "redirect" and re.fullmatch("[0-9]{1,5}", value) and 0 < int(value) <= 65535:
            found[name] = int(value)
        else:
            wanted = "tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH"
            raise ValueError(f"{word!r} is not {wanted}{_meant(name, (*_LISTENER_WORDS, 'except'))}")
    if {"tls", "redirect"} <= found.keys():
        raise ValueError("redirect cannot be combined with tls")
    if {"tls", "h2c"} <= found.keys():
        raise ValueError("h2c is for plain addresses: with tls, [server] http2 offers HTTP/2")
    if excepted and "redirect" not in found:
        raise ValueError("except=PATH has no meaning without redirect")
    return found | ({"excepted": tuple(path.rstrip("/") for path in excepted)} if excepted else {})


def _check_excepted(path: str) -> None:
    """Raise ValueError unless the path can be an exception from a redirect: absolute, normalized, and not `/`."""
    if not path.strip("/"):
        raise ValueError("except= needs a path such as /.well-known/acme-challenge")
    if not path.startswith("/"):
        raise ValueError(f"except= needs a path that starts with '/'; found {path!r}")
    if re.search(r"[%?#\\;]|//", path) or {".", ".."} & set(path.split("/")):
        raise ValueError(f"except= needs a decoded and normalized path without a query; found {path!r}")


def _address_hint(place: str) -> str:
    """Return what to write in place of a bare port, a URL, a path or a `*`; empty for another address."""
    if re.fullmatch("[0-9]{1,5}", place):
        return f"the port is missing; write :{place} for a port on all interfaces"
    scheme, separator, rest = place.partition("://")
    if separator:
        port = "" if re.search(r":[0-9]+/?$", rest) else ":443" if scheme == "https" else ":80"
        return f"an address has no scheme; write {rest.rstrip('/')}{port}{' tls' * (scheme == 'https')}"
    if place.startswith("/"):
        return f"write unix:{place} for a unix socket"
    return f"write {place.lstrip('*')} for a port on all interfaces" if place.startswith("*:") else ""


def _meant(word: str, words: Collection[str]) -> str:
    meant = "tls" if word in {"ssl", "https"} and "tls" in words else None if word in words else nearest(word, words)
    return f"; did you mean {meant!r}?" if meant else ""


def _backend_words(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not (name in _NUMBERS and equals) and word not in _FLAGS:
            wanted = "weight=N, max_connections=N, backup, down or drain"
            ours = f"; write {_SERVER_WORDS[name]}" if name in _SERVER_WORDS else ""
            raise ValueError(f"{word!r} is not {wanted}{ours or _meant(name, (*_NUMBERS, *_FLAGS))}")
        if equals and not re.fullmatch("[0-9]{1,9}", number):
            raise ValueError(f"{name} must be a whole number of at least 0")
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = int(number) if equals else True
    return found
