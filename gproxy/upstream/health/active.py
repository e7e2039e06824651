"""Active health checks: probes of each backend's health path, from the start on.

A probe is not an attempt: it has a connection of its own, without a lease, so limits, pools and counters ignore it.
"""

from collections.abc import Callable
from typing import Final

import gevent

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.http.response import ResponseHead
from gproxy.runtime import Bounded, Runtime, silent_timeout
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.failure import failure_of, is_shortage

#: The longest part of a body that is searched, in bytes.
_BODY: Final = 64 * 1024

#: A function that takes a decision of the probes: the backend, whether it passes, and why not.
Mark = Callable[[Backend, bool, str], None]


class ProbeHead:
    """The writer of the heads of probes."""

    def __init__(self, settings: UpstreamSettings) -> None:
        literal = "" if settings.host in ("client", "backend") else settings.host
        self._host = settings.health.host or literal
        fields = Headers({"User-Agent": "gproxy-health"})
        fields.update(settings.health.headers)
        self._pairs = [*fields.items(), ("Connection", "close")]

    def __call__(self, request: Request, authority: str) -> bytes:
        """Return the head of HTTP/1.1."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.fields(request, authority)])
        return f"{request.method} {self.target(request)} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

    def fields(self, request: Request, authority: str) -> list[tuple[str, str]]:  # noqa: ARG002 all probes have the same
        """Return the fields of the head as pairs, in order."""
        return [("Host", self._host or authority), *self._pairs]

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
            path = self._settings.health.path or "/"
            request = Request(Received("GET", path, 1, Headers(), ""), Headers(), backend.authority, path, "")
            answer = connection.send_request(self._head, request, backend.authority)
            if answer.status not in self._statuses:
                return f"status {answer.status}"
            if self._body and not self._body.search(_beginning(connection, answer)):
                return "body"
            return ""
        finally:
            connection.close()


def _beginning(connection: BackendConnection, answer: ResponseHead) -> bytes:
    """Return the beginning of the body, up to the searched size."""
    data, rest = connection.receive_body(answer.framing)
    while rest is not None and len(data) < _BODY and (piece := rest.next_piece()):
        data += piece
    return bytes(data[:_BODY])


class ActiveHealthCheck:
    """The health check of one backend; it sends probes between `start` and `stop`."""

    def __init__(self, settings: UpstreamSettings, backend: Backend, mark: Mark, runtime: Runtime) -> None:
        self._settings = settings
        self._backend = backend
        self._mark = mark
        self._runtime = runtime
        self._probe = Probe(settings, runtime.bounded)
        self._greenlet: gevent.Greenlet | None = None
        #: How many probes in a row have contradicted the present state.
        self._streak = 0

    def start(self) -> None:
        """Start the probes, the first one at once."""
        self._greenlet = self._greenlet or self._runtime.spawn(self._run)

    def stop(self) -> None:
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()

    def _run(self) -> None:
        while True:
            why_not = self._probe(self._backend)
            pause = self._settings.health.interval * (0.9 + self._runtime.random.random() / 5)
            self._backend.health.next_probe = self._runtime.monotonic() + pause
            if why_not is not None:
                self.judge(why_not)
            self._runtime.sleep(pause)

    def judge(self, why_not: str) -> None:
        """Count the result of a probe: `rise` good ones in a row pass a backend, `fall` bad ones fail it.

        The first probe decides alone.
        """
        good = not why_not
        if self._is_decisive(good):
            self._streak = 0
            self._mark(self._backend, good, why_not)

    def _is_decisive(self, good: bool) -> bool:
        health = self._backend.health
        if not health.is_probed or good == health.passes:
            return True
        self._streak += 1
        options = self._settings.health
        return self._streak >= (options.rise if good else options.fall)
