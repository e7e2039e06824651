"""The loader: from a settings file, and those that it includes, to `Settings`, or to all problems of the file."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from gproxy.config import checks
from gproxy.config.ini.build import build
from gproxy.config.ini.files import SourceFile, parse_files, read_files
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.sections.admin import AdminSettings
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

T = TypeVar("T")
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


@dataclass(slots=True)
class _Loading:
    """The loading of one file. A section that cannot be built is None; checks that depend on it are skipped."""

    path: Path
    sections: list[RawSection]
    builtins: Collection[str]
    problems: list[Problem]
    environ: Mapping[str, str]
    build_app: BuildApp | None = None
    build_job: BuildJob | None = None
    warnings: list[Problem] = field(default_factory=list)
    _by_name: dict[tuple[str, str], RawSection] = field(init=False)

    def __post_init__(self) -> None:
        self._by_name = {(section.kind, section.name): section for section in self.sections}

    def settings(self, balancing: Balancing, build_handler: BuildHandler | None) -> Settings:
        """Build and check all sections. Raise ConfigError with all problems."""
        # Late: the arbiter builds two sections and has no use for these.
        from gproxy.config import identity_checks, upstream_checks

        self.problems += checks.kinds(self.sections)
        server, gateway = self.single(ServerSettings, "server"), self.single(GatewaySettings, "gateway")
        log, state = self.single(LogSettings, "log"), self.single(StateSettings, "state")
        outgoing, admin = self.single(OutgoingSettings, "outgoing"), self.single(AdminSettings, "admin")
        trace, metrics = self.trace(), self.single(MetricsSettings, "metrics")
        errors = ErrorsSettings.of(self._section("errors"), self.problems, self.warnings)
        routes, tls = self._with_apps(self._named(RouteSettings, "route")), self._named(TLSSettings, "tls")
        upstreams = [*filter(None, (self._upstream(one, balancing) for one in self._of("upstream")))]
        jobs = self._with_functions(self._named(JobSettings, "job"))
        handlers = self._declared() | self._listed()
        self._check(routes, handlers)
        self.problems += checks.limits(self._with_sections(routes), server or ServerSettings())
        self.problems += checks.places(self._with_sections(routes), server) if server else ()
        self.warnings += checks.in_clear(self._with_sections(routes), server or ServerSettings())
        self._check_listeners(server, gateway, admin, tls)
        written = [(upstream, self._section("upstream", upstream.name)) for upstream in upstreams]
        self.warnings += upstream_checks.unverified(written)
        self.warnings += upstream_checks.idle(written)
        self.warnings += upstream_checks.loops(written, server or ServerSettings())
        if gateway and log:
            self._advise(gateway, log, routes, written)
        if build_handler is not None:
            handlers = self._built(handlers, build_handler)
            routes = with_credentials(routes, handlers.values())
            self._check_handlers(gateway, routes, handlers)
            self._check_identity(gateway, routes, handlers, tls, outgoing)
            self._check_chain_options(gateway, routes, handlers)
            if gateway and server:
                self.warnings += identity_checks.certificates(handlers.values(), tls, gateway, server)
        if log:
            headers = identity_checks.identity_headers(tls, (found.handler for found in handlers.values()))
            self.problems += identity_checks.logged_identities(log, headers, self._section("log"))
        if gateway:
            section = self._section("gateway")
            self.problems += checks.id_header(gateway.id_header, section, upstreams, tls, handlers.values())
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
            sections=tuple(self.sections),
            tls={section.name: section for section in tls},
        )

    def _advise(
        self,
        gateway: GatewaySettings,
        log: LogSettings,
        routes: list[RouteSettings],
        upstreams: list[tuple[UpstreamSettings, RawSection]],
    ) -> None:
        """Warn of options that are valid, and do not do what they seem to."""
        from gproxy.config import advice

        self.warnings += advice.ended_earlier(gateway, self._with_sections(routes), upstreams)
        self.warnings += advice.replaced(gateway, routes, upstreams)
        self.warnings += advice.timeouts(gateway, self._section("gateway"), self._with_sections(routes))
        self.warnings += advice.log_targets(log, self._section("log"))
        self.warnings += advice.include_folders(gateway.include, self.path, self._section("gateway"))

    def _check(self, routes: list[RouteSettings], handlers: Mapping[str, HandlerSettings]) -> None:
        from gproxy.config import upstream_checks

        self.problems += upstream_checks.upstreams(self.sections, self.path)
        self.problems += checks.uses(handlers.values(), self.builtins)
        self.problems += checks.shadowed(self._with_sections(routes))
        self.warnings += upstream_checks.unused(self.sections)
        self.warnings += checks.unlisted(self.sections)
        self.warnings += checks.variables(self.sections, handlers)
        gateway = self._section("gateway")
        for section in self._of("route") if "handlers" not in gateway.broken else ():
            self.problems += checks.skips(checks.names(section, "skip"), checks.names(gateway, "handlers"), section)

    def _built(
        self, handlers: Mapping[str, HandlerSettings], build_handler: BuildHandler
    ) -> dict[str, HandlerSettings]:
        """Return the handlers with their live objects; those that have others as members are built last."""
        built = dict(handlers)
        for found in sorted(handlers.values(), key=lambda one: one.use in checks.MEMBERS):
            built[found.name] = build_handler(found, built, self.problems, self.warnings)
        return built

    def _with_apps(self, routes: list[RouteSettings]) -> list[RouteSettings]:
        pairs, build = self._with_sections(routes), self.build_app or (lambda *_: None)
        return [one.with_app(build(one, section, self.problems)) if one.app.app else one for one, section in pairs]

    def _with_functions(self, jobs: list[JobSettings]) -> list[JobSettings]:
        self.problems += checks.unscheduled(self._of("job"))
        build = self.build_job or (lambda *_: None)
        return [one.with_function(build(one, self._section("job", one.name), self.problems)) for one in jobs]

    def _check_handlers(
        self, gateway: GatewaySettings | None, routes: list[RouteSettings], handlers: Mapping[str, HandlerSettings]
    ) -> None:
        """Check the handlers, which are built, against the routes on which they run."""
        from gproxy.config import advice, groups, upstream_checks

        self.problems += upstream_checks.asked(handlers.values(), self.sections)
        if gateway is None:
            return
        self.warnings += advice.pauses(gateway, routes, handlers)
        self.warnings += advice.early_limits(gateway, routes, handlers)
        self.warnings += advice.dropped_credentials(gateway, routes, handlers)
        if len(routes) == len(self._of("route")):  # a route with a problem may have the groups
            self.problems += groups.unknown_names(handlers.values(), gateway, routes)
            self.warnings += groups.hidden_groups(handlers.values(), gateway, routes)

    def _check_chain_options(
        self, gateway: GatewaySettings | None, routes: list[RouteSettings], handlers: Mapping[str, HandlerSettings]
    ) -> None:
        """Check what the chain does around the live handlers."""
        from gproxy.config import chain_checks

        with_sections = self._with_sections(routes)
        self.problems += chain_checks.unsafe(handlers.values())
        self.problems += chain_checks.without_mode(handlers.values())
        self.warnings += chain_checks.weak(handlers.values())
        self.warnings += chain_checks.reporting_guards(with_sections, handlers)
        if gateway is not None:
            self.problems += chain_checks.reported(gateway, with_sections, handlers)
            if len(routes) == len(self._of("route")):  # a route with a problem may list the handler
                self.problems += chain_checks.of_members(gateway, routes, handlers)

    def _check_identity(
        self,
        gateway: GatewaySettings | None,
        routes: list[RouteSettings],
        handlers: Mapping[str, HandlerSettings],
        tls: list[TLSSettings],
        outgoing: OutgoingSettings | None,
    ) -> None:
        """Check what the live handlers do with identities, alone and along the chains."""
        from gproxy.config import identity_advice, identity_chains, identity_checks

        self.problems += identity_chains.pointless_pass_on(handlers.values())
        self.warnings += identity_advice.weak_options(handlers)
        self.warnings += identity_advice.turned_claims(handlers.values())
        self.warnings += identity_advice.own_warnings(handlers.values())
        self.problems += identity_checks.insecure_urls(handlers.values(), outgoing) if outgoing else ()
        if gateway is not None:
            self._check_chains(gateway, routes, handlers, tls)

    def _check_chains(
        self,
        gateway: GatewaySettings,
        routes: list[RouteSettings],
        handlers: Mapping[str, HandlerSettings],
        tls: list[TLSSettings],
    ) -> None:
        """Check the identity handlers against the handlers before and behind them on each route."""
        from gproxy.config import identity_chains, identity_rules

        with_sections = self._with_sections(routes)
        of_tls = [(settings, self._section("tls", settings.name)) for settings in tls]
        self.problems += identity_chains.shared_headers(gateway, routes, handlers, of_tls)
        self.problems += identity_chains.repeated_members(gateway, with_sections, handlers, self._section("gateway"))
        self.warnings += identity_chains.hidden_documents(gateway, routes, handlers)
        self.warnings += identity_chains.late_cors(gateway, with_sections, handlers, self._section("gateway"))
        self.warnings += identity_chains.open_routes(gateway, with_sections, handlers)
        self.problems += identity_rules.guarded_publics(gateway, with_sections, handlers)
        self.warnings += identity_rules.unused_identities(gateway, routes, handlers)
        if len(routes) == len(self._of("route")):  # a route with a problem may be the one that a rule names
            self.problems += identity_rules.unknown_names(routes, handlers)
            if all(one.handler is not None for one in handlers.values()):  # one with a problem may find identities
                self.problems += identity_rules.unguarded_rules(gateway, routes, handlers)

    def _with_sections(self, routes: list[RouteSettings]) -> list[tuple[RouteSettings, RawSection]]:
        return [(route, self._section("route", route.name)) for route in routes]

    def _check_listeners(
        self,
        server: ServerSettings | None,
        gateway: GatewaySettings | None,
        admin: AdminSettings | None,
        tls: list[TLSSettings],
    ) -> None:
        from gproxy.config import admin_checks

        sections = self._of("tls")
        if server and gateway:
            names = [section.name for section in sections]
            self.problems += checks.listeners(server, gateway, names, self._section("server"))
            addresses = server.bind + (admin.bind if admin else ())
            self.warnings += checks.unused_tls(addresses, sections)
        if server and admin:
            self.problems += admin_checks.listeners(admin, server, sections, self._section("admin"))
            self.warnings += admin_checks.in_clear(admin, self._section("admin"))
        if tls:
            built = [(settings, self._section("tls", settings.name)) for settings in tls]
            checks.certificates(built, self.warnings, self.problems)

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
        for section in self._of("handler"):
            options = dict(section.options)
            use = options.pop("use", None)
            found[section.name] = HandlerSettings(section.name, use.text if use else section.name, options, section)
        return found

    def _listed(self) -> dict[str, HandlerSettings]:
        """Return the handlers that are listed without a section; their options have the defaults."""
        declared = {section.name for section in self._of("handler")}
        lists = [(s, "handlers") for s in (self._section("gateway"), *self._of("route"))]
        lists += [(s, option) for s in self._of("handler") if (option := checks.members_option(s))]
        self.problems += checks.handlers(lists, declared, self.builtins)
        return {
            name: HandlerSettings(name, name, {}, _implied(name, section, option))
            for section, option in reversed(lists)
            for name in checks.names(section, option)
            if name not in declared and checks.needs_no_section(name, self.builtins)
        }

    def single(self, cls: type[T], kind: str) -> T | None:
        return self._build(cls, self._section(kind))

    def trace(self) -> TraceSettings | None:
        """Return `[trace]`, and if the file has that section, OpenTelemetry's variables where it is silent."""
        trace, section = self.single(TraceSettings, "trace"), self._section("trace")
        if trace is None or ("trace", "") not in self._by_name:
            return trace
        try:
            return trace.with_environment(self.environ, frozenset(section.options))
        except ValueError as error:
            self.problems.append(section.problem("endpoint", str(error)))
            return None

    def _named(self, cls: type[T], kind: str) -> list[T]:
        return [one for section in self._of(kind) if (one := self._build(cls, section, name=section.name))]

    def _build(self, cls: type[T], section: RawSection, **fixed: str) -> T | None:
        return build(cls, section.options, section, self.problems, self.warnings, unknown=unknown_option, **fixed)

    def _of(self, kind: str) -> list[RawSection]:
        return [section for section in self.sections if section.kind == kind and section.name]

    def _section(self, kind: str, name: str = "") -> RawSection:
        return self._by_name.get((kind, name)) or RawSection(kind, name, str(self.path), 0)


def _implied(name: str, by: RawSection, option: str) -> RawSection:
    """Return an empty section for a listed handler; its problems point to the list."""
    value = by.options[option]
    return RawSection("handler", name, value.file, value.line)
