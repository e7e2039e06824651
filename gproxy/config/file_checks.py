"""The checks of a settings file that no single section can make. Each adds to the problems or to the warnings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gproxy.config import checks
from gproxy.config.ini.parser import RawSection, SectionTable
from gproxy.config.problems import Problem
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.sections.outgoing import OutgoingSettings
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, LogSettings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.upstream import UpstreamSettings


@dataclass(slots=True)
class FileChecks:
    """The checks of one file. A section with problems is missing or None; checks that depend on it are skipped."""

    path: Path
    table: SectionTable
    builtins: Collection[str]
    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)

    def routes(self, routes: list[RouteSettings], server: ServerSettings | None) -> None:
        """Check the routes against `[server]`."""
        with_sections = self._of_routes(routes)
        self.problems += checks.limits(with_sections, server or ServerSettings())
        self.problems += checks.places(with_sections, server) if server else ()
        self.warnings += checks.in_clear(with_sections, server or ServerSettings())

    def upstreams(self, upstreams: Sequence[UpstreamSettings], server: ServerSettings | None) -> None:
        """Warn of upstreams that trust too much, do nothing, or lead back to this gateway."""
        from gproxy.config import upstream_checks

        written = self._of_upstreams(upstreams)
        self.warnings += upstream_checks.unverified(written)
        self.warnings += upstream_checks.idle(written)
        self.warnings += upstream_checks.loops(written, server or ServerSettings())

    def live_handlers(
        self,
        gateway: GatewaySettings | None,
        server: ServerSettings | None,
        routes: list[RouteSettings],
        handlers: Mapping[str, HandlerSettings],
        tls: list[TLSSettings],
        outgoing: OutgoingSettings | None,
    ) -> None:
        """Check the handlers, which are built."""
        from gproxy.config import identity_checks

        self._handlers(gateway, routes, handlers)
        self._identity(gateway, routes, handlers, tls, outgoing)
        self._chain_options(gateway, routes, handlers)
        if gateway and server:
            self.warnings += identity_checks.certificates(handlers.values(), tls, gateway, server)

    def header_names(
        self,
        gateway: GatewaySettings | None,
        log: LogSettings | None,
        handlers: Mapping[str, HandlerSettings],
        tls: list[TLSSettings],
        upstreams: Sequence[UpstreamSettings],
    ) -> None:
        """Check the headers that are logged, and the one of the request id, against those that others set."""
        from gproxy.config import identity_checks

        if log:
            headers = identity_checks.identity_headers(tls, (found.handler for found in handlers.values()))
            self.problems += identity_checks.logged_identities(log, headers, self.table.section("log"))
        if gateway:
            section = self.table.section("gateway")
            self.problems += checks.id_header(gateway.id_header, section, upstreams, tls, handlers.values())

    def advise(
        self,
        gateway: GatewaySettings,
        log: LogSettings,
        routes: list[RouteSettings],
        upstreams: Sequence[UpstreamSettings],
    ) -> None:
        """Warn of options that are valid, and do not do what they seem to."""
        from gproxy.config import advice, upstream_checks

        written = self._of_upstreams(upstreams)
        self.warnings += upstream_checks.protocols(self._of_routes(routes), upstreams)
        self.warnings += advice.ended_earlier(gateway, self._of_routes(routes), written)
        self.warnings += advice.replaced(gateway, routes, written)
        self.warnings += advice.timeouts(gateway, self.table.section("gateway"), self._of_routes(routes))
        self.warnings += advice.log_targets(log, self.table.section("log"))
        self.warnings += advice.include_folders(gateway.include, self.path, self.table.section("gateway"))

    def sections(self, routes: list[RouteSettings], handlers: Mapping[str, HandlerSettings]) -> None:
        """Check the names that sections have for each other."""
        from gproxy.config import upstream_checks

        self.problems += upstream_checks.upstreams(self.table.all, self.path)
        self.problems += checks.uses(handlers.values(), self.builtins)
        self.problems += checks.shadowed(self._of_routes(routes))
        self.warnings += upstream_checks.unused(self.table.all)
        self.warnings += checks.unlisted(self.table.all)
        self.warnings += checks.variables(self.table.all, handlers)
        gateway = self.table.section("gateway")
        for section in self.table.of("route") if "handlers" not in gateway.broken else ():
            self.problems += checks.skips(checks.names(section, "skip"), checks.names(gateway, "handlers"), section)

    def _handlers(
        self, gateway: GatewaySettings | None, routes: list[RouteSettings], handlers: Mapping[str, HandlerSettings]
    ) -> None:
        """Check the handlers, which are built, against the routes on which they run."""
        from gproxy.config import advice, groups, upstream_checks

        self.problems += upstream_checks.asked(handlers.values(), self.table.all)
        if gateway is None:
            return
        self.warnings += advice.pauses(gateway, routes, handlers)
        self.warnings += advice.early_limits(gateway, routes, handlers)
        self.warnings += advice.dropped_credentials(gateway, routes, handlers)
        if len(routes) == len(self.table.of("route")):  # a route with a problem may have the groups
            self.problems += groups.unknown_names(handlers.values(), gateway, routes)
            self.warnings += groups.hidden_groups(handlers.values(), gateway, routes)

    def _chain_options(
        self, gateway: GatewaySettings | None, routes: list[RouteSettings], handlers: Mapping[str, HandlerSettings]
    ) -> None:
        """Check what the chain does around the live handlers."""
        from gproxy.config import chain_checks

        with_sections = self._of_routes(routes)
        self.problems += chain_checks.unsafe(handlers.values())
        self.problems += chain_checks.without_mode(handlers.values())
        self.warnings += chain_checks.weak(handlers.values())
        self.warnings += chain_checks.reporting_guards(with_sections, handlers)
        if gateway is not None:
            self.warnings += chain_checks.answered_before(gateway, with_sections, handlers)
            self.problems += chain_checks.reported(gateway, with_sections, handlers)
            if len(routes) == len(self.table.of("route")):  # a route with a problem may list the handler
                self.problems += chain_checks.of_members(gateway, routes, handlers)

    def _identity(
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
            self._chains(gateway, routes, handlers, tls)

    def _chains(
        self,
        gateway: GatewaySettings,
        routes: list[RouteSettings],
        handlers: Mapping[str, HandlerSettings],
        tls: list[TLSSettings],
    ) -> None:
        """Check the identity handlers against the handlers before and behind them on each route."""
        from gproxy.config import identity_chains, identity_rules

        with_sections = self._of_routes(routes)
        of_tls = [(settings, self.table.section("tls", settings.name)) for settings in tls]
        self.problems += identity_chains.shared_headers(gateway, routes, handlers, of_tls)
        self.problems += identity_chains.repeated_members(
            gateway, with_sections, handlers, self.table.section("gateway")
        )
        self.warnings += identity_chains.hidden_documents(gateway, routes, handlers)
        self.warnings += identity_chains.late_cors(gateway, with_sections, handlers, self.table.section("gateway"))
        self.warnings += identity_chains.open_routes(gateway, with_sections, handlers)
        self.problems += identity_rules.guarded_publics(gateway, with_sections, handlers)
        self.warnings += identity_rules.unused_identities(gateway, routes, handlers)
        if len(routes) == len(self.table.of("route")):  # a route with a problem may be the one that a rule names
            self.problems += identity_rules.unknown_names(routes, handlers)
            if all(one.handler is not None for one in handlers.values()):  # one with a problem may find identities
                self.problems += identity_rules.unguarded_rules(gateway, routes, handlers)

    def listeners(
        self,
        server: ServerSettings | None,
        gateway: GatewaySettings | None,
        admin: AdminSettings | None,
        tls: list[TLSSettings],
    ) -> None:
        """Check the addresses of all listeners, and what clients meet there."""
        from gproxy.config import admin_checks

        sections = self.table.of("tls")
        if server and gateway:
            names = [section.name for section in sections]
            self.problems += checks.listeners(server, gateway, names, self.table.section("server"))
            self.warnings += checks.few_streams(server, self.table.section("server"))
            addresses = server.bind + (admin.bind if admin else ())
            self.warnings += checks.unused_tls(addresses, sections)
        if server and admin:
            self.problems += admin_checks.listeners(admin, server, sections, self.table.section("admin"))
            self.warnings += admin_checks.in_clear(admin, self.table.section("admin"))
        if tls:
            built = [(settings, self.table.section("tls", settings.name)) for settings in tls]
            checks.certificates(built, self.warnings, self.problems)

    def _of_routes(self, routes: list[RouteSettings]) -> list[tuple[RouteSettings, RawSection]]:
        return [(route, self.table.section("route", route.name)) for route in routes]

    def _of_upstreams(self, upstreams: Sequence[UpstreamSettings]) -> list[tuple[UpstreamSettings, RawSection]]:
        return [(upstream, self.table.section("upstream", upstream.name)) for upstream in upstreams]
