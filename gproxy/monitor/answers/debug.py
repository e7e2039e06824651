"""The operations of `gproxy debug`. A prompt is a shell in the gateway, so they need a unix socket and a setting."""

from functools import partial
from typing import Any, Final

from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.http.trust import UNIX_PEER
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call, Parameter

#: The default seconds that a rule waits for a request, and that a request is stopped.
WAIT: Final = 300.0
HOLD: Final = 120.0

#: The fields of a rule.
RULE: Final = (
    Parameter("path", "text", "path of the request; * stands for any characters"),
    Parameter("method", "text", "method of the request"),
    Parameter("header", "text", "header field of the request: NAME, or NAME: VALUE"),
    Parameter("client", "text", "address or network of the client"),
    Parameter("user", "text", "user of the request, once it is known"),
    Parameter("handler", "text", "name of the handler to stop before; default: the first one"),
    Parameter("at", "text", "line to stop at, as FILE:LINE"),
    Parameter("on_error", "boolean", "stop where a handler or an app raises an exception"),
    Parameter("attach", "boolean", "wait for a breakpoint() that has no terminal, and for no request"),
    Parameter("wait", "seconds", "time after which a rule that nothing matches ends; default: 5m"),
    Parameter("hold", "seconds", "time for which a request is stopped at most; default: 2m"),
)
INPUT: Final = (Parameter("input", "text", "what is typed; empty: the end of the input", is_required=True),)
#: The ways to stop, of which a rule has at most one.
_WAYS: Final = ("handler", "at", "on_error", "attach")
_CONDITIONS: Final = ("path", "method", "header", "client", "user")


def debug(call: Call) -> Response:
    """Give the workers a rule, and stream the terminal of the request that matches. Raises HTTPError."""
    _check(call)
    values = dict(call.values)
    _check_rule(values)
    wait, rule = values.pop("wait", WAIT), {"hold": HOLD, **values}
    if call.gateway.terminals.is_full:
        raise HTTPError(503, "too many debuggers are open", {"Retry-After": "10"})
    what = _words(values)
    audit.record(call, f"debugger for {what}")

    def begun(taken: Any) -> None:  # noqa: ANN401 JSON
        call.gateway.changes.add("action", f"{taken['id']} {taken['method']} {taken['path']}: stopped by a debugger")

    try:
        terminal = call.gateway.terminals.open(rule, wait, begun)
    except ValueError as error:
        raise HTTPError(409, str(error)) from None
    response = Response(200, terminal.stream(), {"Content-Type": "text/event-stream"})
    response.on_close(partial(call.gateway.terminals.close, terminal))
    return response


def type_input(call: Call) -> dict[str, Any]:
    """Pass on what is typed at the terminal of this name. Raises HTTPError."""
    _check(call)
    terminal = call.gateway.terminals.find(call.values["session"])
    if terminal is None:
        raise HTTPError(404, "there is no such debugger")
    if not terminal.has_request:
        raise HTTPError(409, "the debugger has no request yet")
    if not terminal.type(call.values["input"]):
        raise HTTPError(503, "the worker does not read", {"Retry-After": "1"})
    return {}


def _check(call: Call) -> None:
    """Check what a debugger needs. Raises HTTPError 403."""
    if not call.gateway.settings.admin.debug:
        raise HTTPError(403, "debugging is off: it needs [admin] debug = yes")
    if call.request.received.peer != UNIX_PEER:
        raise HTTPError(403, "debugging is a shell in the gateway: it needs a unix socket in [admin] bind, and no TCP")


def _check_rule(values: dict[str, Any]) -> None:
    """Check that the fields fit together. Raises HTTPError 400."""
    ways = [name for name in _WAYS if values.get(name)]
    if len(ways) > 1:
        raise HTTPError(400, f"{ways[1]}: not together with {ways[0]}; expected one of {', '.join(_WAYS)}")
    conditions = [name for name in _CONDITIONS if values.get(name)]
    if values.get("attach"):
        if conditions:
            raise HTTPError(400, f"{conditions[0]}: not together with attach, which takes a breakpoint")
    elif not conditions and not values.get("at") and not values.get("on_error"):
        raise HTTPError(400, f"expected at least one of {', '.join((*_CONDITIONS, 'at', 'on_error'))}")


def _words(values: dict[str, Any]) -> str:
    """Return the rule for the audit; the value of a header may be a secret."""
    shown = {**values, **({"header": values["header"].partition(":")[0]} if "header" in values else {})}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
