"""The request head for a backend: the client's fields, cleaned, and the gateway's own fields."""

import math
from collections.abc import Callable
from typing import Final

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import HTTPError
from gproxy.http.grpc import TIMEOUT_FIELD, CallDeadline
from gproxy.http.header_names import SET_BY_GATEWAY
from gproxy.http.headers import Line
from gproxy.http.request import Request
from gproxy.http.rewrite import check_assigned, checked
from gproxy.http.trust import UNIX_PEER, UNKNOWN_PEER

_CRLF: Final = "\r\n"  # an f-string's braces take no backslash
_TIMEOUT: Final = f"{TIMEOUT_FIELD}: "
#: The fields of SET_ANEW that a route may keep; any other one would be sent twice.
_KEEPABLE: Final = frozenset({"authorization"})
#: The fields of trusted proxies and of handlers that the gateway continues.
_CONTINUED: Final = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "x-real-ip", "via", "te",
)  # fmt: skip
#: The methods that announce even an empty body (RFC 9110 section 8.6).
_HAS_CONTENT: Final = frozenset({"POST", "PUT", "PATCH"})


class RequestHeadWriter:
    """The writer of one route's request heads.

    `instance` is the id of the gateway in Via. `change` returns the target for a received path; `stripped` is the
    prefix that it removes, as it stands in a URL. `id_header` is the name of the header of ids, or empty. The fields of
    `retry_header` and `deadline_header` are those of a subclass.
    """

    def __init__(
        self,
        *,
        host: str,
        instance: str = "",
        keep: tuple[str, ...] = (),
        change: Callable[[str], str] | None = None,
        stripped: str = "",
        retry_header: str | None = None,
        deadline_header: str | None = None,
        id_header: str = "X-Request-ID",
    ) -> None:
        self._host = host
        #: The pseudonym of the gateway (RFC 9110 section 7.6.3).
        self._pseudonym = f"gproxy-{instance}"
        self._retry_header, self._deadline_header = retry_header, deadline_header
        self._id_header = id_header
        self._dropped = SET_BY_GATEWAY - {"x-request-id"} - ({name.lower() for name in keep} & _KEEPABLE)
        self._dropped |= {name.lower() for name in (id_header, retry_header, deadline_header) if name}
        self._change = change
        self._stripped = stripped
        self._prefix_line = _prefix_line(None, self._stripped)
        if stripped:
            self._dropped |= {"x-forwarded-prefix"}

    def __call__(self, request: Request, authority: str) -> bytes:
        """Return the head for one attempt. Raise HTTPError for a request that has passed here before.

        `authority` is the Host of a request without one.
        """
        return self._text(request, authority).encode("latin-1")

    def lines(self, request: Request, authority: str) -> list[Line]:
        """Return the lines of the head's fields, in order. Raise HTTPError for a request that has passed here before.

        `authority` is the Host of a request without one.
        """
        lines = self._text(request, authority).split(_CRLF)[1:-2]
        deadline = request.deadline
        if isinstance(deadline, CallDeadline):  # a backend gets the time that is left of the call
            return [f"{_TIMEOUT}{deadline.written}" if line.lower().startswith(_TIMEOUT) else line for line in lines]
        return lines

    def target(self, request: Request) -> str:
        """Return the target of the request line."""
        return request.target if self._change is None else self._changed(request, self._change)

    def _text(self, request: Request, authority: str) -> str:
        if request.is_rewritten:
            check_assigned(request.method, request.host)
        headers = request.headers
        lines = headers.lines_without(self._dropped)
        host = request.host if self._host == "client" else "" if self._host == "backend" else self._host
        host = host or authority  # HTTP/1.0 may come without a Host
        target = self.target(request)
        received = request.received
        chain, client = _written(received.peer), _written(request.client)
        proto, forwarded_host = request.scheme, request.host
        earlier = ""  # in Via
        own = self._prefix_line
        if headers.has_any(_CONTINUED) or request.upgrade:  # from a trusted proxy, or set by a handler
            own = _prefix_line(headers.get("x-forwarded-prefix"), self._stripped) + _connection_lines(request)
            chain = _joined(headers.get("x-forwarded-for"), chain)
            proto = headers.get("x-forwarded-proto") or proto
            forwarded_host = headers.get("x-forwarded-host") or forwarded_host
            if before := headers.get("via"):
                self._reject_loop(before)
                earlier = f"{before}, "
            client = headers.get("x-real-ip") or client
        framing = "" if request.body is NO_BODY and request.method not in _HAS_CONTENT else _body_lines(request.body)
        return (
            f"{request.method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}X-Forwarded-For: {chain}\r\n"
            f"X-Real-IP: {client}\r\nX-Forwarded-Proto: {proto}\r\n"
            f"{f'X-Forwarded-Host: {forwarded_host}{_CRLF}' if forwarded_host else ''}"
            f"{f'{self._id_header}: {request.id}{_CRLF}' if self._id_header else ''}"
            f"Via: {earlier}{received.via} {self._pseudonym}\r\n{framing}{own}\r\n"
        )

    def _reject_loop(self, via: str) -> None:
        """Raise HTTPError if the Via of the request names this gateway: a backend leads back to it."""
        if self._pseudonym in via:
            headers = {"Proxy-Status": "gproxy; error=proxy_loop_detected"}
            raise HTTPError(508, "the request has come back to this gateway", headers, reason="loop")

    @staticmethod
    def _changed(request: Request, change: Callable[[str], str]) -> str:
        target = change(request.path)
        return checked(f"{target}?{request.query}" if request.query else target)


def _prefix_line(before: str | None, stripped: str) -> str:
    """Return the X-Forwarded-Prefix line, with which a backend writes links that lead back to this route."""
    return f"X-Forwarded-Prefix: {_joined(before, stripped)}\r\n" if stripped else ""


class AnnotatingRequestHeadWriter(RequestHeadWriter):
    """A writer that adds the number of earlier attempts, and the milliseconds until the deadline."""

    def _text(self, request: Request, authority: str) -> str:
        lines = ""
        if self._retry_header:
            lines = f"{self._retry_header}: {request.tries - 1}{_CRLF}"
        if self._deadline_header and (left := self._left(request, self._deadline_header)) < math.inf:
            lines += f"{self._deadline_header}: {int(left)}{_CRLF}"
        return f"{super()._text(request, authority)[:-2]}{lines}{_CRLF}"

    @staticmethod
    def _left(request: Request, header: str) -> float:
        """Return the milliseconds until the deadline, or the value of a trusted proxy if that is smaller.

        A value of an untrusted client was removed before.
        """
        received = request.headers.get(header) or ""
        left = request.deadline.remaining() * 1000
        return min(left, int(received)) if received.isascii() and received.isdecimal() and len(received) < 16 else left


def composer(
    settings: UpstreamSettings,
    *,
    instance: str,
    keep: tuple[str, ...],
    change: Callable[[str], str] | None,
    stripped: str,
    id_header: str,
) -> RequestHeadWriter:
    """Return the writer for one route's requests to that upstream; the keywords are of the route and the gateway."""
    retry, deadline = settings.retry.header, settings.deadline_header
    writer = AnnotatingRequestHeadWriter if retry or deadline else RequestHeadWriter
    return writer(
        host=settings.host,
        instance=instance,
        keep=keep,
        change=change,
        stripped=stripped,
        retry_header=retry,
        deadline_header=deadline,
        id_header=id_header,
    )


def _written(peer: str) -> str:
    return UNKNOWN_PEER if peer == UNIX_PEER else peer


def _joined(before: str | None, own: str) -> str:
    return f"{before}, {own}" if before else own


def _connection_lines(request: Request) -> str:
    """Return the hop-by-hop fields: the protocol to upgrade to, or that the gateway accepts trailers."""
    if request.upgrade:
        return f"Connection: Upgrade\r\nUpgrade: {request.upgrade}\r\n"
    return "Connection: TE\r\nTE: trailers\r\n" if request.headers.lookup("te") is not None else ""


def _body_lines(body: Body) -> str:
    framing = "Transfer-Encoding: chunked\r\n" if body.length is None else f"Content-Length: {body.length}\r\n"
    return framing if body.on_first_read is None else f"{framing}Expect: 100-continue\r\n"
