"""A balancing policy in user code."""

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
    """A policy that calls `function(backends, request)` of user code.

    An exception or a wrong result is logged, and the request fails with HTTPError 500. An HTTPError that the function
    raises goes to the client.
    """

    def __init__(self, name: str, function: Callable[[Sequence[Backend], Request], Any]) -> None:
        self._name = name
        self._function = function

    @property
    def origin(self) -> object:
        """The user's object: the function, or the instance that has it."""
        return getattr(self._function, "__self__", self._function)

    def pick(self, backends: Sequence[Backend], request: Request) -> Backend | None:
        try:
            picked = self._function(backends, request)
        except HTTPError:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            failed = self._failed(request, problem)
            failed.__cause__ = error  # mypyc: `from` does not set it in compiled code
            raise failed from error
        if picked is None or (isinstance(picked, Backend) and picked in backends):
            return picked
        raise self._failed(request, f"returned a {type(picked).__name__} that is not one of its backends")

    def _failed(self, request: Request, problem: str) -> HTTPError:
        _log.error("%s %s %s: balance = %s %s", request.id, request.method, request.path, self._name, problem)
        headers = {"Proxy-Status": "gproxy; error=proxy_internal_error"}
        return HTTPError(500, "the balancing policy failed", headers, reason="balance_error")
