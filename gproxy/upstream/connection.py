"""The connection of one attempt at a backend, as the forwarder uses it: what HTTP/1.1 and HTTP/2 have in common."""

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

import gevent

from gproxy.http.client_stream import ClientStream
from gproxy.http.framing import Reader
from gproxy.http.request import HeadWriter, Request
from gproxy.http.response import ResponseHead

#: A function that takes the seconds until the response head, and whether it arrived.
Observer = Callable[[float, bool], None]
#: How long an `Expect: 100-continue` waits for a backend that may not know it, in seconds.
CONTINUE_WAIT: Final = 1.0


class UploadState(Enum):
    """The states of a request's body on its way to the backend."""

    #: The request has no body.
    NONE = 0
    #: Not sent to the end: `send_request` sends the body, unless the backend has responded meanwhile.
    PENDING = 1
    #: A greenlet sends the rest while the response is read.
    BESIDE_RESPONSE = 2
    #: Sent to the end.
    DONE = 3
    #: Broken off by the client, the backend, a time limit or the end of the connection.
    FAILED = 4


_NO_UPLOAD: Final = UploadState.NONE


class TunnelEnd(Protocol):
    """The backend's end of a tunnel: bytes both ways."""

    def read(self, limit: int, /) -> bytes:
        """Return at most `limit` bytes; b"" once the backend has ended its direction. Raises OSError."""

    def send(self, data: bytes, /) -> None:
        """Send all data. Raises OSError."""

    def shut_writing(self) -> None:
        """End the sending direction."""

    def shut(self) -> None:
        """End both directions."""


class BackendConnection:
    """A connection with one exchange at a time: one of HTTP/1.1, or a stream of HTTP/2.

    PERF: a class, because compiled code calls methods of a protocol by their names.
    """

    def __init__(self, name: str, observe: Observer | None) -> None:
        #: The backend's name.
        self._name = name
        self._observe = observe
        #: True once the connection has ended because it was idle for too long.
        self.is_stale = False
        #: The state of the present request's body.
        self.upload = _NO_UPLOAD
        #: The greenlet of the state BESIDE_RESPONSE.
        self._uploader: gevent.Greenlet | None = None
        #: The client's error that has ended an upload beside the response.
        self.upload_error: BaseException | None = None

    def send_request(self, write_head: HeadWriter, request: Request, authority: str) -> ResponseHead:
        """Send the request, forward interim responses, and return the head of the final one.

        Report the duration to the observer, unless the request is cut. Raise OSError, Incomplete, BadMessage or one of
        `upstream.errors` for the connection to the backend, and HTTPError or ClientGone for the client.
        """
        raise NotImplementedError

    def watch_client(self, client: ClientStream | None) -> None:
        """Notice that this client leaves while the connection waits for the backend."""
        raise NotImplementedError

    def receive_body(self, framing: int) -> "tuple[bytes, Reader | None]":
        """Return the part of the body that arrived with the head, and a reader for the rest; None if complete."""
        raise NotImplementedError

    def continue_upload(self, request: Request) -> None:
        """Continue the upload beside the response; only an error response ends it."""
        raise NotImplementedError

    def join_upload(self) -> None:
        """Wait until an upload beside the response has ended, if there is one."""
        if self._uploader is not None:
            self._uploader.join()

    def is_reusable(self, rest: Reader | None) -> bool:
        """Return whether the next request may use it."""
        raise NotImplementedError

    def start_tunnel(self) -> TunnelEnd:
        """Return the backend's end of a tunnel, after a response that has switched protocols."""
        raise NotImplementedError

    def close(self) -> None:
        """End the exchange, and an upload beside the response; do nothing after that."""
        raise NotImplementedError

    def _forward_interim(self, head: ResponseHead, request: Request) -> None:
        """Forward an interim response (RFC 9110 section 15.2); a 100 only to a client that waits for it."""
        if request.client_stream is not None and request.received.minor and not request.is_subrequest:
            request.client_stream.send_interim(head, request.body)
