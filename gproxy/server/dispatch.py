"""One request answered, whatever its protocol: gateway, response, the reason of a break, the record.

What differs between the protocols is in an Output: HTTP/1 ends the connection where HTTP/2 resets a stream.
"""

import logging
from time import monotonic
from typing import Final

from greenlet import GreenletExit

from gproxy.gateway.gateway import Gateway
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.headers import Headers
from gproxy.http.phase import BODY
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.upstream.errors import BrokenBodyError

#: The reason for a body whose iteration raises something unforeseen.
_HANDLER_ERROR: Final = "handler_error"

_log = logging.getLogger("gproxy")


class Output:
    """The way of responses to a client. PERF: a class, not a protocol, so that calls are native.

    keep: True if the connection stays open after the response. sent: bytes sent so far of the present body.
    """

    __slots__ = ("keep", "sent")

    def __init__(self) -> None:
        self.keep = False
        self.sent = 0

    def leave(self, body: Body) -> None:
        """Decide, before the response is sent, what becomes of a request body that was not read to its end."""
        raise NotImplementedError

    def send(self, response: Response, method: str, minor: int) -> None:
        """Send the whole response. Raises ClientGone, and any exception of the body."""
        raise NotImplementedError

    def why_gone(self) -> tuple[int, str]:
        """Return status and reason of a request whose client is gone."""
        return 499, "client_gone"

    def give_up(self) -> None:
        """Discard what is kept for the client, and count it as not sent: the response ends here."""
        raise NotImplementedError

    def abort(self) -> None:
        """End a response whose body has failed, so that the client cannot take it for complete."""
        raise NotImplementedError

    def end(self) -> None:
        """Release the request, and set no time limit any more."""
        raise NotImplementedError


def dispatch(request: Request, started: float, out: Output, gateway: Gateway, runtime: Runtime) -> None:
    """Answer the request and record the exchange; `started` is when its first byte came, on the monotonic clock."""
    received, body = request.received, request.body
    status = 499
    try:
        response = gateway(request)
        if runtime.draining:  # checked here, since draining may begin during the exchange
            out.keep = False
        if body is not NO_BODY and not body.done:
            out.leave(body)
        try:
            request.phase = BODY
            out.send(response, received.method, received.minor)
        finally:
            status = response.status  # afterwards: HTTP/2 answers a CONNECT only with a tunnel or an error
            response.close()
    except ClientGone:
        status, request.reason = out.why_gone()
        out.keep = False
        out.give_up()
    except GreenletExit:
        raise
    except BaseException as error:  # noqa: BLE001 a body of a handler may raise anything
        note_break(request, error, runtime)
        out.keep = False
        out.give_up()
        out.abort()
    finally:
        out.end()
        request.end()
        gateway.finish(request.conclude(status, monotonic() - started, out.sent))


def add_hsts(headers: Headers, policy: str) -> None:
    """Add Strict-Transport-Security (RFC 6797 section 7.1) to a response over TLS unless the backend sends it."""
    if headers.lookup("strict-transport-security") is None:
        headers.put("Strict-Transport-Security", "strict-transport-security", policy)


def note_break(request: Request, error: BaseException, runtime: Runtime) -> None:
    """Note and log why a response breaks off after its head."""
    request.reason = reason = _reason_after_head(error)
    if reason == _HANDLER_ERROR:
        _log.error("%s %s %s: response body failed", request.id, request.method, request.path, exc_info=error)
    _log_broken_response(request, error, runtime)


def _reason_after_head(error: BaseException) -> str:
    """Return why a response is broken off, in one word for the access log."""
    if isinstance(error, Expired):
        return error.limit.reason_after_head or TimeLimit.DEADLINE.reason_after_head
    if isinstance(error, BrokenBodyError):
        return "backend_reset"
    # an HTTPError is of an upload that is read beside the response
    return error.reason if isinstance(error, HTTPError) else _HANDLER_ERROR


def _log_broken_response(request: Request, error: BaseException, runtime: Runtime) -> None:
    """Log the first broken response of each backend and reason, count the others; log every one that is cut."""
    by = f"backend {request.backend}: " if request.backend else ""
    why = error.limit.cut if isinstance(error, Expired) else f": {str(error) or request.reason}"
    message = f"%s %s %s: {by}response broken off%s"
    arguments = request.id, request.method, request.path, why
    if request.reason in ("draining", "cut"):
        runtime.log.warning(message, *arguments)
    else:
        runtime.throttle.warn(f"{by}response broken off: {request.reason}", message, *arguments)
