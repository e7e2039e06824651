"""A token that the configured jwt handler accepts: `gproxy token`."""

import time

from gproxy.config.units import parse_seconds
from gproxy.gateway.build import build
from gproxy.handlers.jwt import JWT
from gproxy.runtime import Runtime


def sign(config: str, subject: str, role: str | None, ttl: str, name: str | None = None) -> str:
    """The token, valid for `ttl` (`1h`). Raises ConfigError, ValueError if there is no handler that can sign."""
    settings, gateway = build(config)
    found = {key: handler for key, handler in gateway.handlers.items() if isinstance(handler, JWT)}
    if name is not None and name not in found:
        raise ValueError(f"no jwt handler named '{name}'; there are: {', '.join(found) or 'none'}")
    if not found:
        raise ValueError(f"{config} has no jwt handler")
    if len(found) > 1 and name is None:
        raise ValueError(f"there are several jwt handlers, say which with --handler: {', '.join(found)}")
    handler = found[name] if name else next(iter(found.values()))
    handler.open(Runtime(state_dir=settings.server.state_dir))
    claims = {"sub": subject} | ({"role": role} if role else {})
    return handler.sign(claims, float(parse_seconds(ttl)), time.time())
