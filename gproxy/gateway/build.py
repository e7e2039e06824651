"""Construction of live objects from settings; the only file that knows all parts."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final, cast

from gproxy.config.identity_checks import identity_headers
from gproxy.config.ini.files import SourceFile, parse_files, read_files
from gproxy.config.ini.parser import RawSection
from gproxy.config.load import load as load_settings
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.sections.app import AppRef
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import PARTS, Settings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.matchers import as_set
from gproxy.gateway import user_code
from gproxy.gateway.build_handler import build_handler, job_function, reporter, user_policy
from gproxy.gateway.enclosed_gateway import EnclosedGateway
from gproxy.gateway.error_responses import ErrorResponses, ErrorView
from gproxy.gateway.gateway import Background, Gateway, GatewayParts
from gproxy.gateway.packages import balancer_names, handler_names
from gproxy.gateway.policy.report import REPORT_HEADER
from gproxy.gateway.policy.steps import PolicySteps
from gproxy.gateway.route import Route
from gproxy.gateway.route_action import PLAIN_FORWARD, ForwardKind, app_head, destination, path_change, stripped
from gproxy.gateway.router import Router
from gproxy.gateway.upstream_call import upstream_call
from gproxy.gateway.watch.capture_rules import CaptureRules
from gproxy.gateway.watch.observers import ExchangeFeed, HandlerDurations
from gproxy.gateway.watch.time_account import part_of
from gproxy.gateway.watch.watch_rules import TIMING_HEADER, Periodic, TimingHeader, WatchRule
from gproxy.gateway.watch.watched_chain import WatchedChains, ruled_action, timed, traced, watched_chain
from gproxy.gateway.watch.watched_forward import WATCHED
from gproxy.gateway.watch.watching_gateway import WatchingGateway
from gproxy.handlers.allow import Allow
from gproxy.handlers.body_limit import BodyLimit
from gproxy.handlers.metrics import Metrics
from gproxy.http.buffers import Buffers
from gproxy.http.exchange import Observer
from gproxy.http.handler import Handler, Next
from gproxy.http.time_limit import ExchangeLimits
from gproxy.http.trust import Trust
from gproxy.identity.identifier import Identifier
from gproxy.identity.sources import RemoveCredentials, Source, credentials
from gproxy.observe.access_fields import NotedFields
from gproxy.runtime import Runtime
from gproxy.runtime.command_part import CommandPart
from gproxy.runtime.route_parts import MakeAction, RouteParts
from gproxy.upstream.balance import POLICIES, BalancingPolicy
from gproxy.upstream.discovery import SOCKETS, Network, tls_of
from gproxy.upstream.http1.pool import Connections
from gproxy.upstream.http1.tls_session import OFFERS
from gproxy.upstream.sticky import StickyUpstream
from gproxy.upstream.upstream import Upstream

if TYPE_CHECKING:
    from gproxy.generations.probation_counts import ProbationCounts

#: What makes the action of a route, MODULE:NAME, by the option that names the action. A part that no route uses is not
#: imported.
ACTIONS: Final[Mapping[str, str]] = {
    "app": "gproxy.apps.app:action",
    "root": "gproxy.static.files:action",
}
#: What works beside the requests: a function of the sections of this kind and the runtime, MODULE:NAME. Without such a
#: section it is not imported.
BACKGROUND: Final[Mapping[str, str]] = {"job": "gproxy.jobs.runner:JobRunner"}
#: What makes the connections to a backend over HTTP/2, MODULE:NAME. Without `http2` it is not imported.
SHARED: Final = "gproxy.upstream.http2.pool:HTTP2Pool"
_NO_OVERRIDES: Mapping[tuple[str, str], str] = {}


def load(
    path: str | os.PathLike[str],
    overrides: Mapping[tuple[str, str], str] = _NO_OVERRIDES,
    files: Sequence[SourceFile] | None = None,
) -> Settings:
    """Load the settings, with the handlers and policies that they describe. Raises ConfigError with every problem.

    `files` are the file and those that it includes, if the caller has read them already.
    """
    user_code.make_importable(Path(path))
    handlers, balancers = handler_names(Path(path)), balancer_names(Path(path))
    files = read_files(path, os.environ) if files is None else files
    try:
        settings = load_settings(
            path,
            builtins=handlers,
            policies=POLICIES,
            balancers=balancers,
            overrides=overrides,
            build_handler=partial(build_handler, installed=handlers),
            build_policy=partial(user_policy, installed=balancers),
            build_app=_app,
            build_job=job_function,
            files=files,
        )
    except ConfigError as error:
        problems = _selftest_problems(parse_files(files, os.environ, []) or ())
        raise ConfigError([*error.problems, *problems]) from None
    if problems := _selftest_problems(settings.sections):
        raise ConfigError(problems)
    return replace(settings, parts=tuple(overrides[PARTS].split())) if PARTS in overrides else settings


def _selftest_problems(sections: Iterable[RawSection]) -> list[Problem]:
    """Return the problems of the functions and requests of the self-test."""
    found = [section for section in sections if section.title == "server" and "selftest" in section.options]
    if not found:
        return []
    from gproxy.gateway.selftest_functions import selftest_problems  # late: most gateways have no self-test

    return selftest_problems(found[0])


def build(
    settings: Settings, runtime: Runtime, observers: Sequence[Observer] = (), network: Network = SOCKETS
) -> Gateway:
    """Build the gateway, without opening anything. The settings must come from `load`, and are built once.

    `observers` record each exchange; the caller opens and closes them. `network` is the way to the backends.
    """
    handlers = {name: cast(Handler, found.handler) for name, found in settings.handlers.items()}
    _name_challengers(handlers)
    secret = identity_headers(settings.tls.values(), handlers.values())
    upstreams = {name: _upstream(found, runtime, network, secret) for name, found in settings.upstreams.items()}
    added: list[CommandPart] = [resolve_name(one)(settings, runtime) for one in settings.parts]
    views: list[ErrorView] = [one.error for one in added]
    counts = _probation_counts(runtime, handlers) if settings.server.probation else ()
    views += [one.note for one in counts]
    errors = ErrorResponses(settings.errors.pages, as_set(settings.errors.replace), views=views)
    keep = () if settings.identity_handlers else ("Authorization",)
    timeout = settings.gateway.timeout
    runtime.call_timeout = timeout
    runtime.upstreams |= {name: upstream_call(one, timeout, errors, keep) for name, one in upstreams.items()}
    options = {name: found.chain for name, found in settings.handlers.items()}
    steps = PolicySteps(handlers, errors, runtime, options, settings.gateway.report_header)
    parts = GatewayParts(
        runtime=runtime,
        handlers=handlers,
        steps=steps,
        handler_names=settings.gateway.handlers,
        upstreams=list(upstreams.values()),
        background=_background(settings, runtime),
        trust=_trust(settings, handlers),
        limits=ExchangeLimits.of_gateway(settings.gateway.timeout, settings.gateway.total_timeout),
        observers=[*observers, *counts],
        errors=errors,
        notes=NotedFields.of(settings.log.field_names),
    )
    ruled = frozenset(name for one in handlers.values() if isinstance(one, Allow) for name in one.rule_routes)
    routes = _Routes(settings, handlers, steps, upstreams, runtime, errors, ruled)
    gateway = _watching(routes, settings, parts) if _is_watching(settings) else Gateway(Router(routes.plain()), parts)
    if parts.captures is not None:
        for part in added:
            part.watch(parts.captures)
    return EnclosedGateway(gateway, added) if added else gateway


def _probation_counts(runtime: Runtime, handlers: Mapping[str, Handler]) -> "Sequence[ProbationCounts]":
    """Return what counts the errors of handlers for the arbiter."""
    from gproxy.generations.probation_counts import ProbationCounts  # late: most gateways have no probation
    from gproxy.introspection.handler_code import HandlerCode

    counts = ProbationCounts(HandlerCode(handlers).name, user_code.place)
    runtime.handler_errors = counts.read
    return [counts]


def _trust(settings: Settings, handlers: Mapping[str, Handler]) -> Trust:
    never = _names(upstream.retry.header for upstream in settings.upstreams.values())
    own = [TIMING_HEADER] if settings.trace.timing_token is not None else []
    own += [REPORT_HEADER] if settings.gateway.report_header is not None else []
    return Trust(
        settings.gateway.trusted_proxies,
        identity=identity_headers(settings.tls.values(), handlers.values()),
        never=never | _names(own),
        from_proxies=_names(upstream.deadline_header for upstream in settings.upstreams.values()),
        id_header=settings.gateway.id_header,
        credentials=frozenset(one.key for handler in handlers.values() for one in credentials(handler) if one.key),
    )


def _is_watching(settings: Settings) -> bool:
    """Return whether some requests are watched: for the monitor, for the metrics of handlers, or for Server-Timing."""
    has_metrics = any(isinstance(found.handler, Metrics) for found in settings.handlers.values())
    return settings.has_monitor or has_metrics or settings.trace.timing_token is not None


def _watching(routes: "_Routes", settings: Settings, parts: GatewayParts) -> Gateway:
    """Return a gateway that watches some of its requests."""
    runtime, token = parts.runtime, settings.trace.timing_token
    if runtime.feed is not None and settings.admin.bind:
        streams = [route.name for route in settings.routes if route.stream]
        parts.observers.append(ExchangeFeed(runtime.feed, settings.admin.slow, streams))
    parts.observers.append(HandlerDurations(runtime.metrics))
    parts.captures = CaptureRules(runtime.live_rules, parts.observers, [route.name for route in settings.routes])
    return WatchingGateway(
        Router(routes.plain()),
        parts,
        watched=WatchedChains(Router(routes.watched()), parts),
        timing=TimingHeader(token) if token is not None else None,
        rules=[*_traced(settings, parts), Periodic()],
    )


def _traced(settings: Settings, parts: GatewayParts) -> list[WatchRule]:
    """Return the rule that samples requests, and add the observer that ends their traces; nothing without traces."""
    trace, feed = settings.trace, parts.runtime.feed
    if not trace.endpoint or feed is None:
        return []
    from gproxy.tracing import otel_bridge  # late: most gateways have no traces
    from gproxy.tracing.error_spans import ServerSpans
    from gproxy.tracing.request_trace import TraceOutput
    from gproxy.tracing.sampler import RouteShares, TraceSampler
    from gproxy.tracing.span_record import KIND

    output = TraceOutput(partial(feed.put, KIND), full=trace.errors == "full", bridge=otel_bridge.bridge())
    streams = [route.name for route in settings.routes if route.stream]
    paths = {route.name: route.path for route in settings.routes}
    errors = trace.errors != "no"
    parts.observers.append(ServerSpans(output, paths, errors=errors, slow=settings.admin.slow, streams=streams))
    own = {route.name: route.sample for route in settings.routes if route.sample is not None}
    return [TraceSampler(trace, parts.trust, RouteShares(trace.sample, own), output)]


def _name_challengers(handlers: Mapping[str, Handler]) -> None:
    """Give the access rules the identity handlers, whose challenges name what a credential lacks."""
    challengers = {name: handler for name, handler in handlers.items() if isinstance(handler, Identifier)}
    for handler in handlers.values():
        if isinstance(handler, Allow):
            handler.challengers = challengers


def _names(headers: Iterable[str | None]) -> frozenset[str]:
    return frozenset(name.lower() for name in headers if name)


@dataclass
class _Routes:
    """The parts that all routes have in common; it makes the routes, plain or watched.

    ruled: the names of the routes that access rules name.
    """

    settings: Settings
    handlers: Mapping[str, Handler]
    steps: PolicySteps
    upstreams: Mapping[str, Upstream]
    runtime: Runtime
    errors: ErrorResponses
    ruled: frozenset[str]

    def plain(self) -> list[Route]:
        """Return the routes whose chains are not watched."""
        return [
            self._route(one, [step for _, step in self._steps(one)], self._action(one)) for one in self.settings.routes
        ]

    def watched(self) -> list[Route]:
        """Return the routes whose chains are watched."""
        return [
            self._route(one, [], watched_chain(self._steps(one), self._watched_action(one), self.errors))
            for one in self.settings.routes
        ]

    def _watched_action(self, route: RouteSettings) -> Next:
        """Return the action of a watched chain. An app is a part of the time account, as handlers are."""
        action = ruled_action(self._action(route, WATCHED))
        name = f"app:{route.name}"
        return timed(part_of(name), traced(name, action)) if route.action == "app" else action

    def _route(self, route: RouteSettings, handlers: Sequence[Handler], action: Next) -> Route:
        gateway = self.settings.gateway
        return Route(
            route,
            timeout=route.timeout or gateway.timeout,
            total_timeout=route.total_timeout or gateway.total_timeout,
            action=action,
            handlers=handlers,
            gateway_handlers=gateway.handlers,
            is_in_rules=route.name in self.ruled,
            errors=self.errors,
        )

    def _steps(self, route: RouteSettings) -> list[tuple[str, Handler]]:
        """Return the steps of the route's own chain with the names of the handlers; other steps have no name."""
        limit = [("", BodyLimit(route.max_body))] if route.max_body else []
        remove = RemoveCredentials.of(_unread_credentials(route, self.settings, self.handlers), route.keep)
        return [*limit, *self.steps.chain(route.handlers, route.report), *([("", remove)] if remove else [])]

    def _action(self, route: RouteSettings, kind: ForwardKind = PLAIN_FORWARD) -> Next:
        timeout = route.timeout or self.settings.gateway.timeout
        make = partial(destination, route, self.upstreams, timeout, self.runtime.throttle, self.errors, kind)
        if route.action not in ACTIONS:
            return make()
        make_action: MakeAction = resolve_name(ACTIONS[route.action])
        return make_action(route, self._parts(route, timeout, make if route.upstream else None))

    def _parts(self, route: RouteSettings, timeout: float, forward: Callable[[], Next] | None) -> RouteParts:
        retries = [self.settings.upstreams[share.name].retry for share in route.upstream]
        return RouteParts(
            self.runtime,
            timeout,
            path_change(route),
            forward,
            head=app_head(route, self.runtime.instance, self.runtime.id_header),
            prefix=stripped(route),
            replay=(min((one.replay for one in retries), default=0), min((one.spool for one in retries), default=0)),
            is_multiprocess=self.settings.server.workers != 1,
        )


def _background(settings: Settings, runtime: Runtime) -> dict[str, Background]:
    """Return what works beside the requests, by the kind of its sections."""
    sections = {"job": settings.jobs}
    return {kind: resolve_name(BACKGROUND[kind])(given, runtime) for kind, given in sections.items() if given}


def _unread_credentials(
    route: RouteSettings, settings: Settings, handlers: Mapping[str, Handler]
) -> dict[Source, None]:
    """Return the sources of the identity handlers that do not run on the route: no backend gets what is in them.

    A handler that only reports removes no credential that it would reject, so it counts as one that does not run.
    """
    passed = {*settings.gateway.handlers}.difference(route.skip).union(route.handlers)
    running = {name for name in passed if settings.handlers[name].mode_on(route) == "enforce"}
    unread = (handler for name, handler in handlers.items() if name not in running)
    return {source: None for handler in unread for source in credentials(handler)}


def _upstream(settings: UpstreamSettings, runtime: Runtime, network: Network, secret: frozenset[str]) -> Upstream:
    kind = StickyUpstream if settings.balance == "sticky" else Upstream
    if settings.http2 != "no" and network is SOCKETS:
        network = _sharing(settings, network, secret, runtime.buffers)
    return kind(settings, cast(BalancingPolicy, settings.policy), runtime, network=network)


def _sharing(settings: UpstreamSettings, network: Network, secret: frozenset[str], buffers: Buffers) -> Network:
    """Return the network in which requests to the upstream share connections of HTTP/2.

    `secret` are the names of fields with what identifies a client.
    """
    pool: Callable[..., Connections] = resolve_name(SHARED)
    fallback = tls_of(settings, OFFERS["no"]) if settings.http2 == "auto" else None
    make = partial(pool, most=settings.http2_connections, fallback=fallback, never_indexed=secret, buffers=buffers)
    return replace(network, connections=make)


def _app(reference: AppRef, section: RawSection, problems: list[Problem]) -> object:
    """Return the WSGI app of a route. Report a problem and return None if there is none."""
    from gproxy.apps.isolation import kept_loggers  # late: most gateways have no apps

    report, (module_name, attribute) = reporter(section, "app", problems), reference.parts
    with kept_loggers():
        found = user_code.find(module_name, attribute, report)
        if found is not None and reference.is_factory and callable(found):
            found = user_code.made(found, found, report)
    if found is None:
        return None
    if not callable(found):
        report(f"{reference} is not callable; expected a WSGI app, or a function that returns one if () follows")
    elif signature_problem := user_code.signature_problem(found, "environ", "start_response"):
        hint = "; write () after the name of a factory" if not reference.is_factory else ""
        report(f"{reference} {signature_problem}{hint}")
    return found
