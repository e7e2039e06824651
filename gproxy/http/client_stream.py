"""The client's side of one exchange, as the gateway and its upstreams use it."""

from typing import Any, Protocol

from gproxy.http.body import Body
from gproxy.http.headers import Headers


class Readable(Protocol):
    """A channel, or a stream of a connection, that may become readable."""

    has_event: bool


class Waiter(Protocol):
    """A callback of the loop for a stream that is readable or has ended; a greenlet is one."""

    def switch(self, stream: Any, /) -> object: ...  # noqa: ANN401 each waiter knows its kind of stream


class InterimResponse(Protocol):
    """The head of a backend's 1xx response (RFC 9110 section 15.2)."""

    @property
    def status(self) -> int: ...
    @property
    def phrase(self) -> str: ...
    @property
    def headers(self) -> Headers: ...


class ClientStream(Protocol):
    """The client of one exchange. HTTP/1 has one connection for it, so ClientChannel implements it."""

    #: Has the client left?
    is_closed: bool

    def in_own_greenlet(self) -> bool:
        """Return whether the greenlet that serves this client calls; its alarm reaches no other one."""

    def can_detect_close(self) -> bool:
        """Return whether the end of the client can be seen: not behind unread bytes."""

    def is_gone(self) -> bool:
        """Return whether the client has closed; what it has sent instead goes into the buffer."""

    def has_left(self) -> bool:
        """Return whether the client has ended its side, behind whatever it has sent before."""

    def watch(self, waiter: Waiter | None, /) -> Waiter | None:
        """Call `waiter.switch(stream)` when there is something to read; return the waiter before it."""

    def read(self, limit: int, /) -> bytes:
        """Return body bytes. Raises ClientGone, Expired, Interrupted."""

    def interrupt_reads(self, peer: Readable | None, /) -> None:
        """Raise Interrupted in reads once `peer` is readable: a backend that answers during the upload."""

    def send_interim(self, head: InterimResponse, body: Body, /) -> None:
        """Pass an interim response on."""

    def read_ahead(self, limit: int, /) -> None:
        """Keep up to so many bytes of the response while the client reads slowly, so that its source is read on."""

    def start_tunnel(self) -> None:
        """End the deadline: from here on bytes go both ways, under an idle limit."""

    def shut_writing(self) -> None:
        """Tell the client that no more comes."""
