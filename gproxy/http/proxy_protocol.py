"""The header that a load balancer sends before anything else, so that we learn who its client is.

Versions 1 (a line of text) and 2 (binary) of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; the sections
named here are that document's.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

#: Section 2.1: 107 characters with the line's end.
MAX_LINE: Final = 107
#: Of version 2: what we take for addresses and extensions; the protocol would allow 64 KiB, nobody sends 4.
MAX_REST: Final = 4096

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([^ ]+) ([^ ]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_Kind = type[IPv4Address] | type[IPv6Address]
_TEXT: Final[dict[bytes, _Kind]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
#: Section 2.2: by the byte of family and transport, the address's type and the bytes of one address.
_BINARY: Final[dict[int, tuple[_Kind, int]]] = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}
#: What we have no use for, but has a length all the same: datagrams and unix sockets.
_LEAST: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}


class ProxyHeader(NamedTuple):
    """Where it ends, and the client's address; None if the connection is the load balancer's own."""

    size: int
    client: str | None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header at the beginning of `data`; None while it is incomplete. Raises ValueError if it is none."""
    if data.startswith(_SIGNATURE):
        return _read_binary(data)
    if _SIGNATURE.startswith(data) or b"PROXY ".startswith(data[:6]):
        return _read_line(data)
    raise ValueError("it does not begin as one")


def _read_line(data: bytes) -> ProxyHeader | None:
    size = data.find(b"\n", 0, MAX_LINE) + 1
    if not size or data.startswith(b"\r"):
        if len(data) >= MAX_LINE:
            raise ValueError("the line does not end")
        return None
    line = data[:size]
    match = _LINE.fullmatch(line)
    if match is None:
        if _UNKNOWN.fullmatch(line):
            return ProxyHeader(size, None)
        raise ValueError("the line is malformed")
    family, source, destination, *ports = match.groups()
    if any(int(port) > 65535 for port in ports):
        raise ValueError("a port beyond 65535")
    kind = _TEXT[family]
    kind(destination.decode("latin-1"))
    return ProxyHeader(size, _plain(kind(source.decode("latin-1"))))


def _read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED:
        return None
    version, command = divmod(data[12], 16)
    family = data[13]
    length = int.from_bytes(data[14:_FIXED], "big")
    if version != 2 or command > 1:
        raise ValueError("a version or command that nobody knows")
    if length > MAX_REST:
        raise ValueError(f"{length} bytes of addresses and extensions")
    if command and length < _LEAST.get(family, 0):
        raise ValueError("too short for its addresses")
    size = _FIXED + length
    if len(data) < size:
        return None
    if not command or family not in _BINARY:  # LOCAL, or what has no address of ours: section 2.2
        return ProxyHeader(size, None)
    kind, width = _BINARY[family]
    return ProxyHeader(size, _plain(kind(data[_FIXED : _FIXED + width])))


def _plain(address: IPv4Address | IPv6Address) -> str:
    if getattr(address, "scope_id", None):
        raise ValueError("an address with a zone")
    return str(getattr(address, "ipv4_mapped", None) or address)
