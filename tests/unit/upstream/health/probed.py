"""A backend that is probed, over a scripted connection."""

from types import SimpleNamespace

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.upstream.health.state import BackendHealth
from gproxy.upstream.http1.response_head import parse_response_head


class Connection:
    """Answers with a status and the pieces of a body."""

    def __init__(self, status, pieces):
        self._status = status
        self._pieces = [*pieces, b""]
        self.is_closed = False

    def send_request(self, write_head, request, authority):
        self.head, self.path = write_head(request, authority), request.path
        if isinstance(self._status, BaseException):
            raise self._status
        return parse_response_head(f"HTTP/1.1 {self._status} X\r\nConnection: close\r\n\r\n".encode(), "GET")

    def receive_body(self, framing):
        return self._pieces.pop(0), SimpleNamespace(next_piece=lambda: self._pieces.pop(0))

    def close(self):
        self.is_closed = True


class Backend:
    """Dials a scripted connection, or fails to."""

    authority = "a.test:81"

    def __init__(self, status=200, *pieces, error=None):
        self.connection = Connection(status, pieces)
        self.error = error
        self.health = BackendHealth("unknown")

    def dial(self, timeout):
        self.timeout = timeout
        if self.error is not None:
            raise self.error
        return self.connection


def settings(**options):
    parsed = {"health_path": "/up", **options}
    return construct(UpstreamSettings, name="u", backends=(BackendURL("http", "a.test", 81),), **parsed)
