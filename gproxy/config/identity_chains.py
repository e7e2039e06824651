"""Checks of identity handlers against the chains in which they run: who sets which header, and who runs before whom.

The handlers are live objects, of which this module knows attributes only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gproxy.config.advice import handler_names, may_identify
from gproxy.config.checks import members_option, names
from gproxy.config.ini.parser import RawSection, Value, place_from
from gproxy.config.problems import Problem
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, is_identity_handler
from gproxy.config.sections.tls import TLSSettings

#: Sources in the Authorization field, which `keep` of a route lets pass.
_AUTHORIZATION: Final = ("bearer", "basic")
#: The actions of a route that give nothing away.
_GIVING_NOTHING: Final = frozenset({"redirect", "respond"})
#: The most routes without identity handler that have a warning each.
_FEW: Final = 3

Handlers = Mapping[str, HandlerSettings]


class _Setter(NamedTuple):
    """A part that sets a header: its section and the option that names the header. `identifies`: the header is ours."""

    section: RawSection
    option: str
    header: str
    identifies: bool

    @property
    def below(self) -> int:
        """The number of lines between the option's first line and the one with the header."""
        value = self.section.options.get(self.option)
        text = value.text.lower() if value else ""
        return text.count("\n", 0, max(0, text.find(self.header.lower())))

    def problem(self, message: str) -> Problem:
        """Return a problem at the line of the header."""
        return self.section.problem(self.option, message, below=self.below)


def shared_headers(
    gateway: GatewaySettings,
    routes: Iterable[RouteSettings],
    handlers: Handlers,
    tls: Iterable[tuple[TLSSettings, RawSection]],
) -> Iterator[Problem]:
    """Yield a problem for each header that two parts of one chain set, at least one of them from an identity.

    The backend could not know whose value the header has. The members of an `any_of` never run together.
    """
    of_tls = [_Setter(where, "forward", name, True) for one, where in tls for name in one.forward.values()]
    found: dict[tuple[str, str], Problem] = {}
    for route in routes:
        first = {setter.header.lower(): setter for setter in of_tls}
        for name in handler_names(gateway, route):
            setters = list(_setters(name, handlers))
            for setter in setters:
                other = first.get(setter.header.lower())
                if other is not None and (setter.identifies or other.identifies):
                    key = setter.section.title, setter.header.lower()
                    found.setdefault(key, setter.problem(_shared(setter, other, route)))
            first |= {setter.header.lower(): setter for setter in setters}
    yield from found.values()


def _shared(setter: _Setter, other: _Setter, route: RouteSettings) -> str:
    there = other.problem("")
    place = place_from(Value("", there.file, there.line), setter.problem("").file)
    return (
        f"{setter.header} is a header of [{other.section.title}] at {place} too, on [route:{route.name}]; "
        "expected one part that sets it"
    )


def _setters(name: str, handlers: Handlers) -> Iterator[_Setter]:
    """Yield each header that the handler of this name sets in requests; an `any_of` sets those of its members."""
    found = handlers.get(name)
    if found is None:
        return
    for one in [handlers[member] for member in _members(found) if member in handlers] or [found]:
        yield from _own_setters(one)


def _own_setters(found: HandlerSettings) -> Iterator[_Setter]:
    if found.use == "headers":
        yield from (_Setter(found.section, "request", name, False) for name in getattr(found.handler, "request", ()))
    for key in sorted({*getattr(found.handler, "identity_headers", ())}.difference(_only_removed(found.handler))):
        option, header = _written(found, key)
        yield _Setter(found.section, option, header, True)


def _only_removed(handler: object) -> frozenset[str]:
    found: frozenset[str] = getattr(handler, "only_removed", frozenset())
    return found


def _written(found: HandlerSettings, key: str) -> tuple[str, str]:
    """Return the option that names the header, and the name as it is written there; none for one that code names."""
    is_written = re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])", re.IGNORECASE).search
    matches = ((option, is_written(value.text)) for option, value in found.section.options.items() if option != "use")
    return next(((option, match[0]) for option, match in matches if match), ("", key))


def pointless_pass_on(handlers: Iterable[HandlerSettings]) -> Iterator[Problem]:
    """Yield a problem for each `pass_on = yes` whose credential is in Authorization only, where it has no effect."""
    for found in handlers:
        sources = getattr(found.handler, "sources", ()) if is_identity_handler(found) else ()
        if sources and getattr(found.handler, "pass_on", False) and all(str(one) in _AUTHORIZATION for one in sources):
            message = "has no effect on Authorization; write keep = Authorization in the routes that forward it"
            yield found.section.problem("pass_on", message)


def repeated_members(
    gateway: GatewaySettings,
    routes: Iterable[tuple[RouteSettings, RawSection]],
    handlers: Handlers,
    section: RawSection,
) -> Iterator[Problem]:
    """Yield a problem for each member of an `any_of` that runs in the same chain too: all would need its credential.

    `section` is that of [gateway].
    """
    found: dict[tuple[str, str], Problem] = {}
    for route, where in routes:
        chain = [name for name in handler_names(gateway, route) if name in handlers]
        members = {one: name for name in chain for one in _members(handlers[name])}
        for name in chain:
            if name in members:
                lists = where if name in route.handlers else section
                message = f"{name} is a member of {members[name]}, which runs here too; remove {name} from the list"
                found.setdefault((lists.title, name), lists.problem("handlers", message))
    yield from found.values()


def _members(found: HandlerSettings) -> tuple[str, ...]:
    return names(found.section, members_option(found.section))


def hidden_documents(
    gateway: GatewaySettings, routes: Sequence[RouteSettings], handlers: Handlers
) -> Iterator[Problem]:
    """Yield a warning for each handler with a document of its own, on whose path it does not run.

    Handlers of the gateway run on each path. Routes with a pattern count as if they had the path.
    """
    for found in handlers.values():
        path = getattr(found.handler, "own_path", "")
        runners = {found.name} | {name for name, one in handlers.items() if found.name in _members(one)}
        if path and not runners.intersection(gateway.handlers):
            running = [route for route in routes if runners.intersection(route.handlers)]
            if running and not any(_may_take(route, path) for route in running):
                message = f"no route with this handler has the path of its metadata, {path}; write the handler in "
                yield found.section.problem("resource", f"{message}[gateway] handlers, or such a route")


def _may_take(route: RouteSettings, path: str) -> bool:
    return any(one.expression or f"{path}/".startswith(one.prefix.rstrip("/") + "/") for one in route.path)


def late_cors(
    gateway: GatewaySettings,
    routes: Iterable[tuple[RouteSettings, RawSection]],
    handlers: Handlers,
    section: RawSection,
) -> Iterator[Problem]:
    """Yield a warning for each `cors` behind an identity handler. `section` is that of [gateway]."""
    found: dict[tuple[str, str], Problem] = {}
    for route, where in routes:
        passed = [name for name in handler_names(gateway, route) if name in handlers]
        first = next((name for name in passed if _rejects(handlers[name])), None)
        for name in passed[passed.index(first) :] if first is not None else ():
            if handlers[name].use == "cors":
                lists = where if name in route.handlers else section
                message = f"{name} runs behind {first}, which rejects preflights: browsers send no credentials with "
                problem = lists.problem("handlers", f"{message}them; write {name} before {first}")
                found.setdefault((lists.title, name), problem)
    yield from found.values()


def _rejects(found: HandlerSettings) -> bool:
    """Return whether the handler rejects requests without a credential."""
    return is_identity_handler(found) and not getattr(found.handler, "optional", False)


def open_routes(
    gateway: GatewaySettings, routes: Sequence[tuple[RouteSettings, RawSection]], handlers: Handlers
) -> Iterator[Problem]:
    """Yield a warning for each route that has no identity handler, does not declare that, and where others have one.

    Of many such routes the first has one, which names the others. A route that redirects, or that has a fixed response,
    gives nothing away. A handler of the user's own may be one.
    """
    guards = ((name, route.name) for route, _ in routes for name in _guards(gateway, route, handlers))
    guarded = next(guards, None)
    if guarded is None:
        return
    message = "no identity handler runs here, as {} does on [route:{}]; write public = yes if the route needs none"
    unguarded = [section for route, section in routes if _is_unguarded(gateway, route, handlers)]
    alone, rest = (unguarded, []) if len(unguarded) <= _FEW else (unguarded[:1], unguarded[1:])
    others = f"; so it is on {', '.join(f'[{section.title}]' for section in rest)}" if rest else ""
    for section in alone:
        yield section.problem("", f"{message.format(*guarded)}{others}")


def _is_unguarded(gateway: GatewaySettings, route: RouteSettings, handlers: Handlers) -> bool:
    skips = any(name in handlers and is_identity_handler(handlers[name]) for name in route.skip)
    own = any(name in handlers and may_identify(handlers[name]) for name in handler_names(gateway, route))
    return not (own or skips or route.public or route.action in _GIVING_NOTHING)


def _guards(gateway: GatewaySettings, route: RouteSettings, handlers: Handlers) -> list[str]:
    return [name for name in handler_names(gateway, route) if name in handlers and is_identity_handler(handlers[name])]
