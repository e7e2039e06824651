"""Checks of the options that the chain gives to handlers: what reports or fails must not open doors.

The handlers are live objects, of which this module knows attributes only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from gproxy.config.advice import handler_names
from gproxy.config.checks import members_option, names
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem, suggest
from gproxy.config.sections.chain import CHAIN_OPTIONS
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, is_identity_handler

Handlers = Mapping[str, HandlerSettings]

_MODE: Final = "mode"


def unsafe(handlers: Iterable[HandlerSettings]) -> Iterator[Problem]:
    """Yield a problem for each identity handler and each access rule after whose errors requests would go on."""
    for found in handlers:
        if found.chain.goes_on and admits(found):
            message = f"{found.chain.on_error} admits requests that {found.name} could not check; expected closed"
            yield found.section.problem("on_error", message)


def weak(handlers: Iterable[HandlerSettings]) -> Iterator[Problem]:
    """Yield a warning for each limit whose errors admit requests, and for each guard that does not decide."""
    for found in handlers:
        if found.chain.goes_on and hasattr(found.handler, "tier"):
            yield found.section.problem("on_error", f"after an error of {found.name} a request has no limit")
        if found.chain.mode != "enforce" and admits(found):
            does = "only reports" if found.chain.mode == "report" else "is off"
            yield found.section.problem(_MODE, f"{found.name} {does}: every request is admitted")


def admits(found: HandlerSettings) -> bool:
    """Return whether the handler decides which requests are admitted: by credentials or by access rules."""
    return is_identity_handler(found) or hasattr(found.handler, "rule_routes")


def without_mode(handlers: Iterable[HandlerSettings]) -> Iterator[Problem]:
    """Yield a problem for each handler with a mode that it cannot have."""
    for found in handlers:
        if found.chain.mode != "enforce" and _answers(found):
            yield found.section.problem(_MODE, _no_mode(found))
        elif found.chain.mode == "report" and _rejects_later(found):
            yield found.section.problem(_MODE, _no_report(found))


def _answers(found: HandlerSettings) -> bool:
    return getattr(found.handler, "answers_requests", False)


def _no_mode(found: HandlerSettings) -> str:
    return f"{found.name} has no mode: it answers requests by design"


def _rejects_later(found: HandlerSettings) -> bool:
    return getattr(found.handler, "rejects_later", False)


def _no_report(found: HandlerSettings) -> str:
    return f"{found.name} cannot only report: it rejects a body while that is read, behind its step"


def reported(
    gateway: GatewaySettings, routes: Iterable[tuple[RouteSettings, RawSection]], handlers: Handlers
) -> Iterator[Problem]:
    """Yield a problem for each name in `report` of a route that cannot report there."""
    for route, section in routes:
        passed = handler_names(gateway, route)
        for name in route.report:
            found = handlers.get(name)
            if name not in passed or found is None:
                yield section.problem("report", f"{name!r} is no handler of this route{suggest(name, passed)}")
            elif _answers(found):
                yield section.problem("report", _no_mode(found))
            elif _rejects_later(found):
                yield section.problem("report", _no_report(found))
            elif _MODE in getattr(found.handler, "__dataclass_fields__", ()):
                yield section.problem("report", f"{name} has an option {_MODE} of its own, so that of the chain is not")


def reporting_guards(routes: Iterable[tuple[RouteSettings, RawSection]], handlers: Handlers) -> Iterator[Problem]:
    """Yield a warning for each guard that a route makes report."""
    for route, section in routes:
        for name in route.report:
            if name in handlers and admits(handlers[name]):
                yield section.problem("report", f"{name} only reports here: every request is admitted")


def answered_before(
    gateway: GatewaySettings, routes: Iterable[tuple[RouteSettings, RawSection]], handlers: Handlers
) -> Iterator[Problem]:
    """Yield a warning for each path of a route that a handler of its chain answers itself, such as /health.

    A route with `respond` may be there for the handlers that it skips.
    """
    for route, section in routes:
        paths = {str(path) for path in route.path} if route.action != "respond" else set()
        for name in handler_names(gateway, route):
            for path in pages(handlers.get(name)) & paths:
                message = f"the handler {name} answers {path} before the route; write skip = {name} if it should not"
                yield section.problem("path", message)


def pages(found: HandlerSettings | None) -> set[str]:
    """Return the paths that the handler answers itself."""
    if found is None or not _answers(found):
        return set()
    return {path for option in ("path", "ready_path") if (path := getattr(found.handler, option, ""))}


def of_members(gateway: GatewaySettings, routes: Sequence[RouteSettings], handlers: Handlers) -> Iterator[Problem]:
    """Yield a problem for each chain option of a handler that only others call: the chain does not see it."""
    in_chains = {name for route in routes for name in handler_names(gateway, route)} | {*gateway.handlers}
    owners = {one: found.name for found in handlers.values() for one in _members(found)}
    for name, owner in owners.items():
        if name in in_chains or name not in handlers:
            continue
        section = handlers[name].section
        for option in sorted(CHAIN_OPTIONS & section.options.keys()):
            yield section.problem(option, f"has no effect on a member of {owner}; write it in [handler:{owner}]")


def _members(found: HandlerSettings) -> tuple[str, ...]:
    return names(found.section, members_option(found.section))
