"""The balancing policy of an upstream: a class whose fields are options of `[upstream:NAME]`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, NamedTuple, Protocol, Self

from gproxy.config.ini.build import Option, build, differs_from_default, option_names, options
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.problems import Problem, nearest
from gproxy.config.record import Record
from gproxy.config.sections.balance import either
from gproxy.config.sections.settings import unknown_option
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import ModuleRef

#: The built-in policies by name.
Policies = Mapping[str, type[Any]]


class InstalledPolicies(Iterable[str], Protocol):
    """The names of all policies, those of installed packages included."""

    def reference(self, name: str) -> str:
        """Return MODULE:NAME of a package's policy; "" if there is none. Raises ValueError if there are several."""


#: The prefix of the options of a user's policy, unless the class has another one in `prefix`.
_PREFIX: Final = "balance_"
_UPSTREAM: Final = frozenset(option_names(UpstreamSettings))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PolicySettings(Record):
    """The value of `balance`, and the options that `UpstreamSettings` does not have: they are the policy's."""

    balance: str
    options: dict[str, Value]
    section: RawSection
    #: The table of the built-in policies, and the one of them that is used; None for MODULE:NAME, or an invalid name.
    table: Policies
    built_in: type[Any] | None

    @classmethod
    def of(cls, section: RawSection, table: Policies) -> Self:
        """Return the settings of the section's policy; for `sticky`, of its fallback."""
        balance = _text(section, "balance")
        used = _text(section, "sticky_fallback") if balance == "sticky" else balance
        options = {name: value for name, value in section.options.items() if name not in _UPSTREAM}
        return cls(balance, options, section, table, table.get(used))

    @property
    def reference(self) -> ModuleRef | None:
        """The reference to the user's policy, if it is one."""
        return ModuleRef.parse(self.balance) if _is_reference(self.balance) else None

    def build(self, kind: object, problems: list[Problem], warnings: list[Problem]) -> object:
        """Return the policy: an instance of `kind` with its options, or `kind` itself if that is no class.

        Return None if an option has a problem, and add all problems. A user's class may raise any exception.
        """
        before, policy = len(problems), kind
        own = option_names(kind, option_prefix(kind)) if isinstance(kind, type) else []
        problems += self._conflicts(own)
        for name in self.options:
            if name not in own:
                self._check_other(name, own, problems, warnings)
        if isinstance(kind, type) and is_dataclass(kind):
            given = {name: value for name, value in self.options.items() if name in own}
            policy = build(kind, given, self.section, problems, warnings, option_prefix(kind))
        elif isinstance(kind, type):
            policy = kind()
        return policy if len(problems) == before else None

    def _conflicts(self, own: Iterable[str]) -> Iterator[Problem]:
        """Yield a problem for each option of a user's policy that every upstream has."""
        for name in own:
            if name in _UPSTREAM:
                message = f"{self.balance} has the option {name}, which every upstream has; give it another prefix"
                yield self.section.problem("balance", message)

    def _check_other(self, name: str, own: Collection[str], problems: list[Problem], warnings: list[Problem]) -> None:
        """Add a problem unless this option, which the policy does not have, has the default of another policy."""
        owners = [policy for policy, cls in self.table.items() if name in option_names(cls)]
        if not owners:
            problems.append(self.section.problem(name, self._unknown(name, own)))
            return
        if name in self.section.broken:
            return
        value = self.options[name]
        is_set = differs_from_default(self.table[owners[0]], name, value, self.section, problems, warnings)
        if is_set and (self.built_in or self.reference):  # else `balance` has a problem
            message = f"is for balance = {either(owners)}, and not for {self.balance}"
            problems.append(self.section.problem(name, message))

    def _unknown(self, name: str, own: Collection[str]) -> str:
        if self.reference and not own and name.startswith(_PREFIX):
            return f"{self.balance} is not a dataclass, so it has no options"
        others = (other for cls in self.table.values() for other in option_names(cls))
        return unknown_option(name, {*_UPSTREAM, *others, *own})


#: Builds the policy of a user, so that its problems are reported with all others.
BuildPolicy = Callable[[PolicySettings, list[Problem], list[Problem]], object]


def _is_reference(text: str) -> bool:
    try:
        ModuleRef.parse(text)
    except ValueError:
        return False
    return True


class Balancing(NamedTuple):
    """The sources of the policy of an upstream.

    `build` makes that of a user or a package; without it, as in a process that serves no requests, there is none.
    """

    policies: Policies
    installed: InstalledPolicies | None
    build: BuildPolicy | None

    def with_reference(self, section: RawSection) -> RawSection:
        """Return the section with MODULE:NAME as `balance` if it has the name of an installed package's policy.

        Raises ValueError for a name that several packages have, and for one that is nearly a package's.
        """
        value, known = section.options.get("balance"), {"sticky", *self.policies}
        if value is None or self.installed is None or value.text in known or _is_reference(value.text):
            return section
        if found := self.installed.reference(value.text):
            return replace(section, options=section.options | {"balance": replace(value, text=found)})
        if (meant := nearest(value.text, self.installed)) and meant not in known:
            raise ValueError(f"unknown policy {value.text!r}; did you mean {meant!r}?")
        return section

    def live(self, settings: PolicySettings, problems: list[Problem], warnings: list[Problem]) -> object:
        """Return the live policy; None if there is a problem."""
        if settings.reference is None:
            return settings.build(settings.built_in, problems, warnings)
        return self.build(settings, problems, warnings) if self.build is not None else None


def policy_options(table: Policies) -> list[Option]:
    """Return the options of all built-in policies, by name."""
    found = {option.name: option for cls in table.values() for option in options(cls)}
    return [found[name] for name in sorted(found)]


def option_prefix(cls: type[Any]) -> str:
    """Return what the names of the policy's options begin with; a field `prefix` is an option itself."""
    has_option = is_dataclass(cls) and any(field.name == "prefix" for field in fields(cls))
    return _PREFIX if has_option else getattr(cls, "prefix", _PREFIX)


def _text(section: RawSection, option: str) -> str:
    """Return the text of an option that names a policy."""
    value = section.options.get(option)
    return "round_robin" if value is None else value.text
