"""The URLs that the gateway itself asks: which ones are accepted, and which addresses are internal."""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

#: Addresses of IPv4 behind a translator (RFC 6052 section 2.1).
_NAT64: Final = IPv6Network("64:ff9b::/96")
_is_visible: Final = re.compile(r"[!-~]+").fullmatch


def check_url(url: str, *, insecure: bool = False) -> SplitResult:
    """Return the parts of an absolute http:// or https:// URL, which is plain http:// only on loopback.

    `insecure` allows http:// everywhere. Raises ValueError, whose message does not quote the URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it is not a URL; expected one such as https://id.example.com") from None
    if not _is_visible(url) or parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("it is not a URL; expected one such as https://id.example.com")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("it has a user or a fragment; expected a URL such as https://id.example.com")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        raise ValueError("http:// is accepted only on loopback; expected https://, or insecure = yes in [outgoing]")
    return parts


def is_loopback(host: str) -> bool:
    """Return whether the host is `localhost` or an address of this machine itself."""
    address = _address(host)
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback


def is_internal(host: str) -> bool:
    """Return whether the host is an address that is not public: private, shared, loopback or link-local.

    A name is not internal; its addresses are.
    """
    address = _address(host)
    return address is not None and (not address.is_global or address.is_multicast)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address, that of IPv4 if one of IPv6 contains it; None for a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address
