"""Settings to live objects; the only file that knows all parts."""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from gproxy.config.coerce import build as build_from_options
from gproxy.config.load import load
from gproxy.config.problems import Problem, nearest
from gproxy.config.routes import RouteSettings
from gproxy.config.sections import HandlerSettings, Settings
from gproxy.gateway.chain import compose
from gproxy.gateway.destination import destination
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.handlers import BUILT_IN
from gproxy.handlers.body_limit import BodyLimit
from gproxy.http.handler import Handler
from gproxy.observe.accesslog import AccessLog
from gproxy.upstream.upstream import Upstream

_NO_OVERRIDES: Mapping[tuple[str, str], str] = {}


def build(
    path: str | os.PathLike[str], overrides: Mapping[tuple[str, str], str] = _NO_OVERRIDES
) -> tuple[Settings, Gateway]:
    """Load and build everything, open nothing. Raises ConfigError with every problem there is."""
    _make_importable(Path(path))
    handlers: dict[str, Handler] = {}

    def build_handlers(found: Mapping[str, HandlerSettings], problems: list[Problem], warnings: list[Problem]) -> None:
        for settings in found.values():
            handler = _handler(settings, problems, warnings)
            if handler is not None:
                handlers[settings.name] = handler

    settings = load(path, builtins=BUILT_IN, overrides=overrides, build_handlers=build_handlers)
    return settings, _gateway(settings, handlers)


def _gateway(settings: Settings, handlers: dict[str, Handler]) -> Gateway:
    upstreams = {name: Upstream(upstream) for name, upstream in settings.upstreams.items()}
    routes = [_route(route, settings, handlers, upstreams) for route in settings.routes]
    gateway = Gateway(
        router=Router(routes),
        handlers=handlers,
        upstreams=list(upstreams.values()),
        identity=frozenset[str]().union(*(getattr(handler, "identity_headers", ()) for handler in handlers.values())),
        trusted=settings.gateway.trusted_proxies,
        timeout=settings.gateway.timeout,
        access_log=AccessLog(
            settings.log.access,
            format=settings.log.format,
            daily=settings.log.rotate.daily,
            size=settings.log.rotate.size,
            keep=settings.log.keep,
        ),
    )
    gateway.assemble(settings.gateway.handlers)
    return gateway


def _route(
    route: RouteSettings, settings: Settings, handlers: Mapping[str, Handler], upstreams: Mapping[str, Upstream]
) -> Route:
    live = Route(route, timeout=route.timeout or settings.gateway.timeout)
    limit = [BodyLimit(route.max_body)] if route.max_body else []
    live.last = destination(route, upstreams, live.timeout)
    live.inner = compose([*limit, *(handlers[name] for name in route.handlers)], live.last)
    return live


def _make_importable(path: Path) -> None:
    """The file's folder and the working directory: where a user keeps handlers beside the settings."""
    for folder in (str(Path.cwd()), str(path.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _handler(settings: HandlerSettings, problems: list[Problem], warnings: list[Problem]) -> Handler | None:
    """The handler, or None with a problem noted."""
    reference = BUILT_IN.get(settings.use, settings.use)
    module_name, _, attribute = reference.partition(":")
    if not attribute:
        return None  # config.check has said so
    found = _import(module_name, attribute, settings, problems)
    if found is None:
        return None
    if isinstance(found, type) and is_dataclass(found):
        return _construct(found, settings, problems, warnings)
    if isinstance(found, type):
        found = _instance(found, settings, problems)
    if not callable(found):
        problems.append(settings.section.problem("use", f"{settings.use} is neither a function nor a dataclass"))
        return None
    no_options = f"{settings.use} is a function and has no options"
    problems += [settings.section.problem(option, no_options) for option in settings.options]
    return cast(Handler, found)


def _import(module_name: str, attribute: str, settings: HandlerSettings, problems: list[Problem]) -> Any:
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        problems.append(settings.section.problem("use", f"cannot import {module_name}: {_where(error)}"))
        return None
    found = getattr(module, attribute, None)
    if found is None:
        hint = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        did_you_mean = f"; did you mean '{hint}'?" if hint else ""
        problems.append(settings.section.problem("use", f"{module_name} has no '{attribute}'{did_you_mean}"))
    return found


def _where(error: Exception) -> str:
    """What went wrong in the user's module, and on which line of it."""
    said = f"{type(error).__name__}: {error}"
    ours, *frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != ours.filename and not _is_library(frame.filename)]
    return f"{said} ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else said


def _is_library(filename: str) -> bool:
    return filename.startswith(("<frozen", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))


def _construct(
    cls: Callable[..., Any], settings: HandlerSettings, problems: list[Problem], warnings: list[Problem]
) -> Handler | None:
    handler = build_from_options(cast(type[Any], cls), settings.options, settings.section, problems, warnings)
    if handler is not None and any(field.name == "name" and not field.init for field in fields(handler)):
        handler.name = settings.name
    return handler


def _instance(cls: type[Any], settings: HandlerSettings, problems: list[Problem]) -> Any:
    try:
        return cls()
    except Exception as error:
        problems.append(settings.section.problem("use", f"cannot make a {cls.__name__}: {_where(error)}"))
        return None
