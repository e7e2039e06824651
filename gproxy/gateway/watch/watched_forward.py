"""The forward action of a watched chain: it notes the parts of each attempt in the time account."""

from functools import partial
from typing import Final

from gproxy.gateway.route_action import ForwardKind
from gproxy.gateway.watch.time_account import BACKEND, CONNECT, OTHER, PAUSE, QUEUE, Attempt, TimeAccount, account_of
from gproxy.gateway.watch.watched_chain import timed
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.upstream.backend import Backend
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.hedge import Outcome
from gproxy.upstream.http1.connection import HTTP1Connection


class WatchedForward(Forward):
    """Forward, which times connecting, the backend, and pauses. The attempts of a hedge count as the backend's time."""

    def _try(self, request: Request, backend: Backend) -> Outcome:
        account, clock = account_of(request), request.deadline.clock
        before, began = account.switch(BACKEND), clock()
        try:
            outcome = super()._try(request, backend)
        finally:
            account.switch(before)
        account.attempts.append(Attempt(backend.name, _words(outcome), clock() - began))
        return outcome

    def _lease(self, request: Request, backend: Backend) -> HTTP1Connection:
        account = account_of(request)
        before = account.switch(CONNECT)
        try:
            return super()._lease(request, backend)
        finally:
            account.switch(before)

    def _wait(self, request: Request, seconds: float) -> None:
        account: TimeAccount = account_of(request)
        before = account.switch(PAUSE)
        try:
            super()._wait(request, seconds)
        finally:
            account.switch(before)


#: The forward action of watched routes, with the time in the queue of the upstream.
WATCHED: Final = ForwardKind(WatchedForward, around_queue=partial(timed, QUEUE), inside_queue=partial(timed, OTHER))


def _words(outcome: Outcome) -> str:
    """Return the status of a response, or the reasons of the failures."""
    if isinstance(outcome, Response):
        return str(outcome.status)
    return ", ".join(failed.failure.reason for failed in outcome)
