"""`mode = report`: a handler whose rejections are noted, and do not end the request."""

from collections.abc import Callable, Collection
from typing import Any, Final, Literal

from gproxy.gateway.policy.failure import FailurePolicy, OpenStep, status_of
from gproxy.gateway.policy.snapshot import Following, RequestSnapshot
from gproxy.http.errors import HTTPError
from gproxy.http.handler import Next
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.observe.metrics import Metrics, Series

#: The header that tells backends and clients what is noted; a client's own is removed.
REPORT_HEADER: Final = "Gproxy-Report"
_KEY: Final = REPORT_HEADER.lower()
#: The receivers of the header; None: it is not set.
Readers = Literal["backend", "client", "both"] | None


class Reports:
    """The notes of what handlers would have done: in the exchange, in the metrics, and in a header."""

    def __init__(self, metrics: Metrics, readers: Readers) -> None:
        self._metrics = metrics
        self._for_backend = readers in {"backend", "both"}
        self._for_client = readers in {"client", "both"}
        self._series: dict[tuple[str, int, str], Series] = {}

    def note(self, name: str, status: int, request: Request) -> None:
        """Note once for each request what the handler of this name would have done."""
        item, exchange = f"{name}={status}", request.exchange
        present = exchange.report
        if not present:
            exchange.report = item
        elif item in present.split(","):
            return
        else:
            exchange.report = f"{present},{item}"
        route = request.route
        if self._metrics.wanted:
            self._count(name, status, "" if route is None else route.name)

    def _count(self, name: str, status: int, route: str) -> None:
        key = name, status, route
        series = self._series.get(key)
        if series is None:
            series = self._metrics.series("gproxy_policy_reports_total", name, str(status), route)
            self._series[key] = series
        series.cells[0] += 1

    def tell_backend(self, request: Request) -> None:
        """Set the header of the request, if backends get it."""
        if self._for_backend:
            request.headers.put(REPORT_HEADER, _KEY, _field(request.exchange.report))

    def tell_client(self, request: Request, response: Response) -> None:
        """Set the header of the response, if clients get it."""
        if self._for_client:
            response.headers.put(REPORT_HEADER, _KEY, _field(request.exchange.report))


def if_reported(name: str, step: Next, following: Next) -> Next:
    """Return the guarded step, for requests that the handler of this name would have ended; others skip it."""
    item = f",{name}="

    def run(request: Request) -> Response:
        return step(request) if item in f",{request.exchange.report}" else following(request)

    run.is_guarded = True  # type: ignore[attr-defined]
    return run


def _field(report: str) -> str:
    items = (item.rpartition("=") for item in report.split(","))
    return ", ".join([f"{name};status={status}" for name, _, status in items])


class ReportStep(OpenStep):
    """A handler that only reports. `own_paths` are those of documents that it answers in every mode."""

    def __init__(
        self,
        policy: FailurePolicy,
        call: Callable[[Request, Next], Any],
        limit: TimeLimit | None,
        reports: Reports,
        own_paths: Collection[str],
    ) -> None:
        super().__init__(policy, call, limit)
        self._reports = reports
        self._own_paths = frozenset(own_paths)

    def _rejected(self, error: HTTPError, before: RequestSnapshot, request: Request, following: Following) -> Response:
        self._reports.note(self._policy.name, error.status, request)
        if self._may_go_on(before, request, following):
            return self._go_on(request, following)
        raise error

    def _answered(
        self, response: Response, before: RequestSnapshot, request: Request, following: Following
    ) -> Response:
        if request.path in self._own_paths:
            return response
        self._reports.note(self._policy.name, response.status, request)
        if not self._may_go_on(before, request, following):
            return response
        response.close()
        return self._go_on(request, following)

    def _error_noted(self, error: BaseException, request: Request) -> None:
        self._reports.note(self._policy.name, status_of(error), request)

    def _go_on(self, request: Request, following: Following) -> Response:
        if following.response is None:
            self._reports.tell_backend(request)
        response = super()._go_on(request, following)
        self._reports.tell_client(request, response)
        return response
