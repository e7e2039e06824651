"""Tokens for the recorded users, signed with the secret of a jwt handler."""

import time
from typing import Final

from gproxy.gateway.build import load
from gproxy.handlers.jwt import JWT
from gproxy.recording.record import RecordedExchange
from gproxy.runtime import Runtime

#: Seconds for which a token is good.
_LIFETIME: Final = 3600.0


class Signer:
    """The signer of tokens with the secrets of the settings.

    Tokens are good from the moment of the recording on if `in_virtual_time`, else from now on. Raises ConfigError, and
    ValueError if no handler can sign.
    """

    def __init__(self, config: str, *, in_virtual_time: bool) -> None:
        settings = load(config)
        found = {name: one.handler for name, one in settings.handlers.items()}
        self._others = {name for name, handler in found.items() if not isinstance(handler, JWT)}
        self._handlers = {
            name: handler for name, handler in found.items() if isinstance(handler, JWT) and handler.secret is not None
        }
        if not self._handlers:
            raise ValueError(f"--sign: {config} has no jwt handler with a secret")
        runtime = Runtime.of(settings)
        for handler in self._handlers.values():
            handler.open(runtime)
        self._in_virtual_time = in_virtual_time

    def __call__(self, exchange: RecordedExchange) -> str:
        """Return a token for the user of the exchange, from the handler that has identified the user.

        Without a user, or if another kind of handler has identified the user, there is none. Raises ValueError.
        """
        if not exchange.user or exchange.auth in self._others:
            return ""
        handler = self._handlers.get(exchange.auth) or next(iter(self._handlers.values()))
        now = exchange.time if self._in_virtual_time else time.time()
        return handler.sign({handler.user or "sub": exchange.user}, _LIFETIME, now)
