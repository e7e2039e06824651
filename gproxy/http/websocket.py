"""The words of a WebSocket's handshake in HTTP/1.1 (RFC 6455 section 4), for sides that speak HTTP/2 (RFC 8441)."""

import os
from base64 import b64encode
from hashlib import sha1
from typing import Final

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key() -> str:
    """Return a Sec-WebSocket-Key."""
    return b64encode(os.urandom(16)).decode()


def accept_of(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a key."""
    return b64encode(sha1(f"{key}{_GUID}".encode("latin-1"), usedforsecurity=False).digest()).decode()
