"""Checks of access rules and limits by identity, and of public routes, against the chains in which they run.

The handlers are live objects, of which this module knows attributes only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gproxy.config.advice import handler_names, may_identify
from gproxy.config.checks import members_option, names
from gproxy.config.ini.build import option_hints
from gproxy.config.ini.convert import places
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem, suggest
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, is_identity_handler

Handlers = Mapping[str, HandlerSettings]


class _RuleWord(NamedTuple):
    """A word of an access rule, with its option and the number of its rule; `word` has kind, values and handler."""

    handler: HandlerSettings
    option: str
    number: int
    word: Any

    def problem(self, message: str) -> Problem:
        """Return a problem at the line of the rule."""
        section = self.handler.section
        value = section.options.get(self.option)
        lines = places(option_hints(type(self.handler.handler))[self.option], value.text) if value else []
        below = lines[self.number] if self.number < len(lines) else 0
        return section.problem(self.option, message, below=below)


def _words(handlers: Iterable[HandlerSettings]) -> Iterator[_RuleWord]:
    for found in handlers:
        for option, number, word in getattr(found.handler, "rule_words", ()):
            yield _RuleWord(found, option, number, word)


def unknown_names(routes: Iterable[RouteSettings], handlers: Handlers) -> Iterator[Problem]:
    """Yield a problem for each word of a rule that names a route or an identity handler that does not exist."""
    known = {"route": {route.name for route in routes}, "by": _identifying(handlers)}
    for found in _words(handlers.values()):
        word = found.word
        wanted = [("by", word.handler)] if word.handler else []
        wanted += [(word.kind, value) for value in word.values if word.kind in known]
        for kind, name in wanted:
            if name not in known[kind]:
                yield found.problem(_unknown(kind, name, known[kind], handlers))


def _identifying(handlers: Handlers) -> set[str]:
    """Return the names of the handlers that may find an identity: not `any_of`, whose members do."""
    return {name for name, one in handlers.items() if may_identify(one) and not members_option(one.section)}


def _unknown(kind: str, name: str, known: set[str], handlers: Handlers) -> str:
    if kind == "route":
        return f"unknown route {name!r}{suggest(name, known)}"
    if name in handlers and (members := names(handlers[name].section, members_option(handlers[name].section))):
        return f"the identities of {name!r} are those of its members; write {'|'.join(members)}"
    what = "is no identity handler" if name in handlers else "is no handler"
    return f"{name!r} {what}{suggest(name, known)}"


def unguarded_rules(gateway: GatewaySettings, routes: Iterable[RouteSettings], handlers: Handlers) -> Iterator[Problem]:
    """Yield a problem for each rule about an identity before which no handler finds one, on any route."""
    runs, before = _before(gateway, routes, handlers)
    reported: set[tuple[str, str, int]] = set()
    for found in _words(handlers.values()):
        name, place = found.handler.name, (found.handler.name, found.option, found.number)
        if name in runs and found.word.is_about_identity and place not in reported:
            wanted = {found.word.handler} if found.word.handler else _wanted(found.word)
            if not (before[name] & wanted if wanted else before[name]):
                reported.add(place)
                yield found.problem(_unguarded(name, wanted))


def _wanted(word: Any) -> set[str]:  # noqa: ANN401 a word of a rule
    return set(word.values) if word.kind == "by" else set()


def _unguarded(name: str, wanted: set[str]) -> str:
    what = " or ".join(sorted(wanted)) or "an identity handler"
    return f"no request has such an identity here; write {what} before {name} in handlers"


def _before(
    gateway: GatewaySettings, routes: Iterable[RouteSettings], handlers: Handlers
) -> tuple[set[str], dict[str, set[str]]]:
    """Return the handlers that run, and for each those that may find an identity before it on some route."""
    runs: set[str] = set()
    before: dict[str, set[str]] = {name: set() for name in handlers}
    for route in routes:
        found: set[str] = set()
        for name in handler_names(gateway, route):
            if name in handlers:
                runs.add(name)
                before[name] |= found
                found |= _finds(handlers[name])
    return runs, before


def _finds(one: HandlerSettings) -> set[str]:
    """Return the names under which the handler finds identities: of an `any_of` those of its members."""
    if not may_identify(one):
        return set()
    return {*names(one.section, members_option(one.section))} or {one.name}


def guarded_publics(
    gateway: GatewaySettings, routes: Iterable[tuple[RouteSettings, RawSection]], handlers: Handlers
) -> Iterator[Problem]:
    """Yield a problem for each route that is public and has an identity handler."""
    for route, section in routes:
        for name in handler_names(gateway, route) if route.public else ():
            if name in handlers and is_identity_handler(handlers[name]):
                how = f"remove {name} from handlers" if name in route.handlers else f"write skip = {name}"
                yield section.problem("public", f"{name} identifies the clients of this route; {how}, or public = no")


def unused_identities(
    gateway: GatewaySettings, routes: Iterable[RouteSettings], handlers: Handlers
) -> Iterator[Problem]:
    """Yield a warning for each identity handler that is optional and whose identities nothing uses."""
    used: set[str] = set()
    idle: set[str] = set()
    for route in routes:
        chain = [name for name in handler_names(gateway, route) if name in handlers]
        for at, name in enumerate(chain):
            if is_identity_handler(handlers[name]) and getattr(handlers[name].handler, "optional", False):
                is_used = _forwards(handlers[name]) or any(_uses_identity(handlers[one]) for one in chain[at + 1 :])
                (used if is_used else idle).add(name)
    for name in sorted(idle - used):
        message = "requests without a credential pass, and no header, rule or limit uses the identity of the others"
        yield handlers[name].section.problem("optional", message)


def _forwards(found: HandlerSettings) -> bool:
    return bool(getattr(found.handler, "identity_headers", ()))


def _uses_identity(found: HandlerSettings) -> bool:
    """Return whether the handler may use an identity: one with a rule or a limit by identity, or the user's own."""
    return bool(getattr(found.handler, "needs_identity", False)) or found.is_user_code or is_identity_handler(found)
