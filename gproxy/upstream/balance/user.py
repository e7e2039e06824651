"""A policy that the user has written."""

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.upstream.backend import Backend
from gproxy.upstream.balance.policy import BalancingPolicy

_log = logging.getLogger("gproxy")


class UserPolicy(BalancingPolicy):
    """Asks `function(backends, request)`; what it does wrong costs this request only, and a line in the log.

    Raises HTTPError 500 then; what it raises of HTTPError itself is its answer to the client.
    """

    def __init__(self, name: str, function: Callable[[Sequence[Backend], Request], Any]) -> None:
        super().__init__()
        self._name = name
        self._function = function

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        try:
            picked = self._function(backends, request)
        except HTTPError:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = f"raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            failed = self._failed(request, said)
            failed.__cause__ = error  # compiled, `from` would not say so
            raise failed from error
        if picked is None or (isinstance(picked, Backend) and picked in backends):
            return picked
        raise self._failed(request, f"returned a {type(picked).__name__} that is none of the backends it was given")

    def _failed(self, request: Request, said: str) -> HTTPError:
        _log.error("%s %s %s: balance = %s %s", request.id, request.method, request.path, self._name, said)
        headers = {"Proxy-Status": "gproxy; error=proxy_internal_error"}
        return HTTPError(500, "no backend could be picked", headers, reason="balance_error")
