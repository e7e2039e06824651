"""A DNS server for tests: it answers A and AAAA from a dict that a test may change at any time."""

import ipaddress
import socket
import struct
import threading
from typing import Final, Self

_TYPES: Final = {1: 4, 28: 6}  # A, AAAA: RFC 1035 section 3.2.2, RFC 3596 section 2.1
_NOT_FOUND: Final = 3


class NameServer:
    """A DNS server. `addresses` maps names to their addresses, others do not exist; `asked` lists the names queried.

    While `silent` is True, the server does not answer. `environ` makes a gateway process use it, by c-ares in gevent.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.silent = False
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def environ(self) -> dict[str, str]:
        port = str(self._sock.getsockname()[1])
        return {
            "GEVENT_RESOLVER": "ares", "GEVENTARES_SERVERS": "127.0.0.1", "GEVENTARES_UDP_PORT": port,
            "GEVENTARES_TRIES": "1", "GEVENT_RESOLVER_TIMEOUT": "1",
        }  # fmt: skip

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.sendto(b"", self._sock.getsockname())  # an empty datagram ends the thread
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while True:
            query, peer = self._sock.recvfrom(4096)
            if not query:
                return
            if not self.silent:
                self._sock.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        """Return the response: the question and the addresses (RFC 1035 section 4.1)."""
        labels, at = [], 12
        while size := query[at]:
            labels.append(query[at + 1 : at + 1 + size].decode())
            at += 1 + size
        kind = struct.unpack_from("!H", query, at + 1)[0]
        name = ".".join(labels).lower()
        self.asked.append(name)
        addresses = self.addresses.get(name)
        found = [ipaddress.ip_address(address) for address in addresses or ()]
        answers = [address.packed for address in found if address.version == _TYPES.get(kind)]
        flags = 0x8580 | (_NOT_FOUND if addresses is None else 0)
        records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(data)) + data for data in answers]
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0) + query[12 : at + 5] + b"".join(records)
