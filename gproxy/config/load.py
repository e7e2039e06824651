"""The loader: from a settings file, and those that it includes, to `Settings`, or to all problems of the file."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from gproxy.config import checks
from gproxy.config.ini.build import build
from gproxy.config.ini.files import SourceFile, parse_files, read_files
from gproxy.config.ini.parser import RawSection, SectionTable, Value
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.sections.app import AppRef
from gproxy.config.sections.errors import ErrorsSettings
from gproxy.config.sections.job import BuildJob, JobSettings
from gproxy.config.sections.metrics import MetricsSettings
from gproxy.config.sections.outgoing import OutgoingSettings
from gproxy.config.sections.policy import Balancing, BuildPolicy, InstalledPolicies, Policies, PolicySettings
from gproxy.config.sections.route import BuildApp, RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import (
    PARTS,
    GatewaySettings,
    HandlerSettings,
    LogSettings,
    Settings,
    unknown_option,
    with_credentials,
)
from gproxy.config.sections.state import StateSettings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.trace import TraceSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import ModuleRef

T = TypeVar("T")
R = TypeVar("R")
Overrides = Mapping[tuple[str, str], str]
#: Builds a handler, so that `load` reports its problems: (settings, all handlers, problems, warnings).
BuildHandler = Callable[[HandlerSettings, Mapping[str, HandlerSettings], list[Problem], list[Problem]], HandlerSettings]

_NOTHING: Overrides = {}
_NO_POLICIES: Policies = {}


def load(
    path: str | os.PathLike[str],
    *,
    builtins: Collection[str],
    policies: Policies = _NO_POLICIES,
    balancers: InstalledPolicies | None = None,
    overrides: Overrides = _NOTHING,
    environ: Mapping[str, str] = os.environ,
    build_handler: BuildHandler | None = None,
    build_policy: BuildPolicy | None = None,
    build_app: BuildApp | None = None,
    build_job: BuildJob | None = None,
    files: Sequence[SourceFile] | None = None,
) -> Settings:
    """Load the settings in the file. `overrides`, by (section, option), replace options of the file.

    `builtins` are the names of handlers that need no `use`: built-in ones, and perhaps those of installed packages.
    `policies` are the built-in policies, `balancers` those of packages. A list in an override has the file's syntax.
    `files` are the file and those that it includes, if they are already read. Raise ConfigError with all problems. The
    function opens only these files, those of secrets, and certificates.
    """
    problems: list[Problem] = []
    sections = parse_files(read_files(path, environ) if files is None else files, environ, problems)
    if sections is None:
        raise ConfigError(problems)
    relevant = [problem for problem in problems if (problem.section, problem.option) not in overrides]
    loading = _Loading(Path(path), _override(sections, overrides), builtins, relevant, environ, build_app, build_job)
    return loading.settings(Balancing(policies, balancers, build_policy), build_handler)


class ProcessSettings(NamedTuple):
    """The sections that the arbiter needs; None for a section with problems."""

    server: ServerSettings | None
    log: LogSettings | None
    admin: AdminSettings | None
    trace: TraceSettings | None


def load_process(
    files: Sequence[SourceFile], overrides: Overrides, environ: Mapping[str, str] = os.environ
) -> ProcessSettings:
    """Return the settings of processes, for a process that serves no requests. `load` reports all problems."""
    sections = parse_files(files, environ, [])
    if sections is None:
        return ProcessSettings(None, None, None, None)
    loading = _Loading(Path(files[0].path), _override(sections, overrides), (), [], environ)
    return ProcessSettings(
        loading.single(ServerSettings, "server"),
        loading.single(LogSettings, "log"),
        loading.single(AdminSettings, "admin"),
        loading.trace(),
    )


def _override(sections: list[RawSection], overrides: Overrides) -> list[RawSection]:
    changed = {section.title: section for section in sections}
    for title, option in [place for place in overrides if place != PARTS]:
        kind, _, name = title.partition(":")
        section = changed.get(title) or RawSection(kind, name, "command line", 0)
        options = section.options | {option: Value(overrides[title, option], "command line", 0)}
        changed[title] = replace(section, options=options, broken=section.broken - {option})
    return list(changed.values())


class _Loading:
    """The loading of one file. A section that cannot be built is None; checks that depend on it are skipped."""

    def __init__(
        self,
        path: Path,
        sections: list[RawSection],
        builtins: Collection[str],
        problems: list[Problem],
        environ: Mapping[str, str],
        build_app: BuildApp | None = None,
        build_job: BuildJob | None = None,
    ) -> None:
        self.path, self.builtins, self.environ = path, builtins, environ
        self.build_app, self.build_job = build_app, build_job
        self.problems, self.warnings = problems, list[Problem]()
        self.table = SectionTable(sections, str(path))

    def settings(self, balancing: Balancing, build_handler: BuildHandler | None) -> Settings:
        """Build and check all sections. Raise ConfigError with all problems."""
        from gproxy.config.file_checks import FileChecks  # late: the arbiter builds few sections and checks none

        found = FileChecks(self.path, self.table, self.builtins, self.problems, self.warnings)
        self.problems += checks.kinds(self.table.all)
        server, gateway = self.single(ServerSettings, "server"), self.single(GatewaySettings, "gateway")
        log, state = self.single(LogSettings, "log"), self.single(StateSettings, "state")
        outgoing, admin = self.single(OutgoingSettings, "outgoing"), self.single(AdminSettings, "admin")
        trace, metrics = self.trace(), self.single(MetricsSettings, "metrics")
        errors = ErrorsSettings.of(self.table.section("errors"), self.problems, self.warnings)
        routes, tls = self._routes(), self._named(TLSSettings, "tls")
        upstreams = [*filter(None, (self._upstream(one, balancing) for one in self.table.of("upstream")))]
        jobs = self._jobs()
        handlers = self._declared() | self._listed()
        found.sections(routes, handlers)
        found.routes(routes, server)
        found.listeners(server, gateway, admin, tls)
        found.upstreams(upstreams, server)
        if gateway and log:
            found.advise(gateway, log, routes, upstreams)
        if build_handler is not None:
            handlers = self._built(handlers, build_handler)
            routes = with_credentials(routes, handlers.values())
            found.live_handlers(gateway, server, routes, handlers, tls, outgoing)
        found.header_names(gateway, log, handlers, tls, upstreams)
        self.problems += checks.started_elsewhere(self.path, self.problems)
        if self.problems or not (server and gateway and log and state and errors and outgoing and admin and trace):
            raise ConfigError(self.problems)
        return Settings(
            path=self.path,
            server=server,
            gateway=gateway,
            routes=tuple(routes),
            upstreams={upstream.name: upstream for upstream in upstreams},
            handlers=handlers,
            jobs=tuple(jobs),
            log=log,
            state=state,
            errors=errors,
            outgoing=outgoing,
            admin=admin,
            trace=trace,
            metrics=metrics or MetricsSettings(),
            warnings=tuple(sorted(self.warnings, key=lambda problem: (problem.file, problem.line))),
            sections=tuple(self.table.all),
            tls={section.name: section for section in tls},
        )

    def _built(
        self, handlers: Mapping[str, HandlerSettings], build_handler: BuildHandler
    ) -> dict[str, HandlerSettings]:
        """Return the handlers with their live objects; those that have others as members are built last."""
        built = dict(handlers)
        for found in sorted(handlers.values(), key=lambda one: one.use in checks.MEMBERS):
            built[found.name] = build_handler(found, built, self.problems, self.warnings)
        return built

    def _routes(self) -> list[RouteSettings]:
        """Return the routes with their apps. The app of a route with problems is imported too, for its own."""
        sections = self.table.of("route")
        routes = [self._build(RouteSettings, one, name=one.name) for one in sections]
        apps = [self._imported(one, "app", AppRef.parse, self.build_app) for one in sections]
        return [
            route.with_app(app) if app is not None else route for route, app in zip(routes, apps, strict=True) if route
        ]

    def _jobs(self) -> list[JobSettings]:
        """Return the jobs with their functions. The function of one with problems is imported too, for its own."""
        sections = self.table.of("job")
        self.problems += checks.unscheduled(sections)
        jobs = [self._build(JobSettings, one, name=one.name) for one in sections]
        functions = [self._imported(one, "use", ModuleRef.parse, self.build_job) for one in sections]
        return [job.with_function(function) for job, function in zip(jobs, functions, strict=True) if job]

    def _imported(
        self,
        section: RawSection,
        option: str,
        parse: Callable[[str], R],
        build: Callable[[R, RawSection, list[Problem]], T | None] | None,
    ) -> T | None:
        """Return the object that the option names; None if it names none."""
        value = section.options.get(option)
        if value is None or build is None:
            return None
        try:
            reference = parse(value.text)
        except ValueError:  # reported as a problem of the option
            return None
        return build(reference, section, self.problems)

    def _upstream(self, section: RawSection, balancing: Balancing) -> UpstreamSettings | None:
        """Return the settings of an upstream with its policy; None if one of the two has a problem."""
        try:
            section = balancing.with_reference(section)
        except ValueError as error:
            self.problems.append(section.problem("balance", str(error)))
            return None
        policy = PolicySettings.of(section, balancing.policies)
        live = balancing.live(policy, self.problems, self.warnings)
        given = {name: value for name, value in section.options.items() if name not in policy.options}
        return build(UpstreamSettings, given, section, self.problems, self.warnings, name=section.name, policy=live)

    def _declared(self) -> dict[str, HandlerSettings]:
        """Return the handlers that have a section."""
        found = {}
        for section in self.table.of("handler"):
            options = dict(section.options)
            use = options.pop("use", None)
            found[section.name] = HandlerSettings(section.name, use.text if use else section.name, options, section)
        return found

    def _listed(self) -> dict[str, HandlerSettings]:
        """Return the handlers that are listed without a section; their options have the defaults."""
        declared = {section.name for section in self.table.of("handler")}
        lists = [(s, "handlers") for s in (self.table.section("gateway"), *self.table.of("route"))]
        lists += [(s, option) for s in self.table.of("handler") if (option := checks.members_option(s))]
        self.problems += checks.handlers(lists, declared, self.builtins)
        return {
            name: HandlerSettings(name, name, {}, _implied(name, section, option))
            for section, option in reversed(lists)
            for name in checks.names(section, option)
            if name not in declared and checks.needs_no_section(name, self.builtins)
        }

    def single(self, cls: type[T], kind: str) -> T | None:
        return self._build(cls, self.table.section(kind))

    def trace(self) -> TraceSettings | None:
        """Return `[trace]`, and if the file has that section, OpenTelemetry's variables where it is silent."""
        trace, section = self.single(TraceSettings, "trace"), self.table.section("trace")
        if trace is None or ("trace", "") not in self.table:
            return trace
        try:
            return trace.with_environment(self.environ, frozenset(section.options))
        except ValueError as error:
            self.problems.append(section.problem("endpoint", str(error)))
            return None

    def _named(self, cls: type[T], kind: str) -> list[T]:
        return [one for section in self.table.of(kind) if (one := self._build(cls, section, name=section.name))]

    def _build(self, cls: type[T], section: RawSection, **fixed: str) -> T | None:
        return build(cls, section.options, section, self.problems, self.warnings, unknown=unknown_option, **fixed)


def _implied(name: str, by: RawSection, option: str) -> RawSection:
    """Return an empty section for a listed handler; its problems point to the list."""
    value = by.options[option]
    return RawSection("handler", name, value.file, value.line)
