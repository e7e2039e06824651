"""Identities of clients. `Identity` is the value, `Identifier` the base class of handlers that users write."""

from gproxy.http.identity import Identity
from gproxy.identity.identifier import Identifier

__all__ = ["Identifier", "Identity"]
