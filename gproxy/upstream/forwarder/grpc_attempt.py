"""What the gRPC status of a response says about an attempt: its failure, which a retry may follow, or its backend's."""

from collections.abc import Callable

from gproxy.http.grpc import STATUS_FIELD, UNAVAILABLE, is_grpc
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.upstream.backend import Backend
from gproxy.upstream.failure import GRPC_UNAVAILABLE
from gproxy.upstream.forwarder.hedge import Outcome
from gproxy.upstream.health.passive import GRPCPassiveHealth
from gproxy.upstream.retry import FailedAttempt


class GRPCAttempt:
    """An attempt at a backend that may speak gRPC. With `may_retry` a response that is only UNAVAILABLE has failed."""

    def __init__(
        self, attempt: Callable[[Request, Backend], Outcome], passive: GRPCPassiveHealth, *, may_retry: bool
    ) -> None:
        self._attempt = attempt
        self._passive = passive
        self._may_retry = may_retry

    def __call__(self, request: Request, backend: Backend) -> Outcome:
        """Make the attempt, and return its outcome."""
        outcome = self._attempt(request, backend)
        if not isinstance(outcome, Response) or not is_grpc(outcome.headers):
            return outcome
        body, status = outcome.raw_body, outcome.headers.lookup(STATUS_FIELD)
        if status is None and not isinstance(body, bytes):
            outcome.on_close(lambda: self._passive.ended(request, backend, getattr(body, "trailers", ())))
        elif self._may_retry and status == UNAVAILABLE:
            return (FailedAttempt(backend, GRPC_UNAVAILABLE, None, outcome),)
        return outcome
