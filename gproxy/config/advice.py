"""Warnings about settings that are valid but do not do what they seem to say; most come from other proxies."""

import glob
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from gproxy.config.ini.build import changed, option_values
from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, LogSettings, is_identity_handler
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types.access_log import LogTarget
from gproxy.config.types.units import write_seconds

#: Options of an upstream that a route's timeout ends; its total_timeout ends read_timeout too.
_WITHIN_TIMEOUT: Final = ("connect_timeout", "first_byte_timeout", "per_try_timeout", "queue_timeout")

_AUTHORIZATION: Final = "authorization"

#: Handlers that count the requests of each client, by their option `key`.
_LIMITS: Final = ("rate_limit", "concurrency")

#: Texts that mean something else to other programs than a file of this name.
_NO_FILES: Final = ("stdout", "stderr", "none", "no", "yes", "on")


def ended_earlier(
    gateway: GatewaySettings,
    routes: Sequence[tuple[RouteSettings, RawSection]],
    upstreams: Iterable[tuple[UpstreamSettings, RawSection]],
) -> Iterator[Problem]:
    """Yield a warning for each time limit that a shorter one ends, on all routes that use it."""
    limits = [(route, route.timeout or gateway.timeout, _total(gateway, route)) for route, _ in routes]
    heads = _longest((route, timeout) for route, timeout, _ in limits)
    totals = _longest((route, total) for route, _, total in limits)
    for upstream, section in upstreams:
        values, set_options = option_values(upstream), {*changed(upstream)}
        for option in (*_WITHIN_TIMEOUT, "read_timeout"):
            by, longest = ("total_timeout", totals) if option == "read_timeout" else ("timeout", heads)
            seconds, name = longest.get(upstream.name, (math.inf, ""))
            if option in set_options and (values[option] or 0) > seconds:
                yield section.problem(option, f"ends after {write_seconds(seconds)}, the {by} of [route:{name}]")


def replaced(
    gateway: GatewaySettings, routes: Sequence[RouteSettings], upstreams: Iterable[tuple[UpstreamSettings, RawSection]]
) -> Iterator[Problem]:
    """Yield a warning for each `read_timeout` in whose place `tunnel_timeout` is, on all routes that use it."""
    for upstream, section in upstreams:
        users = [route for route in routes if any(share.name == upstream.name for share in route.upstream)]
        longest = max((route.timeout or gateway.timeout for route in users), default=math.inf)
        if (upstream.read_timeout or 0) > longest and all(route.stream for route in users):
            yield section.problem("read_timeout", "has no effect: stream = yes has tunnel_timeout of the route instead")


def timeouts(
    gateway: GatewaySettings, section: RawSection, routes: Iterable[tuple[RouteSettings, RawSection]]
) -> Iterator[Problem]:
    """Yield a warning for each `timeout` that `total_timeout` ends, where one of the two is set."""
    wholes = [(gateway.timeout, gateway.total_timeout or math.inf, section)]
    wholes += [(route.timeout or gateway.timeout, _total(gateway, route), where) for route, where in routes]
    for timeout, total, where in wholes:
        option = next((name for name in ("timeout", "total_timeout") if name in where.options), "")
        if option and timeout > total:
            message = f"ends after {write_seconds(total)}, the total_timeout"
            yield where.problem(
                option, message if option == "timeout" else f"is less than {write_seconds(timeout)}, the timeout"
            )


def _total(gateway: GatewaySettings, route: RouteSettings) -> float:
    return route.total_timeout or gateway.total_timeout or math.inf


def _longest(limits: Iterable[tuple[RouteSettings, float]]) -> dict[str, tuple[float, str]]:
    """Return the longest limit for each upstream, with the name of its route."""
    longest: dict[str, tuple[float, str]] = {}
    for route, seconds in limits:
        for share in route.upstream:
            longest[share.name] = max(longest.get(share.name, (0.0, "")), (seconds, route.name))
    return longest


def pauses(
    gateway: GatewaySettings, routes: Iterable[RouteSettings], handlers: Mapping[str, HandlerSettings]
) -> Iterator[Problem]:
    """Yield a warning for each rate limit whose last requests of a burst would wait longer than a route lets them.

    A request waits at most half of its time.
    """
    shortest: dict[str, tuple[float, str]] = {}
    for route in routes:
        seconds = min(route.timeout or gateway.timeout, _total(gateway, route))
        for name in handler_names(gateway, route):
            shortest[name] = min(shortest.get(name, (math.inf, "")), (seconds, route.name))
    for name, (seconds, route_name) in shortest.items():
        found = handlers.get(name)
        pause = getattr(found.handler, "longest_pause", 0.0) if found else 0.0
        if found and pause > seconds / 2:
            message = f"the last request of a burst would wait {write_seconds(round(pause, 3))}; it gets 429 on "
            message += f"[route:{route_name}], where a request waits at most half of {write_seconds(seconds)}"
            yield found.section.problem("burst", message)


def early_limits(
    gateway: GatewaySettings, routes: Iterable[RouteSettings], handlers: Mapping[str, HandlerSettings]
) -> Iterator[Problem]:
    """Yield a warning for each limit by identity that runs before every handler that could know the user."""
    early: dict[str, tuple[str, str]] = {}
    for route in routes:
        chain = [name for name in handler_names(gateway, route) if name in handlers]
        first = next((name for name in chain if may_identify(handlers[name])), "")
        if first and is_identity_handler(handlers[first]):
            for name in chain[: chain.index(first)]:
                early.setdefault(name, (first, route.name))
    for name, (identity, route_name) in early.items():
        found = handlers[name]
        if found.use in _LIMITS and getattr(found.handler, "needs_identity", False):
            by_key = getattr(found.handler, "tier", None) is None
            what = "counts by address" if by_key else "has the limit of no tier"
            message = f"{what} on [route:{route_name}], where {identity} identifies the user later; "
            message += f"write {identity} before {name} in handlers"
            yield found.section.problem("key" if by_key else "tier", message)


def may_identify(found: HandlerSettings) -> bool:
    """Return whether the handler may set a request's user: a handler of the user's own may."""
    return is_identity_handler(found) or found.is_user_code


def handler_names(gateway: GatewaySettings, route: RouteSettings) -> list[str]:
    """Return the names of the handlers that a request on the route passes."""
    return [*(name for name in gateway.handlers if name not in route.skip), *route.handlers]


def dropped_credentials(
    gateway: GatewaySettings, routes: Sequence[RouteSettings], handlers: Mapping[str, HandlerSettings]
) -> Iterator[Problem]:
    """Yield a warning for each `headers` handler whose Authorization does not reach the backends of a route."""
    for name, found in handlers.items():
        text = found.options["request"].text.lower() if "request" in found.options else ""
        sets = map(str.lower, getattr(found.handler, "request", ()))
        if found.use != "headers" or _AUTHORIZATION not in sets:
            continue
        dropping = [route for route in routes if (route.upstream or route.app.app) and not route.keeps_authorization]
        where = ", ".join(f"[route:{route.name}]" for route in dropping if name in handler_names(gateway, route))
        if where:
            below = text.count("\n", 0, text.index(_AUTHORIZATION))
            message = f"Authorization is removed before {where} forwards; write keep = Authorization there"
            yield found.section.problem("request", message, below=below)


def log_targets(log: LogSettings, section: RawSection) -> Iterator[Problem]:
    """Yield a warning for each file of the access log that cannot be written, and each missing socket of syslog."""
    value = section.options.get("access")
    lines = [below for below, _ in split(value.text)] if value else [0]
    for target, below in zip(log.access, lines, strict=False):
        if message := _target_problem(target):
            yield section.problem("access", message, below=below)


def _target_problem(target: LogTarget) -> str:
    if target.text in _NO_FILES:
        return f"{target.text} is a file's name; write - for standard output, or off for no log"
    if target.is_file:
        return _folder_problem(Path(target.text).absolute().parent)
    path = target.address.path if target.address else ""
    return (
        f"{path} does not exist; lines wait until a syslog server makes it" if path and not Path(path).exists() else ""
    )


def _folder_problem(wanted: Path) -> str:
    found = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
    if not found.is_dir():
        return f"{found} is not a folder"
    if not os.access(found, os.W_OK | os.X_OK):
        what = "cannot be written to" if found == wanted else f"cannot be made: {found} is not writable"
        return f"the folder {wanted} {what} by this user"
    return ""


def include_folders(patterns: Sequence[str], path: Path, section: RawSection) -> Iterator[Problem]:
    """Yield a warning for each pattern of `include` in a folder that does not exist; in others it may match nothing."""
    for pattern in patterns:
        folder = (path.parent / pattern).parent
        if not glob.has_magic(str(folder)) and not folder.is_dir():
            yield section.problem("include", f"{pattern} matches nothing: {folder} is not a folder")
