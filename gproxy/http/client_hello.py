"""The ClientHello of a TLS client (RFC 8446 section 4.1.2), parsed to choose the TLS host.

OpenSSL parses the message again. But OpenSSL would switch to another certificate in the middle of a handshake that
started with the rules of the first one: client authentication, versions and session resumption would stay those of the
first. So the gateway chooses the TLS host before the handshake starts.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

#: OpenSSL accepts up to 128 KiB; real clients send up to 2 KiB.
MAX_HELLO: Final = 32 * 1024
#: One or two records are usual. Some clients use many small ones to pass filters; with the key shares of OpenSSL 3.5 a
#: ClientHello has 1.5 kB and more.
MAX_RECORDS: Final = 1024

HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = b"\1"
_MAX_RECORD: Final = 16 * 1024 + 256
_SERVER_NAME: Final = 0
_PROTOCOLS: Final = 16


class ClientHello(NamedTuple):
    """The requested host name in lower case ("" if absent) and the offered ALPN protocols."""

    server_name: str
    protocols: tuple[str, ...]


class ClientHelloReader:
    """An incremental parser of a ClientHello. The work is linear in the bytes, however they are cut."""

    def __init__(self) -> None:
        #: `_rest` is the incomplete record at the end; `_message` is the payload of the records before it.
        self._rest = b""
        self._message = bytearray()
        self._records = 0

    def feed(self, data: bytes) -> ClientHello | None:
        """Return the message once it is complete and ignore further bytes. Raise ValueError for any other message."""
        self._rest += data
        message = self._message
        for fragment in self._fragments():
            message += fragment
            if not message.startswith(_CLIENT_HELLO):
                raise ValueError("the first message is not a ClientHello")
            size = 4 + int.from_bytes(message[1:4], "big")
            if len(message) >= 4 and size > MAX_HELLO:
                raise ValueError("the ClientHello is too large")
            if len(message) >= max(4, size):
                return _hello(_Fields(bytes(message[4:size])))
        return None

    def _fragments(self) -> Iterator[bytes]:
        """Yield the payloads of the complete records. A message may be cut anywhere (RFC 8446 section 5.1)."""
        data, start = self._rest, 0
        while start < len(data):
            if data[start] != HANDSHAKE or (start + 1 < len(data) and data[start + 1] != 3):
                raise ValueError("this is not TLS")
            if len(data) < start + 5:
                break
            length = int.from_bytes(data[start + 3 : start + 5], "big")
            if not 0 < length <= _MAX_RECORD:
                raise ValueError("a record has an invalid length")
            if len(data) < start + 5 + length:
                self._check_beginning(data[start + 5 :])
                break
            self._records += 1
            if self._records > MAX_RECORDS:
                raise ValueError("the ClientHello is in too many records")
            yield data[start + 5 : start + 5 + length]
            start += 5 + length
        self._rest = data[start:]

    def _check_beginning(self, part: bytes) -> None:
        """Reject a partial record at once if no further byte can make it a ClientHello."""
        beginning = bytes(self._message[:4]) + part[:4]
        if not beginning.startswith(_CLIENT_HELLO[: len(beginning)]):
            raise ValueError("the first message is not a ClientHello")
        if len(beginning) >= 4 and int.from_bytes(beginning[1:4], "big") + 4 > MAX_HELLO:
            raise ValueError("the ClientHello is too large")


class _Fields:
    """A cursor over the fields of a message. Raises ValueError at a missing field."""

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
        """Return the bytes after a length prefix of `width` bytes (RFC 8446 section 3.4)."""
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
    """Return the host name. RFC 6066 section 3 allows one name, and defines no other type."""
    entries = _Fields(_Fields(extension).vector(2))
    if entries.number(1):
        raise ValueError("a server name is not a host name")
    return entries.vector(2).decode("ascii").lower().rstrip(".")


def _protocols(extension: bytes) -> Iterator[str]:
    names = _Fields(_Fields(extension).vector(2))
    while names:
        yield names.vector(1).decode("latin-1")
