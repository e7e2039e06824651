"""The token of an inspected request, as a call of the test kit that makes another one with the same claims."""

import base64
from collections.abc import Mapping
from typing import Any, Final

from gproxy.config.sections.settings import Settings
from gproxy.dev.python_text import call, json_value, literal

#: The claims that the kit sets itself.
_OF_TIME: Final = frozenset({"exp", "iat", "nbf", "sub"})


def token_call(entry: Mapping[str, Any], settings: Settings) -> str | None:
    """Return the source of `gproxy.token(…)` for a bearer token that a handler with a secret has accepted; else None.

    So the test needs neither the secret token nor its lifetime.
    """
    signers = [name for name, found in settings.handlers.items() if found.use == "jwt" and "secret" in found.options]
    handler = entry["auth"]
    if handler not in signers:
        return None
    values = [value for name, value in entry["request"]["headers"] if name.lower() == "authorization"]
    claims = _claims(values[0]) if len(values) == 1 else None
    if claims is None or not isinstance(claims.get("sub"), str):
        return None
    arguments = [literal(claims["sub"])]
    further = {name: value for name, value in claims.items() if name not in _OF_TIME}
    plain = {name: value for name, value in further.items() if name.isidentifier() and name not in {"ttl", "handler"}}
    others = {name: value for name, value in further.items() if name not in plain}
    arguments += [f"{name}={literal(value)}" for name, value in plain.items()]
    arguments += [f"handler={literal(handler)}"] if len(signers) > 1 else []
    arguments += [f"**{literal(others)}"] if others and not set(others) & {"ttl", "handler"} else []
    return call("gproxy.token", *arguments)


def _claims(value: str) -> dict[str, Any] | None:
    """Return the claims of a field `Bearer TOKEN`, unchecked; None if that is no JWT with HS*."""
    scheme, _, token = value.partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return None
    try:
        head, claims = (json_value(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except ValueError:
        return None
    is_symmetric = isinstance(head, dict) and str(head.get("alg", "")).startswith("HS")
    return claims if is_symmetric and isinstance(claims, dict) else None
