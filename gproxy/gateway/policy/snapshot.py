"""A request as it was before a handler, and a response as `next` gave it: what a failed handler has changed is undone.

A snapshot is made only for handlers whose requests go on after a failure.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response


class RequestSnapshot:
    """The parts of a request that a handler may change; bytes of a body that it has read without `buffer` are lost."""

    __slots__ = (
        "_auth", "_body", "_body_limit", "_client", "_context", "_headers", "_host", "_id", "_identity", "_method",
        "_on_endless", "_path", "_query", "_reason", "_scheme", "_upgrade", "_user",
    )  # fmt: skip

    def __init__(self, request: Request) -> None:
        self._headers = request.headers.copy()
        self._method = request.method
        self._host = request.host
        self._path = request.path
        self._query = request.query
        self._scheme = request.scheme
        self._body = request.body
        self._body_limit = request.body.limit
        self._upgrade = request.upgrade
        self._identity = request.identity
        exchange = request.exchange
        self._user, self._auth = exchange.user, exchange.auth
        self._client, self._id, self._reason = exchange.client, exchange.id, exchange.reason
        self._on_endless = request.deadline.on_endless
        self._context = request.context.copy() if request.has_context else None

    def restore(self, request: Request) -> bool:
        """Restore the request. Return False, and change nothing, if a part of its body is lost."""
        body = self._body
        if not body.can_begin_again:
            return False
        body.rewind()
        body.limit = self._body_limit
        request.body = body
        request.headers = self._headers
        request.method, request.host = self._method, self._host
        request.path, request.query = self._path, self._query
        request.scheme, request.upgrade, request.identity = self._scheme, self._upgrade, self._identity
        exchange = request.exchange
        exchange.user, exchange.auth = self._user, self._auth
        exchange.client, exchange.id, exchange.reason = self._client, self._id, self._reason
        request.deadline.on_endless = self._on_endless
        if request.has_context:
            request.context = {} if self._context is None else self._context
        return True


class _ReadBody:
    """A body that keeps the pieces that are read from it, until `release`."""

    __slots__ = ("_kept", "_rest", "whole")

    def __init__(self, body: Iterable[bytes]) -> None:
        #: The body itself.
        self.whole = body
        self._rest: Iterator[bytes] = iter(body)
        self._kept: list[bytes] | None = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._rest)
        if self._kept is not None:
            self._kept.append(piece)
        return piece

    def release(self) -> None:
        """Keep nothing any more."""
        self._kept = None

    def again(self) -> Iterable[bytes]:
        """Return the body from its beginning; to be called once."""
        return chain(self._kept, self._rest) if self._kept else self.whole


class Following:
    """The rest of the chain behind a handler, which keeps the last response as it was."""

    __slots__ = ("_body", "_headers", "_next", "_phrase", "_read", "_status", "called", "response", "trial")

    def __init__(self, next: Next, trial: int = 0) -> None:
        self._next = next
        #: The number of the handler's trial, if it is skipped; 0: this is none.
        self.trial = trial
        #: True once the handler has called it.
        self.called = False
        #: The last response; None before.
        self.response: Response | None = None

    def __call__(self, request: Request) -> Response:
        self.called = True
        response = self._next(request)
        self._status, self._phrase = response.status, response.phrase
        self._headers = response.headers.copy()
        body = response.raw_body
        self._body: bytes | Iterable[bytes] = body
        self._read: _ReadBody | None = None
        if not isinstance(body, bytes):
            self._read = _ReadBody(body)
            response.observe_body(self._read)
        self.response = response
        return response

    def release(self) -> None:
        """Keep nothing any more: the handler has returned."""
        response = self.response
        if response is None or self._read is None:
            return
        self._read.release()
        if response.raw_body is self._read:
            response.observe_body(self._body)

    def restored(self) -> Response:
        """Return the last response as `next` gave it. There must be one."""
        response = self.response
        assert response is not None  # noqa: S101 the caller has asked
        body = self._body if self._read is None else self._read.again()
        response.restore(self._status, self._phrase, self._headers, body)
        return response
