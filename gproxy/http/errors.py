"""Exceptions for broken messages and error responses, and the reason of each status."""

from typing import Final

from gproxy.http.headers import Headers, HeadersLike

#: The default reason in the access log, by status, for exceptions without a reason of their own.
REASONS = {
    400: "bad_request",
    401: "auth_invalid",
    403: "forbidden",
    404: "no_route",
    405: "method",
    408: "client_timeout",
    413: "body_too_large",
    414: "target_too_long",
    417: "expectation",
    421: "bad_request",
    429: "rate_limited",
    431: "header_too_large",
    499: "client_gone",
    500: "handler_error",
    501: "bad_request",
    502: "backend_protocol",
    503: "none_available",
    504: "backend_timeout",
    505: "bad_request",
    508: "loop",
}


class HTTPError(Exception):
    """An error response: raised by any handler, answered with this status as problem+json.

    `detail` is sent to the client. `reason` is the one word in the access log; the default depends on the status.
    Raises ValueError for a status outside 400 to 599, and TypeError for one that is no number.
    """

    def __init__(self, status: int, detail: str = "", headers: HeadersLike = (), *, reason: str = "") -> None:
        if not isinstance(status, int):
            raise TypeError(f"HTTPError: the first argument is a status, not {status!r}")
        if not 400 <= status <= 599:
            raise ValueError(f"HTTPError is for statuses from 400 to 599, not {status}")
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = Headers(headers)
        self.reason = reason or REASONS.get(status, "handler")

    def __str__(self) -> str:
        return f"{self.status} {self.detail}".rstrip()


#: Method, path and protocol of a message of which nothing is readable.
NO_LINE: Final = ("", "", "")


class BadMessage(Exception):
    """A violation of the grammar by a peer; `status` is the status for the client.

    `line` is what is readable of a request that is no text on the wire: method, path and protocol, for the log.
    """

    def __init__(self, detail: str, status: int = 400, line: tuple[str, str, str] = NO_LINE) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.line = line


class Incomplete(BadMessage):
    """A connection that the peer closed in the middle of a message (RFC 9112 section 8)."""


class ClientGone(BaseException):
    """The end of a request whose client closed the connection.

    Not an Exception: a handler's `except Exception` must not turn it into a response.
    """
