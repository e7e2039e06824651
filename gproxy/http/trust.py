"""Trusted peers, the client's address, and the fields that no client may send (RFC 7239)."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from gproxy.http.header_names import ACTED_ON, FORBIDDEN_TRAILERS, FORWARDING, plain_name
from gproxy.http.headers import Headers
from gproxy.http.request_id import is_request_id

#: The name of a peer on a unix socket in the gateway, and in X-Forwarded-For (RFC 7239 section 6).
UNIX_PEER: Final = "unix"
UNKNOWN_PEER: Final = "unknown"
_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

_NONE: Final[frozenset[str]] = frozenset()


class Trust:
    """The peers that the gateway trusts, and the fields that it removes from requests.

    proxies: networks whose forwarding fields are trusted; peers on unix sockets always are. identity: fields that only
    the gateway's handlers may set. never: fields that no peer may send. from_proxies: fields that only proxies may
    send. credentials: fields that identity handlers judge; other spellings are removed, since a backend may take them
    for such a field. All names are in lower case. id_header: the name of the header of ids; empty without one.
    """

    def __init__(
        self,
        proxies: Sequence[IPv4Network | IPv6Network],
        identity: frozenset[str] = _NONE,
        never: frozenset[str] = _NONE,
        from_proxies: frozenset[str] = _NONE,
        id_header: str = "X-Request-ID",
        credentials: frozenset[str] = _NONE,
    ) -> None:
        self.proxies = proxies
        self.identity = identity
        self._acted_on = ACTED_ON | credentials
        self.id_header = id_header
        #: In lower case.
        self.id_key = id_header.lower()
        # Other spellings of the id's header too: the backend may take them for it.
        self._removed_from_proxies = identity | never | ({self.id_key} if id_header else _NONE)
        self._removed = self._removed_from_proxies | from_proxies
        #: Names that no trailer of a request may have.
        self.forbidden_trailers = FORBIDDEN_TRAILERS | self._removed | credentials

    def is_trusted(self, peer: str) -> bool:
        """Return whether the forwarding fields of the peer are trusted."""
        return is_trusted(peer, self.proxies)

    def may_touch(self, name: str, plain: str) -> bool:
        """Return whether `clean` may remove or read fields of this name, in lower case and plain."""
        return name == self.id_key or plain in self._removed or _is_spoofed(name, plain, self._acted_on)

    def clean(self, peer: str, headers: Headers) -> tuple[str, str]:
        """Remove spoofed fields. Return the client's address and, from a trusted proxy, the request id."""
        trusted = is_trusted(peer, self.proxies)
        request_id = headers.pop(self.id_key) or ""
        headers.discard("x-real-ip")  # the backend gets the client's address in it; many proxies pass a forged one
        removed = self._removed_from_proxies if trusted else self._removed
        strip_spoofed(headers, removed, trusted=trusted, acted_on=self._acted_on)
        if not trusted:
            return peer, ""
        return client_address(peer, headers, self.proxies), request_id if is_request_id(request_id) else ""


def strip_spoofed(
    headers: Headers, identity: frozenset[str], *, trusted: bool, acted_on: frozenset[str] = ACTED_ON
) -> None:
    """Remove fields that a client may not set, in all spellings that a backend may take for them.

    Identity fields are removed always, forwarding fields unless trusted.
    """
    for name in list(headers.names()):
        plain = plain_name(name)
        if plain in identity or _is_spoofed(name, plain, acted_on, trusted=trusted):
            headers.discard(name)


def _is_spoofed(name: str, plain: str, acted_on: frozenset[str], *, trusted: bool = False) -> bool:
    if plain.startswith("x-forwarded-") or plain in FORWARDING:
        return name != plain or not trusted
    return name != plain and plain in acted_on


def is_trusted(address: str, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Return whether the peer is a trusted proxy. A peer that may open a unix socket always is."""
    return address == UNIX_PEER or is_in(address, trusted)


def is_local(peer: str) -> bool:
    """Return whether the peer is a program on this machine, by its address or its unix socket."""
    return is_trusted(peer, _LOOPBACK)


def is_loopback(address: str) -> bool:
    """Return whether the text is a loopback address, also one of IPv4 in IPv6."""
    return is_in(address, _LOOPBACK)


def is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Return whether the address is in one of the networks; a peer on a unix socket is in none."""
    if not networks:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in network for network in networks)


def client_address(peer: str, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the first address from the right that is no trusted proxy; clients can forge all addresses left of it."""
    return hops(peer, headers, trusted)[-1]


def hops(peer: str, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> list[str]:
    """Return the path back from the peer: each trusted proxy names its own peer; the last one is the client."""
    found = [peer]
    forwarded_for = (headers.get("x-forwarded-for") or "").split(",")
    while (
        forwarded_for
        and is_trusted(found[-1], trusted)
        and (address := _bare(forwarded_for.pop().strip(" \t"))) is not None
    ):
        found.append(address)
    return found


def _bare(hop: str) -> str | None:
    """Return the address in `192.0.2.1`, `192.0.2.1:80` or `[2001:db8::1]:80`; None for anything else.

    A zone may be any text, and no address on the network has one (RFC 7239 section 6).
    """
    if "%" in hop:
        return None
    host = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ip_address(host)
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def network_of(address: str) -> str:
    """Return the /64 network of an IPv6 client, which can use a new address for every request (RFC 6177)."""
    return _network_of(address) if ":" in address else address


@lru_cache(4096)
def _network_of(address: str) -> str:
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False))
