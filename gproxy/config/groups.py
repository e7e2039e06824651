"""Checks of the groups in values of headers: a handler serves many routes, and the patterns are theirs."""

from collections.abc import Iterable, Iterator, Sequence

from gproxy.config.problems import Problem
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings
from gproxy.config.types.template import PLACEHOLDERS, unknown


def unknown_names(
    handlers: Iterable[HandlerSettings], gateway: GatewaySettings, routes: Sequence[RouteSettings]
) -> Iterator[Problem]:
    """Yield a problem for each name that is neither a placeholder nor a group on any route of the handler."""
    for handler, groups, option, header, name in _placeholders(handlers, gateway, routes):
        if name not in PLACEHOLDERS and name not in groups:
            yield handler.section.problem(option, f"{header}: {unknown(name, {*PLACEHOLDERS, *groups})}")


def hidden_groups(
    handlers: Iterable[HandlerSettings], gateway: GatewaySettings, routes: Sequence[RouteSettings]
) -> Iterator[Problem]:
    """Yield a warning for each placeholder whose name is that of a group too: the handler sends the placeholder."""
    for handler, groups, option, header, name in _placeholders(handlers, gateway, routes):
        if name in PLACEHOLDERS and name in groups:
            group = f"the group of [route:{groups[name]}]"
            yield handler.section.problem(option, f"{header}: {{{name}}} is not {group}, which needs another name")


_Found = tuple[HandlerSettings, dict[str, str], str, str, str]


def _placeholders(
    handlers: Iterable[HandlerSettings], gateway: GatewaySettings, routes: Sequence[RouteSettings]
) -> Iterator[_Found]:
    """Yield each placeholder: its handler, the groups that the handler may use, its option, its header, its name."""
    for handler in handlers:
        for option, header, name in getattr(handler.handler, "header_placeholders", ()):
            yield handler, _groups(handler, gateway, routes), option, header, name


def _groups(handler: HandlerSettings, gateway: GatewaySettings, routes: Iterable[RouteSettings]) -> dict[str, str]:
    """Return the named groups on the routes that run the handler, each with the name of a route."""
    return {
        group: route.name
        for route in routes
        if handler.name in route.handlers or (handler.name in gateway.handlers and handler.name not in route.skip)
        for path in route.path
        if path.expression is not None
        for group in path.expression.groupindex
    }
