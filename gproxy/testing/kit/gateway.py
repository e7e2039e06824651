"""A whole gateway in the process of a test: real but for its connections, its clock and its random."""

import json
import logging
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import gevent
from greenlet import getcurrent

from gproxy.config.ini.files import SourceFile
from gproxy.config.load import Overrides
from gproxy.config.problems import nearest
from gproxy.config.sections.settings import Settings
from gproxy.gateway.build import build, load
from gproxy.gateway.listener_gateway import listener_gateway
from gproxy.handlers.jwt import JWT
from gproxy.http.deadline import Deadline
from gproxy.http.errors import BadMessage, ClientGone, HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.headers import Headers, HeadersLike
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.observe.access_fields import line_format
from gproxy.observe.access_logs import Unskipped
from gproxy.runtime import Runtime
from gproxy.runtime.served import serving
from gproxy.server.dispatch import note_break
from gproxy.state.cached import is_in_call, use_clock
from gproxy.testing.answers import KitAnswer, Refused, Reset, Slow
from gproxy.testing.kit.backend import KitBackend
from gproxy.testing.kit.client import CLIENT, ClientRequest, KitResponse, RequestParser, Sendable, pieces
from gproxy.testing.kit.clock import VirtualAlarm, VirtualClock
from gproxy.testing.kit.connections import KitNetwork, MakeBackend, MemorySocket
from gproxy.testing.kit.store import KitStore
from gproxy.upstream.discovery import Network

_NOTHING: Final[Overrides] = {}
_log: Final = logging.getLogger("gproxy")


@dataclass(frozen=True)
class Explanation:
    """The report of `gproxy explain` about a request, and the name of the route in it, empty without one."""

    route: str
    text: str

    def __str__(self) -> str:
        return self.text


class _Records(logging.Handler):
    """The records of the error log, from the level of a warning on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class KitGateway:
    """A gateway for a test, made of settings; use it in a `with`, which opens and closes it.

    `ini` is the text of the settings file at `path`; None reads that file. Another `seed` makes another random
    sequence. `state_dir` is the folder for state. `make_backend` makes the backends of each upstream. `overrides`
    replace options of the settings.
    """

    def __init__(
        self,
        ini: str | None,
        path: Path,
        *,
        state_dir: Path | None = None,
        clock: VirtualClock | None = None,
        seed: int = 0,
        make_backend: MakeBackend = KitBackend,
        overrides: Overrides = _NOTHING,
    ) -> None:
        #: The clock of the gateway and of its backends.
        self.clock = clock or VirtualClock()
        #: The access lines so far, with the fields that the settings choose.
        self.lines: list[dict[str, Any]] = []
        self._failures: list[BaseException] = []
        self._network = KitNetwork(self.clock, self._failures.append, make_backend)
        self._log = _Records()
        self._expected: list[str] = []
        self._leaks: list[str] = []
        self.settings = _settings(ini, path, state_dir, overrides)
        for name, upstream in self.settings.upstreams.items():
            self._network.name(name, upstream.backends)
        self.runtime = _runtime(self.settings, self.clock, seed)
        self._line = line_format("json", self.settings.log.field_names)
        network = Network(self._network.connect, self._network.look_up)
        whole = build(self.settings, self.runtime, [Unskipped(self.settings.log.skip, [self])], network)
        #: The gateway with all its parts.
        self._whole = whole
        address = next((one for one in self.settings.server.bind if not one.redirect), self.settings.server.bind[0])
        self._gateway = listener_gateway(whole, address, lambda _: False)
        self._parser = RequestParser(whole.trust, self.settings.server, self.clock)

    def __enter__(self) -> Self:
        _log.addHandler(self._log)
        use_clock(self.clock)
        try:
            gevent.spawn(self._open).get()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        with self.clock.background():
            self._whole.open()
            self._whole.begin()
            gevent.idle()  # background tasks begin

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all parts of the gateway."""
        try:
            self._whole.close()
            self.runtime.metrics.stop()
        finally:
            for connections in self._network.connections:
                connections.close()
            gevent.idle()  # requests under way end
            self.clock.close()
            use_clock(time.monotonic)
            _log.removeHandler(self._log)

    # What a test arranges.

    def backend(self, upstream: str, *answers: KitAnswer, at: str = "") -> KitBackend:
        """Return the backends of the upstream, which give these answers one after the other, the last one again.

        With `at`, HOST:PORT as in the settings, only that backend answers so. Without answers it keeps those of before,
        an empty 200 at first. Raises LookupError for an unknown name, and TypeError for what is no answer.
        """
        __tracebackhide__ = True
        found = self.settings.upstreams.get(upstream)
        if found is None:
            raise LookupError(f"no upstream {upstream!r}{_hint(upstream, self.settings.upstreams)}")
        places = [url.place for url in found.backends]
        if at and at not in places:
            raise LookupError(f"upstream {upstream} has no backend {at!r}{_hint(at, places)}")
        for one in answers:
            if not isinstance(one, Slow | Reset | Refused | Response) and not callable(one):
                raise TypeError(f"expected answer(…), slow(…) or a function; found {one!r}")
        backend = self._network.backend(f"{upstream}@{at}" if at else upstream)
        if answers:
            backend.answer_with(*answers)
        return backend

    def token(self, sub: str, *, ttl: float = 3600.0, handler: str = "", **claims: object) -> str:
        """Return a token of this user, which a `jwt` handler with a secret accepts for `ttl` seconds of the clock.

        `handler` names one of several. Raises LookupError if there is none.
        """
        __tracebackhide__ = True
        signers = {name: one for name, one in self._whole.handlers.items() if isinstance(one, JWT) and one.secret}
        if handler not in signers and (handler or len(signers) != 1):
            raise LookupError(f"expected a jwt handler with a secret; found {', '.join(signers) or 'none'}")
        signer = signers[handler] if handler else next(iter(signers.values()))
        return signer.sign({"sub": sub, **claims}, ttl, self.clock.wall())

    def expect_warning(self, pattern: str) -> None:
        """Expect a line of the error log that this expression finds; without such a line the test fails."""
        self._expected.append(pattern)

    # What a client does.

    def request(
        self,
        method: str,
        target: str,
        headers: HeadersLike = (),
        body: Sendable = b"",
        *,
        client: str = CLIENT,
        scheme: str = "http",
        identity: str = "",
    ) -> KitResponse:
        """Send a request from this address, and return the response. A body that is no bytes is sent as JSON.

        `identity` is the id of the request; empty: a new one.
        """
        __tracebackhide__ = True
        sent = ClientRequest.of(method, target, headers, body, client, scheme, identity)
        alarm = VirtualAlarm(self.clock)
        try:
            request = self._parser.parse(sent, alarm)
        except (BadMessage, HTTPError) as error:
            return self._reject(error, sent)
        else:
            return self._exchange(request)
        finally:
            alarm.close()

    def get(self, target: str, headers: HeadersLike = (), *, client: str = CLIENT, scheme: str = "http") -> KitResponse:
        """Send a GET request; see `request`."""
        __tracebackhide__ = True
        return self.request("GET", target, headers, client=client, scheme=scheme)

    def post(
        self,
        target: str,
        body: Sendable = b"",
        headers: HeadersLike = (),
        *,
        client: str = CLIENT,
        scheme: str = "http",
    ) -> KitResponse:
        """Send a POST request; see `request`."""
        __tracebackhide__ = True
        return self.request("POST", target, headers, body, client=client, scheme=scheme)

    def _reject(self, error: BadMessage | HTTPError, sent: ClientRequest) -> KitResponse:
        exchange = Exchange.rejected(sent.client, sent.line)
        exchange.started = self.clock.wall()
        response = self._gateway.reject(error, exchange)
        body = response.read()
        exchange.bytes_sent = len(body)
        self._gateway.finish(exchange)
        return KitResponse(response.status, response.headers, body)

    def _exchange(self, request: Request) -> KitResponse:
        """Send the request through the gateway, as `server.dispatch` does, and read the response."""
        __tracebackhide__ = True
        started, leased = self.clock.now, set(map(id, self._network.leased()))
        response: Response | None = None
        body: list[bytes] = []
        is_complete = False
        try:
            with serving(request):
                response = self._gateway(request)
                body.extend(pieces(response, request))
            is_complete = True
        except BaseException as error:  # noqa: BLE001 a body of a handler may raise anything
            self._break_off(request, error)
        finally:
            self._note_leaks(request, leased)
            request.end()
            status, headers = (499, Headers()) if response is None else (response.status, response.headers)
            self._gateway.finish(request.conclude(status, self.clock.now - started, sum(map(len, body))))
        self._raise_failure()
        return KitResponse(status, headers, b"".join(body), is_complete)

    def _break_off(self, request: Request, error: BaseException) -> None:
        """Note why the response ends early, as `server.dispatch` does."""
        if isinstance(error, ClientGone):
            request.reason = "client_gone"
            return
        note_break(request, error, self.runtime)

    def _note_leaks(self, request: Request, before: set[int]) -> None:
        """Note the leases of this greenlet that only the end of the request would return."""
        here = getcurrent()
        for sock in self._network.leased():
            if sock.sender is here and id(sock) not in before:
                self._leaks.append(_leak(sock, request))

    def _raise_failure(self) -> None:
        """Raise what a function that answers as a backend has raised."""
        __tracebackhide__ = True
        if self._failures:
            raise self._failures.pop(0)

    # What a test looks at.

    def record(self, exchange: Exchange) -> None:
        """Record an exchange, as an access log does."""
        self.lines.append(json.loads(self._line(exchange)))

    @property
    def line(self) -> dict[str, Any]:
        """The last access line; numbers are numbers, and without a value a text is empty."""
        assert self.lines, "no request has been sent"
        return self.lines[-1]

    @property
    def warnings(self) -> list[str]:
        """The lines of the error log so far, from warnings on."""
        return self._log.lines

    @property
    def upstreams(self) -> dict[str, list[dict[str, Any]]]:
        """The state of each upstream's backends, as /health shows it."""
        return self._whole.snapshot()

    def explain(
        self, target: str, headers: HeadersLike = (), *, method: str = "GET", client: str = CLIENT
    ) -> Explanation:
        """Return what `gproxy explain` says of a request; no handler runs."""
        from gproxy.commands.explain.request import answer  # late: few tests use it

        fields = headers if isinstance(headers, Headers) else Headers(headers)
        lines = [f"{name}: {value}" for name, value in fields.items()]
        text = answer(method, target, lines, client, self.settings, self._whole)
        found = re.match(r"\S+ \S+: route (.+)", text)
        return Explanation(found[1] if found else "", text)

    def check(self) -> None:
        """Raise AssertionError if a lease was not given back, or if the error log has what the test does not expect."""
        __tracebackhide__ = True
        if problems := self.problems():
            raise AssertionError("\n".join(problems))

    def problems(self) -> list[str]:
        """Return what `check` raises, a line for each problem. Raises what a function of a backend has raised."""
        __tracebackhide__ = True
        self.clock.advance(0)  # what can run ends
        self._raise_failure()
        found = [*self._leaks, *(f"{_place(sock)} is still leased" for sock in self._leased())]
        found += [f"unexpected in the error log: {line}" for line in self.warnings if not self._expects(line)]
        found += [
            f"not in the error log, but expected: {pattern}"
            for pattern in self._expected
            if not any(re.search(pattern, line) for line in self.warnings)
        ]
        return found

    def _leased(self) -> list[MemorySocket]:
        """Return the connections that are still leased, without those of calls of `cached`, which outlast requests."""
        return [sock for sock in self._network.leased() if not is_in_call(sock.sender)]

    def _expects(self, line: str) -> bool:
        return any(re.search(pattern, line) for pattern in self._expected)


def _place(sock: MemorySocket) -> str:
    upstream = sock.backend.name.partition("@")[0]
    return f"a connection to backend {sock.name} of upstream {upstream}"


def _leak(sock: MemorySocket, request: Request) -> str:
    route = request.route.name if request.route is not None else "-"
    return (
        f"{_place(sock)} was leased until the end of {request.method} {request.path} (route {route}): a handler "
        f"dropped a response; close it, read it, or return it"
    )


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    hint = nearest(name, names)
    return f"; did you mean {hint!r}?" if hint else f"; known are: {', '.join(names)}"


def _settings(ini: str | None, path: Path, state_dir: Path | None, overrides: Overrides) -> Settings:
    """Return the settings of the text, or of the file. Raises ConfigError with every problem."""
    files = None if ini is None else [SourceFile(str(path), ini.encode())]
    own = {("server", "state_dir"): str(state_dir)} if state_dir is not None else {}
    return load(path, {**overrides, **own}, files)


def _runtime(settings: Settings, clock: VirtualClock, seed: int) -> Runtime:
    """Return the runtime of the settings; state that machines share is in this process."""
    runtime = Runtime(
        state_dir=settings.server.state_dir,
        outgoing=settings.outgoing,
        metrics=settings.metrics,
        clock=clock.wall,
        monotonic=clock,
        sleep=clock.sleep,
        bounded=clock.bounded,
        rng=random.Random(seed),
        buffers=settings.server.buffers,
        instance="testkit",
        id_header=settings.gateway.id_header,
    )
    if settings.state.redis is not None:
        runtime.store = KitStore(clock)
    runtime.new_deadline = lambda: Deadline(VirtualAlarm(clock), clock)
    runtime.times_attempts = "apptime" in settings.log.field_names
    return runtime
