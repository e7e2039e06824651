"""The PROXY header, with which a load balancer sends the address of its client before any other byte.

Versions 1 (a line of text) and 2 (binary) of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; section
numbers are of that document.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

#: Section 2.1: 107 characters with the line's end.
MAX_LINE: Final = 107
#: The most bytes of addresses and extensions in version 2. The protocol allows 64 KiB; real headers have less than 4.
MAX_REST: Final = 4096

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([^ ]+) ([^ ]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_Kind = type[IPv4Address] | type[IPv6Address]
_TEXT: Final[dict[bytes, _Kind]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
#: Section 2.2: the byte of family and transport → address class, bytes of one address.
_BINARY: Final[dict[int, tuple[_Kind, int]]] = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}
#: The shortest length of each family, datagrams and unix sockets included, whose addresses the gateway ignores.
_LEAST: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}


class ProxyHeader(NamedTuple):
    """The size of the header, and the client's address; None for a connection of the load balancer itself."""

    size: int
    client: str | None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the header at the beginning of `data`; None while incomplete. Raises ValueError for a malformed one."""
    if data.startswith(_SIGNATURE):
        return _read_binary(data)
    if _SIGNATURE.startswith(data) or b"PROXY ".startswith(data[:6]):
        return _read_line(data)
    raise ValueError("no PROXY header at the beginning")


def _read_line(data: bytes) -> ProxyHeader | None:
    size = data.find(b"\n", 0, MAX_LINE) + 1
    if not size or data.startswith(b"\r"):
        if len(data) >= MAX_LINE:
            raise ValueError("the line is too long")
        return None
    line = data[:size]
    match = _LINE.fullmatch(line)
    if match is None:
        if _UNKNOWN.fullmatch(line):
            return ProxyHeader(size, None)
        raise ValueError("the line is malformed")
    family, source, destination, *ports = match.groups()
    if any(int(port) > 65535 for port in ports):
        raise ValueError("a port is above 65535")
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
        raise ValueError("unknown version or command")
    if length > MAX_REST:
        raise ValueError(f"{length} bytes of addresses and extensions exceed the limit of {MAX_REST}")
    if command and length < _LEAST.get(family, 0):
        raise ValueError("too short for the addresses of its family")
    size = _FIXED + length
    if len(data) < size:
        return None
    if not command or family not in _BINARY:  # LOCAL, or a family without IP addresses: section 2.2
        return ProxyHeader(size, None)
    kind, width = _BINARY[family]
    return ProxyHeader(size, _plain(kind(data[_FIXED : _FIXED + width])))


def _plain(address: IPv4Address | IPv6Address) -> str:
    if getattr(address, "scope_id", None):
        raise ValueError("an address has a zone")
    return str(getattr(address, "ipv4_mapped", None) or address)
