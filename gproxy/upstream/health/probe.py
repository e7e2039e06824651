"""A probe of a backend: one request, and the check of its response."""

from typing import Final

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.http.headers import Headers, Line
from gproxy.http.request import Received, Request
from gproxy.http.response import ResponseHead
from gproxy.runtime import Bounded, silent_timeout
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.failure import failure_of, is_shortage

#: The longest part of a body that is searched, in bytes.
_BODY: Final = 64 * 1024


class ProbeHead:
    """The writer of the heads of probes."""

    def __init__(self, settings: UpstreamSettings) -> None:
        literal = "" if settings.host in ("client", "backend") else settings.host
        self._host = settings.health.host or literal
        fields = Headers({"User-Agent": "gproxy-health"})
        fields.update(settings.health.headers)
        self._lines = [*(f"{name}: {value}" for name, value in fields.items()), "Connection: close"]

    def __call__(self, request: Request, authority: str) -> bytes:
        """Return the head of HTTP/1.1."""
        line = f"{request.method} {self.target(request)} HTTP/1.1"
        return "\r\n".join([line, *self.lines(request, authority), "", ""]).encode("latin-1")

    def lines(self, request: Request, authority: str) -> list[Line]:  # noqa: ARG002 all probes have the same
        """Return the lines of the head's fields, in order."""
        return [f"Host: {self._host or authority}", *self._lines]

    def target(self, request: Request) -> str:
        """Return the target of the request line."""
        return request.target


class Probe:
    """A request to a backend's health path, and the check of its response."""

    def __init__(self, settings: UpstreamSettings, bounded: Bounded = silent_timeout) -> None:
        self._settings = settings
        self._bounded = bounded
        self._head = ProbeHead(settings)
        self._statuses = as_set(settings.health.status)
        self._body = settings.health.body.compile() if settings.health.body else None

    def __call__(self, backend: Backend) -> str | None:
        """Return why the backend is unhealthy; "" if it is healthy, None if the gateway could not send the probe.

        A probe takes `health_timeout` at most.
        """
        with self._bounded(self._settings.health.timeout):
            try:
                return self._ask(backend)
            except Exception as error:  # noqa: BLE001 whatever fails, the probe has failed
                failure = failure_of(error)
                return None if is_shortage(error) else failure.reason if failure else type(error).__name__
        return "timeout"

    def _ask(self, backend: Backend) -> str:
        connection = backend.dial(self._settings.health.timeout)
        try:
            return self._ask_on(connection, backend)
        finally:
            connection.close()

    def _ask_on(self, connection: BackendConnection, backend: Backend) -> str:
        path = self._settings.health.path or "/"
        request = Request(Received("GET", path, 1, Headers(), ""), Headers(), backend.authority, path, "")
        answer = connection.send_request(self._head, request, backend.authority)
        if answer.status not in self._statuses:
            return f"status {answer.status}"
        if self._body and not self._body.search(_beginning(connection, answer)):
            return "body"
        return ""


def _beginning(connection: BackendConnection, answer: ResponseHead) -> bytes:
    """Return the beginning of the body, up to the searched size."""
    data, rest = connection.receive_body(answer.framing)
    while rest is not None and len(data) < _BODY and (piece := rest.next_piece()):
        data += piece
    return bytes(data[:_BODY])
