"""`gproxy token`: signs a token that the configured jwt handler accepts."""

import time

from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.types import Seconds
from gproxy.gateway.build import load
from gproxy.handlers.jwt import JWT
from gproxy.runtime import Runtime


def sign(config: str, subject: str, role: str | None, ttl: str, name: str | None = None) -> str:
    """Return a token with the lifetime `ttl` (`1h`). Raise ConfigError, or ValueError if no handler can sign."""
    seconds = _lifetime(ttl)
    settings = load(config)
    found = {key: one.handler for key, one in settings.handlers.items() if isinstance(one.handler, JWT)}
    if name is not None and name not in found:
        raise ValueError(f"no jwt handler named '{name}'; expected one of: {', '.join(found) or 'none'}")
    if not found:
        raise ValueError(f"{config} has no jwt handler")
    if len(found) > 1 and name is None:
        raise ValueError(f"several jwt handlers; choose one with --handler: {', '.join(found)}")
    handler = found[name] if name else next(iter(found.values()))
    handler.open(Runtime.of(settings))
    claims = {"sub": subject} | ({"role": role} if role else {})
    return handler.sign(claims, seconds, time.time())


def _lifetime(ttl: str) -> float:
    try:
        seconds: float = convert(Seconds, ttl, lambda _: None)
    except Mistake as mistake:
        raise ValueError(f"--ttl: {mistake}") from None
    if not seconds:
        raise ValueError("--ttl: expected a lifetime of more than 0s")
    return seconds
