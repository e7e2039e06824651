"""The key by which handlers count a client: its address, its user, or the value of a claim or a header."""

import re
from hashlib import blake2b
from typing import Final

from gproxy.http.header_names import TOKEN_CHAR
from gproxy.http.request import Request
from gproxy.http.trust import network_of

_is_key: Final = re.compile(rf"ip|user|claim:(?P<claim>\S+)|header:(?P<header>{TOKEN_CHAR}+)").fullmatch
#: A user or a value up to this length is the key itself, a longer one its digest: this bounds the memory.
_MAX_KEY: Final = 64


class ClientKey:
    """The key of a client, as the option `key` names it. A client without such a value has that of its address."""

    __slots__ = ("_by_address", "_claim", "_header")

    def __init__(self, key: str) -> None:
        """Parse the option. Raises ValueError."""
        match = _is_key(key)
        if match is None:
            raise ValueError(f"key: {key!r} is not a key; expected ip, user, claim:NAME or header:NAME")
        self._by_address = key == "ip"
        self._claim: str | None = match["claim"]
        self._header: str | None = match["header"]

    @property
    def is_of_identity(self) -> bool:
        """Return whether the identity of the request decides."""
        return not self._by_address and self._header is None

    def of(self, request: Request) -> str:
        """Return the key of the request's client."""
        return network_of(request.client) if self._by_address else self._by_value(request)

    def _by_value(self, request: Request) -> str:
        """Return the key. Its prefix distinguishes a value from an equal address."""
        value = request.headers.get(self._header) if self._header else self._of_identity(request)
        if not value:
            return network_of(request.client)
        if len(value) > _MAX_KEY:
            return "#" + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return "=" + value

    def _of_identity(self, request: Request) -> str:
        """Return the claim with its issuer, or who the client is; "" if that is unknown.

        A handler of a user may name the user without an identity.
        """
        identity = request.identity
        if identity is None:
            return "" if self._claim is not None else request.user
        if self._claim is not None:
            value = identity.claim_text(self._claim)
            return f"{identity.issuer.replace(' ', '%20')} {value}" if value else ""
        return identity.id if identity.user else ""
