"""An app as the action of a route, without sockets."""

import pytest

from gproxy.apps.app import action
from gproxy.config.ini.build import build
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.sections.route import RouteSettings
from gproxy.gateway.route_action import app_head, path_change, stripped
from gproxy.runtime import Runtime
from gproxy.runtime.route_parts import RouteParts


def parts(route, runtime, forward=None, replay=(100, 0)):
    return RouteParts(
        runtime, 3.0, path_change(route), forward,
        head=app_head(route, "abc", "X-Request-ID"), prefix=stripped(route), replay=replay, is_multiprocess=False,
    )  # fmt: skip


@pytest.fixture
def runtime():
    return Runtime()


@pytest.fixture
def mounted(runtime):
    """Return the action of a route with this app; options are those of the route."""

    def mount(app, forward=None, replay=(100, 0), **options):
        options = {"path": "/", "app": "shop:app", **options}
        problems = []
        section = RawSection("route", "shop", "gproxy.ini", 1)
        values = {name: Value(text, "gproxy.ini", 1) for name, text in options.items()}
        route = build(RouteSettings, values, section, problems, problems, name="shop")
        assert not problems, problems
        made = None if forward is None else lambda: forward
        return action(route.with_app(app), parts(route, runtime, made, replay))

    return mount
