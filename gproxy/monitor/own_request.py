"""A request that the monitor sends to its own gateway, as a client on this machine."""

import http.client
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

import gevent

from gproxy.config.sections.settings import Settings
from gproxy.config.types import Address
from gproxy.http.header_names import HOP_BY_HOP, is_field_value

#: Seconds for each wait until the response begins; then the most seconds and bytes in which its body is read.
_PATIENCE: Final = 60.0
_READING: Final = 5.0
_MOST: Final = 1024 * 1024
#: The fields that the connection sets itself.
_OWN: Final = HOP_BY_HOP | {"expect", "content-length"}

Pairs = Sequence[tuple[str, str]]


class BodyNotKeptError(ValueError):
    """A request whose recorded body is longer than what is kept."""


@dataclass(frozen=True)
class OwnRequest:
    """A request to send: a recorded one, with what was changed."""

    method: str
    target: str
    headers: Pairs
    body: bytes
    scheme: str

    @classmethod
    def of(cls, entry: Mapping[str, Any], changes: Mapping[str, Any]) -> Self:
        """Return the request of an entry with these changes: method, target, headers as lines, body as text.

        Raises ValueError for what cannot be sent, and BodyNotKeptError if the recorded body is needed and not whole.
        """
        pairs = entry["request"]["headers"]
        headers = _pairs(changes["headers"]) if "headers" in changes else [(name, value) for name, value in pairs]
        method, target = changes.get("method", entry["method"]), changes.get("target", entry["target"])
        if not method.isascii() or not method.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{method!r} is no method; expected a word such as GET")
        if not target.startswith(("/", "*")) or not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError(f"{target!r} is no target; expected a path such as /users?page=2, percent-encoded")
        kept = [(name, value) for name, value in headers if name.lower() not in _OWN]
        return cls(method, target, kept, _body(entry, changes), entry["scheme"])


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the fields of lines such as `Name: value`. Raises ValueError."""
    found = []
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        is_name = colon and name.isascii() and name.isprintable() and " " not in name and name
        if not is_name or not is_field_value(value.strip()):
            raise ValueError(f"{line[:80]!r} is no header; expected a line such as Accept: text/html")
        found.append((name, value.strip()))
    return found


def _body(entry: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
    if "body" in changes:
        text: str = changes["body"]
        return text.encode("utf-8", "surrogatepass")
    place = entry["request"]["body"]
    if place is None:
        return b""
    body = entry["bodies"][place]
    if not body["is_whole"]:
        raise BodyNotKeptError("the body of the request is longer than what is kept; send another body")
    data: bytes = body["data"]
    return data


def send(request: OwnRequest, settings: Settings) -> tuple[int, dict[str, str]]:
    """Send the request to a listener of the gateway, and return the status and the fields of the response.

    Raises OSError if the gateway does not answer, and ValueError without a listener that takes plain connections.
    """
    connection = http.client.HTTPConnection("localhost", timeout=_PATIENCE)
    connection.sock = _connected(_address(settings.server.bind, request.scheme))
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            connection.putheader(name, value.encode("latin-1", "replace"))
        if request.body or request.method in {"POST", "PUT", "PATCH"}:
            connection.putheader("Content-Length", str(len(request.body)))
        connection.putheader("Connection", "close")
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        _read(response)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None
    finally:
        connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}


def _read(response: http.client.HTTPResponse) -> None:
    """Read the body, as far as it comes: a stream of events has no end, and a body may be broken off."""
    with gevent.Timeout(_READING, False), suppress(OSError, http.client.HTTPException):
        response.read(_MOST)


def _address(addresses: Sequence[Address], scheme: str) -> Address:
    """Return the listener that is most like that of the recorded request. Raises ValueError."""
    usable = [one for one in addresses if one.kind != "fd" and not one.proxy and not one.redirect]
    if not usable:
        raise ValueError("no listener takes a connection of the monitor: each expects a PROXY header or redirects")
    return next((one for one in usable if (one.tls is not None) == (scheme == "https")), usable[0])


def _connected(address: Address) -> socket.socket:
    """Return a connection to the listener. Raises OSError."""
    if address.kind == "unix":
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(_PATIENCE)
        plain.connect(address.path)
    else:
        host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
        plain = socket.create_connection((host, address.port), _PATIENCE)
    if address.tls is None:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # our own listener, on this machine
    return context.wrap_socket(plain)
