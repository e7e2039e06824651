"""The external authorizer as a handler, with a function in its place."""

import pytest

from gproxy.config.types import Rate, Seconds
from gproxy.handlers.forward_auth import ForwardAuth
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.testing import Clock, answer, request


class Authorizer:
    """An upstream that answers each request with the next of these responses, the last one again and again."""

    def __init__(self, *responses):
        self.responses = list(responses)
        self.requests = []

    def __call__(self, asked):
        self.requests.append((asked.method, asked.target, asked.headers.copy()))
        made = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        return Response(made[0], made[2] if len(made) > 2 else b"", made[1])


def opened(*responses, clock=None, **options):
    handler = ForwardAuth(upstream="auth", **options)
    runtime = Runtime(clock=clock or Clock(1000.0))
    runtime.upstreams["auth"] = Authorizer(*responses)
    handler.open(runtime)
    return handler


def calls(handler):
    return handler._runtime.upstreams["auth"].requests


OK = (200, {"Remote-User": "alice", "Remote-Groups": "a, b"})


def rejected(handler, asked=None):
    with pytest.raises(HTTPError) as caught:
        handler(asked or request(), answer())
    return caught.value


def test_an_identity_with_the_copied_headers_as_claims():
    handler = opened(
        OK, copy=("remote-groups", "X-None"), user="Remote-User", role_claims=("remote-groups",),
        forward={"Remote-User": "X-User-ID"}, role="b",
    )  # fmt: skip
    asked, backend = request(headers={"X-None": "left"}), answer()
    assert handler(asked, backend).status == 200
    identity = asked.identity
    assert (identity.user, identity.kind, identity.roles) == ("alice", "forward_auth", {"a", "b"})
    assert dict(identity.claims) == {"Remote-User": "alice", "remote-groups": ["a", "b"]}
    headers = backend.requests[0].headers
    assert (headers["remote-groups"], headers["X-User-ID"], "X-None" in headers) == ("a, b", "alice", False)
    assert handler.identity_headers == {"remote-groups", "x-none", "x-user-id", "remote-user"}


@pytest.mark.parametrize(
    ("response", "options"),
    [((200, {}), {"user": "Remote-User"}), (OK, {}), ((200, {"Remote-User": ""}), {"user": "Remote-User"})],
)
def test_without_a_user_there_is_no_identity(response, options):
    asked = request()
    assert opened(response, **options)(asked, answer()).status == 200
    assert (asked.identity, asked.user, asked.exchange.auth) == (None, "", "forward_auth")
    assert rejected(opened(response, role="a", **options)).status == 403


def test_a_user_that_is_no_text_counts_as_no_answer():
    error = rejected(opened((200, {"Remote-User": "a\x85"}), user="Remote-User"))
    assert (error.status, error.reason) == (503, "auth_unavailable")


def test_an_answer_below_500_is_the_clients():
    handler = opened((401, {"WWW-Authenticate": "Basic"}, b"who?"))
    asked = request()
    response = handler(asked, answer())
    assert (response.status, response.headers["WWW-Authenticate"], response.read()) == (401, "Basic", b"who?")
    assert (asked.reason, handler.outcomes.invalid) == ("auth_invalid", 1)


@pytest.mark.parametrize("response", [(500, {}), (502, OK[1]), (200, {}, b"x" * 11), (401, {}, b"x" * 11)])
def test_no_usable_answer_is_a_503(response):
    handler = opened(response, max_body=10)
    error = rejected(handler)
    assert (error.status, error.reason, error.headers["Retry-After"]) == (503, "auth_unavailable", "1")
    assert opened(response, max_body=10, on_failure="open")(request(), answer()).status == 200


def test_each_call_is_counted_by_its_answer():
    handler = opened(OK, (302, {}), (403, {}), (500, {}), on_failure="open")
    for _ in range(4):
        handler(request(), answer())
    rows = [row for row in handler._runtime.metrics.read() if row.name == "gproxy_auth_asked_total"]
    assert {row.labels[1]: row.cells[0] for row in rows} == {"ok": 1, "rejected": 2, "failed": 1}


def test_a_kept_answer_serves_equal_requests():
    clock = Clock(1000.0)
    handler = opened(OK, (403, {}), clock=clock, cache=10, user="Remote-User")
    for _ in range(3):
        asked = request()
        assert handler(asked, answer()).status == 200
        assert asked.user == "alice"
    assert len(calls(handler)) == 1
    clock.advance(10)
    assert handler(request(), answer()).status == 403
    assert handler(request(), answer()).status == 403
    assert len(calls(handler)) == 2


def test_a_client_with_many_rejections_is_not_asked_about():
    handler = opened((401, {}), max_failures=Rate(2, Seconds(60)), cache=60)
    asked = [request(headers={"Cookie": f"sid={number}"}) for number in range(3)]
    assert [handler(one, answer()).status for one in asked[:2]] == [401, 401]
    error = rejected(handler, asked[2])
    assert (error.status, error.reason, len(calls(handler))) == (429, "auth_throttled", 2)
    assert handler(asked[0], answer()).status == 401  # a kept answer costs the authorizer nothing


def test_credentials_that_it_reads_reach_no_backend():
    handler = opened(OK, sources=(Source.parse("cookie:sid"), Source.parse("header:X-Key")))
    backend = answer()
    handler(request(headers={"Cookie": "sid=1; a=b"}), backend)
    assert backend.requests[0].headers["Cookie"] == "a=b"
    assert calls(handler)[0][2]["Cookie"] == "sid=1; a=b"
    cross = {"Cookie": "sid=1", "Sec-Fetch-Site": "cross-site"}
    assert rejected(handler, request("POST", headers=cross)).reason == "cross_site"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "verify"}, "path: 'verify' is no path"),
        ({"path": "/a b"}, "path: "),
        ({"optional": True}, "optional: has no effect"),
        ({"timeout": 0}, "timeout"),
        ({"copy": ("Authorization",)}, "copy: Authorization is a reserved header"),
        ({"copy": ("Cookie",)}, "copy: Cookie is a reserved header"),
        ({"copy": ("Connection",)}, "copy: 'Connection' cannot be copied"),
        ({"copy_back": ("Content-Length",)}, "copy_back: 'Content-Length' cannot be copied"),
        ({"copy": ("X-A", "x-a")}, "copy: x-a is used twice"),
        ({"copy": ("X-A",), "forward": {"X-B": "X-A"}}, "copy: X-A is used twice"),
        ({"send": ("Upgrade",)}, "send: Upgrade"),
        ({"user": "Cookie"}, "user: 'Cookie' cannot name a user"),
        ({"user": "Remote User"}, "user: 'Remote User' cannot name a user"),
        ({"set_": {"X-A": "{nothing}"}}, "set: X-A: unknown placeholder"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        ForwardAuth(upstream="auth", **options)


@pytest.mark.parametrize("limit", [TimeLimit.DRAINING, TimeLimit.CUT, TimeLimit.HANDLER])
def test_a_limit_that_is_not_the_authorizers_passes(limit):
    def ended(asked):
        raise Expired(limit)

    handler = opened(OK, on_failure="open")
    handler._runtime.upstreams["auth"] = ended
    with pytest.raises(Expired):
        handler(request(), answer())
