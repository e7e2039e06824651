"""Construction of live handlers from their sections; user code is imported here."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, cast

from gproxy.config.checks import MEMBERS, is_reference, names
from gproxy.config.ini.build import build as build_from_options
from gproxy.config.ini.build import option_names
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.sections.chain import CHAIN_OPTIONS, ChainOptions
from gproxy.config.sections.policy import PolicySettings
from gproxy.config.sections.settings import HandlerSettings, unknown_option
from gproxy.config.types import ModuleRef
from gproxy.gateway import user_code
from gproxy.gateway.packages import InstalledNames
from gproxy.handlers import BUILT_IN
from gproxy.handlers.any_of import AnyOf
from gproxy.handlers.api_key import APIKeys
from gproxy.http.handler import Handler
from gproxy.identity.identifier import Identifier
from gproxy.upstream.balance import BalancingPolicy, UserPolicy

#: The optional methods of a handler that each worker calls, with their arguments.
_LIFE_CYCLE: Final = {"open": ("runtime",), "close": ()}


def reporter(section: RawSection, option: str, problems: list[Problem]) -> user_code.Report:
    return lambda message: problems.append(section.problem(option, message))


def build_handler(
    settings: HandlerSettings,
    built: Mapping[str, HandlerSettings],
    problems: list[Problem],
    warnings: list[Problem],
    *,
    installed: InstalledNames,
) -> HandlerSettings:
    """Return the section with its live handler and its chain options; without a handler if there is a problem.

    `built` are all handlers, of which those that this one may have as members are complete. `installed` knows the
    handlers of packages.
    """
    use = BUILT_IN.get(settings.use, settings.use)
    found = find_code(use, installed, reporter(settings.section, "use", problems))
    if found is None:
        return settings
    section, own = settings.section, _own_names(found)
    given = {name: value for name, value in settings.options.items() if name in CHAIN_OPTIONS - own}
    fixed = {name: getattr(ChainOptions(), name) for name in CHAIN_OPTIONS & own}
    chain = build_from_options(ChainOptions, given, section, problems, warnings, **fixed)
    message = f"is an option of {settings.use} itself, so the chain's option of this name is not available"
    warnings += [section.problem(name, message) for name in sorted(CHAIN_OPTIONS & own)]
    rest = {name: value for name, value in settings.options.items() if name not in given}
    handler = _handler(found, replace(settings, options=rest), built, problems, warnings)
    return replace(settings, code=found, handler=handler, chain=chain or ChainOptions())


def job_function(use: ModuleRef, section: RawSection, problems: list[Problem]) -> Callable[[Any], object] | None:
    """Return the function of a job. Report a problem and return None if there is none."""
    report = reporter(section, "use", problems)
    found = user_code.find(use.module, use.attribute, report)
    if found is None:
        return None
    if isinstance(found, type) or not callable(found):
        report(f"{use} is {'a class' if isinstance(found, type) else 'not callable'}; expected a function")
    elif signature_problem := user_code.signature_problem(found, "runtime"):
        report(f"{use} {signature_problem}")
    else:
        return cast(Callable[[Any], object], found)
    return None


def _own_names(found: object) -> frozenset[str]:
    """Return the names of the options of a class; none for a function."""
    return frozenset(option_names(found)) if isinstance(found, type) else frozenset()


def find_code(name: str, installed: InstalledNames, report: user_code.Report) -> object:
    """Return the object at MODULE:NAME, or the one that an installed package offers under the name.

    Report a problem and return None if there is none; a name that is neither is reported by the settings.
    """
    problems: list[str] = []
    found = _imported(name, problems.append) if is_reference(name) else None
    if found is None and (not is_reference(name) or installed.find(name)):  # MODULE:NAME may be PACKAGE:NAME
        problems.clear()
        found = _find_installed(name, installed, problems.append)
    for problem in problems:
        report(problem)
    return found


def _find_installed(name: str, installed: InstalledNames, report: user_code.Report) -> object:
    try:
        reference = installed.reference(name)
    except ValueError as error:
        report(str(error))
        return None
    if reference and not is_reference(reference):
        report(f"the package offers {reference!r}; expected an entry point MODULE:NAME")
        return None
    return _imported(reference, report) if reference else None


def _imported(reference: str, report: user_code.Report) -> object:
    module, _, attribute = reference.partition(":")
    return user_code.find(module, attribute, report)


def _handler(
    found: object,
    settings: HandlerSettings,
    built: Mapping[str, HandlerSettings],
    problems: list[Problem],
    warnings: list[Problem],
) -> Handler | None:
    """Return the live handler. Report a problem and return None if there is none."""
    report = reporter(settings.section, "use", problems)
    members = _members(settings, built, problems) if found is AnyOf else {}
    handler = None if members is None else _instantiate(found, settings, members, problems, warnings, report)
    if handler is None:
        return None
    if not callable(handler):
        report(f"{settings.use} is not callable; expected a function, or a class with __call__(self, request, next)")
        return None
    if signature_problem := user_code.signature_problem(handler, "request", "next"):
        report(f"{settings.use} {signature_problem}")
    for name, arguments in _LIFE_CYCLE.items():
        method = getattr(handler, name, None)
        if callable(method) and (signature_problem := user_code.signature_problem(method, *arguments)):
            report(f"{settings.use}.{name} {signature_problem}")
    if isinstance(handler, APIKeys) and handler.lookup is not None:
        _import_lookup(handler, handler.lookup, reporter(settings.section, "lookup", problems))
    return cast(Handler, handler)


def _import_lookup(handler: APIKeys, reference: ModuleRef, report: user_code.Report) -> None:
    """Import the user's function that finds keys, and give it to the handler."""
    found = user_code.find(reference.module, reference.attribute, report)
    if found is None:
        return
    if not callable(found):
        report(f"{reference} is not callable; expected a function that gets the hash of a key")
    elif signature_problem := user_code.signature_problem(found, "digest"):
        report(f"{reference} {signature_problem}")
    else:
        handler.find = found


def _members(
    settings: HandlerSettings, built: Mapping[str, HandlerSettings], problems: list[Problem]
) -> dict[str, tuple[Identifier, ...]] | None:
    """Return the argument for the members of this handler; None if one of them has a problem."""
    listed = names(settings.section, "of")
    found = [built[name] for name in listed if name in built]
    problems += [
        settings.section.problem("of", f"{one.name} is no identity handler for one kind of credential")
        for one in found
        if one.use in MEMBERS or not isinstance(one.handler, Identifier | None)
    ]
    problems += [
        settings.section.problem(
            "of", f"{one.name} judges every request, so the members behind it get none; write it last"
        )
        for one in found[:-1]
        if getattr(one.handler, "judges_all", False)
    ]
    members = tuple(one.handler for one in found if isinstance(one.handler, Identifier))
    return {"members": members} if len(members) == len(listed) else None


def _instantiate(
    found: object,
    settings: HandlerSettings,
    fixed: Mapping[str, Any],
    problems: list[Problem],
    warnings: list[Problem],
    report: user_code.Report,
) -> object:
    """Return the object, or an instance if it is a class. Report a problem and return None on failure."""
    if isinstance(found, type) and is_dataclass(found):
        return user_code.made(found, lambda: _construct(found, settings, fixed, problems, warnings), report)
    no_options = f"{settings.use} is not a dataclass, so it has no options"
    problems += [settings.section.problem(option, no_options) for option in settings.options]
    return user_code.instance(found, report) if isinstance(found, type) else found


def _construct(
    cls: Callable[..., Any],
    settings: HandlerSettings,
    fixed: Mapping[str, Any],
    problems: list[Problem],
    warnings: list[Problem],
) -> Handler | None:
    handler = build_from_options(
        cast(type[Any], cls), settings.options, settings.section, problems, warnings, unknown=_unknown_option, **fixed
    )
    if isinstance(handler, Identifier) and not hasattr(handler, "identity_headers"):
        raise TypeError("its __post_init__ must call super().__post_init__()")
    if handler is not None and any(field.name == "name" and not field.init for field in fields(handler)):
        handler.name = settings.name
    return handler


def _unknown_option(name: str, known: Collection[str]) -> str:
    return unknown_option(name, [*known, *CHAIN_OPTIONS])


def user_policy(
    settings: PolicySettings, problems: list[Problem], warnings: list[Problem], *, installed: InstalledNames
) -> BalancingPolicy | None:
    """Return the policy that a user wrote: a function of (backends, request), or a class with such instances.

    Report a problem and return None if there is none.
    """
    reference = settings.reference
    report = reporter(settings.section, "balance", problems)
    found = find_code(str(reference), installed, report) if reference else None
    if found is None:
        return None
    policy = user_code.made(found, lambda: settings.build(found, problems, warnings), report)
    if policy is None:
        return None
    function = getattr(policy, "pick", policy)
    if not callable(function):
        report(f"{reference} is not callable; expected a function or a class with pick(self, backends, request)")
    elif signature_problem := user_code.signature_problem(function, "backends", "request"):
        report(f"{reference} {signature_problem}")
    else:
        return UserPolicy(str(reference), function)
    return None
