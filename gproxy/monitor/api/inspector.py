"""What the monitor of `gproxy dev` has besides: the operations of the inspector, and its view of the page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from gproxy.http.response import Response
from gproxy.monitor.answers.inspector import COPIES, Inspector, admit
from gproxy.monitor.answers.page import page_file
from gproxy.monitor.api.operation import Call, Operation, Parameter
from gproxy.monitor.api.schema import (
    COUNT,
    NUMBER,
    SECONDS,
    TEXT,
    TIME,
    YES_NO,
    by_name,
    listed,
    maybe,
    record,
)
from gproxy.monitor.gathered.inspected import InspectedRequests
from gproxy.monitor.views.inspector import InspectorView
from gproxy.monitor.watched_gateway import WatchedGateway

VIEW: Final = "inspector"
#: The kind of the records that workers feed.
_KIND: Final = "inspected"
_PAIRS: Final = listed(listed(TEXT))
_BODY: Final = record(
    size=COUNT, kept=COUNT, is_whole=YES_NO, text=maybe(TEXT), base64=maybe(TEXT), decoded_from=maybe(TEXT)
)
_CHANGE: Final = record({"diff": listed(TEXT)}, part=TEXT, before=maybe(TEXT), after=maybe(TEXT))
_STEP: Final = record(
    name=TEXT, depth=COUNT, calls=COUNT, status=COUNT, error=TEXT, down=listed(_CHANGE), up=listed(_CHANGE)
)
_REQUEST: Final = record(line=TEXT, headers=_PAIRS, body=maybe(_BODY))
_RESPONSE: Final = record(status=COUNT, phrase=TEXT, headers=_PAIRS, body=maybe(_BODY))
_ATTEMPT: Final = record(
    upstream=TEXT, backend=TEXT, error=TEXT, seconds=SECONDS, of_handler=YES_NO, shared=YES_NO,
    request=maybe(_REQUEST), response=maybe(_RESPONSE),
)  # fmt: skip
_SUMMARY: Final = {
    "number": COUNT, "id": TEXT, "time": TIME, "client": TEXT, "user": TEXT, "method": TEXT, "target": TEXT,
    "host": TEXT, "route": TEXT, "upstream": TEXT, "backend": TEXT, "tries": COUNT, "status": COUNT, "reason": TEXT,
    "duration": SECONDS, "worker": COUNT, "generation": COUNT, "changed_by": listed(TEXT),
}  # fmt: skip
_FULL: Final = record(
    **_SUMMARY, peer=TEXT, scheme=TEXT, auth=TEXT, protocol=TEXT, report=TEXT, received=COUNT, sent=COUNT,
    account=by_name(SECONDS), entry=listed(_CHANGE), steps=listed(_STEP), request=_REQUEST,
    response=maybe(_RESPONSE), attempts=listed(_ATTEMPT), omitted_attempts=COUNT,
)  # fmt: skip
_SENT: Final = record(status=NUMBER, number=maybe(COUNT))
_CHANGES: Final = (
    Parameter("method", "text", "another method"),
    Parameter("target", "text", "another path with its query"),
    Parameter("headers", "text", "other headers, a line for each"),
    Parameter("body", "text", "another body"),
)


def add(watched: WatchedGateway, operations: Sequence[Operation]) -> Sequence[Operation]:
    """Let the monitor keep what workers feed, and show it. Return all operations that it has then."""
    kept = InspectedRequests()
    watched.consume(_KIND, kept.take)
    watched.views[VIEW] = ("Inspector", InspectorView(kept))
    return (*map(_with_view, operations), *_operations(Inspector(kept)))


def _with_view(operation: Operation) -> Operation:
    """Return an operation of the page with the inspector among its views, which only clients on this machine see."""
    if not any(one.name == "view" for one in operation.query):
        return operation
    query = tuple(replace(one, choices=(*one.choices, VIEW)) if one.name == "view" else one for one in operation.query)
    return replace(operation, query=query, answer=partial(_admitted, operation.answer))


def _admitted(answer: Callable[[Call], Any], call: Call) -> Any:  # noqa: ANN401 whatever the operation answers
    if call.values.get("view") == VIEW:
        admit(call)
    return answer(call)


def _operations(inspector: Inspector) -> tuple[Operation, ...]:
    path = "/v1/inspector/{number}"
    return (
        Operation("GET", "/inspector.css", "inspector_style", "style of the inspector", _style, media_types=_CSS),
        Operation("GET", "/inspector.js", "inspector_script", "script of the inspector", _script, media_types=_JS),
        Operation(
            "GET", "/v1/inspector", "inspected", "the last requests, newest first", inspector.requests,
            result=record(requests=listed(record(**_SUMMARY)), omitted=COUNT),
        ),
        Operation("DELETE", "/v1/inspector", "clear_inspected", "forget all requests", inspector.clear,
            result=record(forgotten=COUNT)),
        Operation("GET", path, "inspected_request", "one request: heads, bodies, changes, times", inspector.request,
            result=_FULL),
        Operation(
            "GET", f"{path}/copy", "copy_inspected", "a request as a command, or as a test", inspector.copy,
            query=(Parameter("as", "text", "curl: a command; pytest: a test of the test kit", tuple(COPIES)),),
            media_types=tuple(media_type.partition(";")[0] for _, media_type in COPIES.values()),
        ),
        Operation(
            "POST", f"{path}/send", "send_inspected", "send a request again, with changes", inspector.send,
            body=_CHANGES, result=_SENT,
        ),
    )  # fmt: skip


_CSS: Final = ("text/css",)
_JS: Final = ("text/javascript",)


def _style(call: Call) -> Response:
    return page_file(call, "inspector.css", "text/css; charset=utf-8")


def _script(call: Call) -> Response:
    return page_file(call, "inspector.js", "text/javascript; charset=utf-8")
