"""The key by which handlers count a client: its address, its user, or the value of a header."""

import re
from hashlib import blake2b
from typing import Final

from gproxy.http.header_names import TOKEN_CHAR
from gproxy.http.request import Request
from gproxy.http.trust import network_of

_is_key: Final = re.compile(rf"ip|user|header:({TOKEN_CHAR}+)").fullmatch
#: A user or header value up to this length is the key itself, a longer one its digest: this bounds the memory.
_MAX_KEY: Final = 64


class ClientKey:
    """The key of a client, as the option `key` names it. A client without a user or header has that of its address."""

    __slots__ = ("_by_address", "_header")

    def __init__(self, key: str) -> None:
        """Parse the option. Raises ValueError."""
        match = _is_key(key)
        if match is None:
            raise ValueError(f"key: {key!r} is not a key; expected ip, user or header:NAME")
        self._by_address = key == "ip"
        self._header: str | None = match[1]

    def of(self, request: Request) -> str:
        """Return the key of the request's client."""
        return network_of(request.client) if self._by_address else self._user_or_header(request)

    def _user_or_header(self, request: Request) -> str:
        """Return the key. Its prefix distinguishes a user or header value from an equal address."""
        value = request.headers.get(self._header) if self._header else request.user
        if not value:
            return network_of(request.client)
        if len(value) > _MAX_KEY:
            return "#" + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return "=" + value
