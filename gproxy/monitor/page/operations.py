"""The operations of the page: the page itself, its figures and its events."""

from typing import Final

from gproxy.monitor.answers.events import events
from gproxy.monitor.answers.figures import figures, handlers, routes
from gproxy.monitor.answers.page import VIEW, first_page, script, style
from gproxy.monitor.api.operation import Operation, Parameter
from gproxy.monitor.api.schema import (
    ANYTHING,
    COUNT,
    NUMBER,
    SECONDS,
    TEXT,
    TIME,
    by_name,
    listed,
    maybe,
    one_of,
    record,
)
from gproxy.monitor.views.look import VIEWS

_MINUTE: Final = record(
    requests=COUNT, errors=COUNT, requests_per_second=NUMBER, p50=maybe(SECONDS), p95=maybe(SECONDS), p99=maybe(SECONDS)
)
_ROUTES: Final = record(
    routes=listed(
        record(
            name=TEXT, paths=listed(TEXT), methods=listed(TEXT), hosts=listed(TEXT), handlers=listed(TEXT),
            upstreams=listed(TEXT), app=maybe(TEXT), root=maybe(TEXT), last_minute=_MINUTE, last_used=maybe(TIME),
        )
    )
)  # fmt: skip
_HANDLERS: Final = record(
    handlers=listed(
        record(
            name=TEXT,
            use=TEXT,
            mode=one_of("enforce", "report", "off"),
            state=one_of("ok", "failing", "skipped"),
            routes=listed(TEXT),
            reports_on=listed(TEXT),
            last_minute=by_name(ANYTHING),
            last_used=maybe(TIME),
        )
    )
)
_FIGURES: Final = record(
    interval=SECONDS,
    span=SECONDS,
    series=COUNT,
    omitted=COUNT,
    times=listed(TIME),
    figures=listed(record(name=TEXT, about=TEXT, of=maybe(TEXT), values=listed(maybe(NUMBER)))),
    marks=listed(record(number=COUNT, time=TIME, kind=TEXT, text=TEXT)),
)

PAGE: Final = (
    Operation("GET", "/", "page", "page for browsers", first_page, query=VIEW, media_types=("text/html",)),
    Operation("GET", "/page.css", "style", "style of the page", style, media_types=("text/css",), is_public=True),
    Operation("GET", "/page.js", "script", "script of the page", script, media_types=("text/javascript",)),
    Operation(
        "GET",
        "/v1/routes",
        "routes",
        "routes with the values of the last minute and the time of their last use",
        routes,
        result=_ROUTES,
    ),
    Operation(
        "GET", "/v1/handlers", "handlers", "handlers with the values of the last minute", handlers, result=_HANDLERS
    ),
    Operation(
        "GET",
        "/v1/figures",
        "figures",
        "the history: one sample a second of rates, percentiles and gauges, and the marks of changes",
        figures,
        query=(
            Parameter("since", "seconds", "how far back; default: all of [admin] history"),
            Parameter("about", "text", "only the series about this", ("gateway", "route", "upstream", "reason")),
        ),
        result=_FIGURES,
    ),
    Operation(
        "GET",
        "/v1/events",
        "events",
        "server-sent events: values once a second, changes at once",
        events,
        query=(Parameter("view", "text", "a view of the page, whose content is sent too", tuple(VIEWS)),),
        media_types=("text/event-stream",),
    ),
)
