"""What `runtime.ask` calls: the chain to an upstream, without a route."""

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.gateway.upstream_call import upstream_call
from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.http.request import request
from gproxy.runtime import Runtime
from gproxy.runtime.served import serving
from gproxy.runtime.subrequest import subrequest
from gproxy.testing.backends import Backend, answering
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.sticky import StickyUpstream
from gproxy.upstream.upstream import Upstream


def upstream(backend, kind=Upstream, **options):
    url = BackendURL("http", "127.0.0.1", getattr(backend, "port", 1))
    settings = construct(UpstreamSettings, name="u", backends=(url,), **options)
    return kind(settings, RoundRobin(), Runtime())


@pytest.fixture
def backend():
    with Backend(answering(body=b"ok")) as found:
        yield found


SENT = {"Authorization": "Bearer x", "X-Other": "1"}


def test_a_subrequest_is_sent_with_all_its_headers(backend):
    call = upstream_call(upstream(backend), 3.0)
    with subrequest(request(), target="/a", headers=SENT, timeout=5) as asked:
        assert call(asked).read() == b"ok"
    assert (backend.requests[0]["authorization"], backend.requests[0]["x-other"]) == ("Bearer x", "1")


@pytest.mark.parametrize(("keep", "expected"), [((), None), (("Authorization",), "Bearer x")])
def test_a_clients_request_keeps_what_routes_keep(backend, keep, expected):
    assert upstream_call(upstream(backend), 3.0, keep=keep)(request(headers=SENT)).read() == b"ok"
    assert backend.requests[0]["authorization"] == expected


def test_only_clients_get_a_sticky_cookie(backend):
    call = upstream_call(upstream(backend, StickyUpstream), 3.0)
    assert "set-cookie" in call(request()).headers
    with subrequest(request(), timeout=5) as asked:
        assert "set-cookie" not in call(asked).headers


def test_a_failure_is_a_response_with_its_reason():
    call = upstream_call(upstream(None), 3.0)
    with subrequest(request(), timeout=5) as asked:
        assert (call(asked).status, asked.reason) == (502, "connect_refused")
    came = request()
    assert (call(came).status, came.reason) == (502, "connect_refused")


def test_the_attempts_of_a_call_are_in_the_time_account_of_its_request(backend):
    one = upstream(backend)
    runtime, came = one.runtime, request()
    runtime.upstreams["u"] = upstream_call(one, 3.0)
    came.exchange.account = account = TimeAccount(came.deadline)
    with serving(came):
        assert runtime.upstream("u").request().read() == b"ok"
    ((name, outcome),) = [(attempt.backend, attempt.outcome) for attempt in account.attempts]
    assert (name.partition(":")[0], outcome, account.parts["backend"] > 0) == ("127.0.0.1", "200", True)
    assert came.tries == 0
