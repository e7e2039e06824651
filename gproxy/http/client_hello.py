"""The first message of a TLS client (RFC 8446 section 4.1.2), read for what decides who answers it.

OpenSSL reads it again. But it would switch to another certificate in the middle of a handshake that has begun with the
first one's rules: what a client must prove, which versions are spoken and whose sessions are resumed stay those of
the first. So the choice is made before it begins.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

#: The largest that OpenSSL takes is 128 KiB; the largest that is sent is 2.
MAX_HELLO: Final = 32 * 1024
#: Nobody needs more than one or two; each costs us as much to look at as a whole one.
MAX_RECORDS: Final = 64

HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = b"\1"
_MAX_RECORD: Final = 16 * 1024 + 256
_SERVER_NAME: Final = 0
_PROTOCOLS: Final = 16


class ClientHello(NamedTuple):
    """The host that is asked for, in lower case, or nothing; the protocols on offer, none if it does not say."""

    server_name: str
    protocols: tuple[str, ...]


def read_client_hello(data: bytes) -> ClientHello | None:
    """The message at the beginning of `data`; None while it is incomplete. Raises ValueError if it is none."""
    message = b""
    for number, fragment in enumerate(_fragments(data)):  # not beyond its end, where early data may follow
        message += fragment
        if number == MAX_RECORDS:
            raise ValueError("the ClientHello is in too many pieces")
        if message and not message.startswith(_CLIENT_HELLO):
            raise ValueError("the first message is no ClientHello")
        size = 4 + int.from_bytes(message[1:4], "big")
        if len(message) >= 4 and size > MAX_HELLO:
            raise ValueError("the ClientHello is too large")
        if len(message) >= max(4, size):
            return _hello(_Fields(message[4:size]))
    return None


def _fragments(data: bytes) -> Iterator[bytes]:
    """What the records carry; the last may be incomplete. A message may be cut anywhere (RFC 8446 section 5.1)."""
    start = 0
    while start < len(data):
        if data[start] != HANDSHAKE or (start + 1 < len(data) and data[start + 1] != 3):
            raise ValueError("this is no TLS")
        if len(data) < start + 5:
            return
        length = int.from_bytes(data[start + 3 : start + 5], "big")
        if not 0 < length <= _MAX_RECORD:
            raise ValueError("a record with a length that none has")
        start += 5
        yield data[start : start + length]
        start += length


class _Fields:
    """Reads one field after the other. Raises ValueError where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise ValueError("the ClientHello ends too early")
        return self._data[self._at - size : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        """What stands behind its length, which has so many bytes (RFC 8446 section 3.4)."""
        return self.take(self.number(width))


def _hello(fields: _Fields) -> ClientHello:
    fields.take(2 + 32)  # version and random
    fields.vector(1)  # session id
    fields.vector(2)  # cipher suites
    fields.vector(1)  # compression methods
    found = dict(_extensions(_Fields(fields.vector(2)))) if fields else {}
    name = _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else ""
    return ClientHello(name, tuple(_protocols(found[_PROTOCOLS])) if _PROTOCOLS in found else ())


def _extensions(fields: _Fields) -> Iterator[tuple[int, bytes]]:
    while fields:
        kind = fields.number(2)
        yield kind, fields.vector(2)


def _server_name(extension: bytes) -> str:
    """RFC 6066 section 3: one name, and host names are the only kind there is."""
    entries = _Fields(_Fields(extension).vector(2))
    if entries.number(1):
        raise ValueError("a name that is no host's")
    return entries.vector(2).decode("ascii").lower().rstrip(".")


def _protocols(extension: bytes) -> Iterator[str]:
    names = _Fields(_Fields(extension).vector(2))
    while names:
        yield names.vector(1).decode("latin-1")
