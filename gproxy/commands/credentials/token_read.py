"""`gproxy token --read`: what a token holds, and what the configured jwt handlers say about each part of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gproxy.gateway.build import load
from gproxy.handlers.jwt import JWT
from gproxy.identity.errors import Untrusted
from gproxy.identity.examination import first_failure, lines
from gproxy.identity.tokens.signatures import read_unverified

#: What users copy with a token.
_PREFIXES = ("authorization:", "bearer ")


def read(config: str, text: str, name: str | None = None) -> tuple[str, bool]:
    """Return the report on the token in `text`, and whether a handler may accept the token.

    Raise ConfigError, or ValueError without a token, or without a jwt handler of this `name`.
    """
    token = _bare(text)
    if not token:
        raise ValueError("--read: expected a token on standard input")
    settings = load(config)
    handlers = {key: one.handler for key, one in settings.handlers.items() if isinstance(one.handler, JWT)}
    if name is not None and name not in handlers:
        raise ValueError(f"no jwt handler named '{name}'; expected one of: {', '.join(handlers) or 'none'}")
    parts, is_accepted = _content(token), False
    for key, handler in handlers.items():
        if name in {None, key}:
            checks = handler.examine(token, handler.known_keys(settings.server.state_dir)).checks
            is_good = first_failure(checks) is None
            undecided = [check.name for check in checks if check.holds is None]
            verdict = f"accepted{f', if the {undecided[0]} is good' if undecided else ''}" if is_good else "rejected"
            parts.append(_block(f"handler {key}: {verdict}", lines(checks)))
            is_accepted = is_accepted or is_good
    return "\n\n".join(parts), is_accepted


def _bare(text: str) -> str:
    """Return the token without blanks, and without the name of the field and the scheme before it."""
    token = text.strip()
    for prefix in _PREFIXES:
        if token.lower().startswith(prefix):
            token = token[len(prefix) :].strip()
    return token


def _content(token: str) -> list[str]:
    try:
        header, claims = read_unverified(token.encode("utf-8", "replace"))
    except Untrusted:
        return []
    return [_block("header", _json(header)), _block("claims", _json(claims))]


def _json(content: Mapping[str, Any]) -> list[str]:
    return json.dumps(content, indent=2).split("\n")  # in ASCII: no character that a terminal obeys


def _block(title: str, rows: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {row}" for row in rows)])
