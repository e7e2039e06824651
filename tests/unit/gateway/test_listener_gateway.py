"""The routes of one listener, and the exceptions from its redirect."""

import pytest

from gproxy.config.sections.route import RouteSettings
from gproxy.config.types import Address
from gproxy.config.types.route_action import RedirectTarget
from gproxy.gateway.gateway import Gateway, GatewayParts
from gproxy.gateway.listener_gateway import RedirectRouter, listener_gateway
from gproxy.gateway.redirect import Redirect
from gproxy.gateway.route import Route
from gproxy.gateway.router import Router
from gproxy.http.errors import HTTPError
from gproxy.http.request import request
from gproxy.http.time_limit import ExchangeLimits
from gproxy.http.trust import Trust


def route(name, **given):
    to = RedirectTarget.parse("https://{host}{path}")
    return Route(RouteSettings(name, redirect=to, **given), timeout=1.0, action=Redirect(to, 308, None))


@pytest.mark.parametrize(
    ("target", "headers", "name"),
    [
        ("/acme/x", {}, "ordinary"), ("/acme", {}, "ordinary"), ("/%61cme/x", {}, "ordinary"), ("/x", {}, "redirect"),
        ("/acme2", {}, "redirect"), ("/acme/%2e%2e/x", {}, "redirect"), ("/acme/..%2fx", {}, "redirect"),
        ("/acme/%zz", {}, "400"), ("/x/../acme", {}, "redirect"), ("/x", {"X-Forwarded-Proto": "HTTPS"}, "ordinary"),
        ("/acme", {"Host": "guarded.test"}, "redirect"),
        ("/x", {"Host": "guarded.test", "X-Forwarded-Proto": "https"}, "redirect"),
    ],
)  # fmt: skip
def test_exceptions_from_a_redirect(target, headers, name):
    redirect, ordinary = route("redirect"), route("ordinary")
    router = RedirectRouter(redirect, Router([ordinary]), ("/acme",), "guarded.test".__eq__)
    assert router.routes == [redirect, ordinary]
    try:
        found = router.match(request("GET", target, headers)).name
    except HTTPError as error:
        found = str(error.status)
    assert found == name


def test_each_listener_has_its_routes():
    main, inner, tls = Address.parse(":80"), Address.parse("127.0.0.1:81"), Address.parse(":443 tls")
    everywhere, inside = route("everywhere"), route("inside", listener=(inner, Address.parse(":443")))
    limits = ExchangeLimits.of_gateway(1.0)
    parts = GatewayParts(runtime=None, trust=Trust(()), limits=limits, observers=[])
    gateway = Gateway(Router([everywhere, inside]), parts)
    taken = {}
    for address in (main, inner, tls):
        taken[str(address)] = listener_gateway(gateway, address, bool).router.match(request()).name
    assert taken == {":80": "everywhere", "127.0.0.1:81": "inside", ":443": "inside"}
    plain = Gateway(Router([everywhere]), parts)
    assert listener_gateway(plain, main, bool) is plain, "without such routes nothing is copied"
    redirecting = listener_gateway(gateway, Address.parse(":82 redirect=8443"), bool)
    asked = request(target="/x")
    assert redirecting.router.match(asked).action(asked).headers["Location"] == "https://gateway.test:8443/x"
