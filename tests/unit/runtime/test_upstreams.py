"""Calls to an upstream by its name, in the test kit: deadlines, and what is free at the end."""

import pytest

from gproxy import Headers, Request, Response, gather
from gproxy.http.request import Received
from gproxy.http.time_limit import TimeLimit
from gproxy.http.trust import UNIX_PEER
from gproxy.runtime import Runtime, upstreams
from gproxy.runtime.expired import Expired
from gproxy.runtime.served import serving
from gproxy.testing import answer, refused, reset, slow

SETTINGS = """
[gateway]
timeout = 3s
[upstream:users]
backends = http://10.0.0.1:81
[upstream:orders]
backends = http://10.0.0.2:81
max_fails = 0
[route:all]
path = /
handlers = own
respond = 404
[handler:own]
use = unit.runtime.test_upstreams:Own
"""
kit = pytest.mark.gproxy(SETTINGS)


class Own:
    """A handler that calls what a test has set."""

    call = None

    def open(self, runtime):
        self.runtime = runtime

    def __call__(self, request, next):
        return type(self).call(self.runtime, request)


@pytest.fixture(autouse=True)
def none():
    yield
    Own.call = None


def through(gproxy, call):
    Own.call = staticmethod(call)
    return gproxy.get("/x", {"X-Forwarded-For": "spoofed"})


def orders(runtime, **options):
    return runtime.upstream("orders").request("GET", "/o?a=1", **options)


@kit
def test_a_call_has_the_id_and_no_headers_of_the_client(gproxy):
    backend = gproxy.backend("orders", answer(200, [b"a", b"b"], {"X-Own": "1"}))
    response = through(gproxy, lambda runtime, _: orders(runtime, headers={"X-Mine": "1"}))
    assert (response.body, response.headers["X-Own"]) == (b"ab", "1")
    (asked,) = backend.requests
    assert (asked.path, asked.query, asked.headers["X-Mine"]) == ("/o", "a=1", "1")
    assert (asked.headers["X-Request-ID"], asked.headers["X-Forwarded-For"]) == (gproxy.line["id"], "192.0.2.1")


@kit
def test_its_timeout_is_a_504_and_the_request_goes_on(gproxy):
    gproxy.backend("orders", slow(60))
    statuses = []

    def twice(runtime, request):
        statuses.append(orders(runtime, timeout=0.5).status)
        statuses.append(request.deadline.remaining())
        return Response(200)

    assert through(gproxy, twice).status == 200
    assert statuses == [504, pytest.approx(2.5)]
    gproxy.expect_warning("10.0.0.2:81")


@kit
def test_the_deadline_of_the_request_ends_calls_side_by_side(gproxy):
    gproxy.backend("orders", slow(60))
    gproxy.backend("users", slow(60))
    before = gproxy.clock.now
    users = lambda runtime: runtime.upstream("users").request()  # noqa: E731
    response = through(gproxy, lambda runtime, _: gather(lambda: orders(runtime), lambda: users(runtime))[0])
    assert (response.status, gproxy.clock.now - before) == (504, pytest.approx(3))
    gproxy.expect_warning("in time")  # by the backends or by the handler: the limits end at the same moment


@kit
@pytest.mark.parametrize(("failure", "reason"), [(refused(), "connect_refused"), (reset(), "backend_reset")])
def test_a_failure_is_a_response_whose_reason_the_access_line_has(gproxy, failure, reason):
    gproxy.backend("orders", failure)
    assert through(gproxy, lambda runtime, _: orders(runtime)).status == 502
    assert gproxy.line["reason"] == reason
    gproxy.expect_warning("10.0.0.2:81")


@kit
def test_a_job_has_the_timeout_of_the_gateway(gproxy):
    backend = gproxy.backend("orders", slow(60))
    before = gproxy.clock.now
    response = through(gproxy, lambda runtime, _: runtime.spawn(later, runtime).get())
    assert response.status == 200
    assert (backend.requests[0].headers["Host"], gproxy.clock.now - before) == ("10.0.0.2:81", pytest.approx(2))
    gproxy.expect_warning("10.0.0.2:81")


def later(runtime):
    return Response(200, str(orders(runtime, timeout=2).status).encode())


@kit
def test_a_stream_of_a_greenlet_beside_the_connection_is_read_whole(gproxy):
    gproxy.backend("orders", answer(200, [b"a", b"b"]))
    response = through(gproxy, lambda runtime, _: gather(lambda: orders(runtime, stream=True))[0])
    assert response.body == b"ab"


@kit
def test_a_stream_passes_on_and_is_free_at_its_end(gproxy):
    gproxy.backend("orders", answer(200, [b"a", b"b"]))
    assert through(gproxy, lambda runtime, _: orders(runtime, stream=True, timeout=1)).body == b"ab"


def test_an_unknown_name_is_said_at_once():
    runtime = Runtime()
    runtime.upstreams["orders"] = answer(200)
    with pytest.raises(LookupError, match="no upstream 'ordres'; known are: orders"):
        runtime.upstream("ordres")


def test_the_headers_of_the_caller_stay_as_they_are():
    runtime, fields = Runtime(), Headers({"X-A": "1"})
    runtime.upstreams["orders"] = upstream = answer(200, b"{}")
    assert runtime.upstream("orders").request("PUT", "/", fields, b"x").json() == {}
    upstream.requests[0].headers["X-B"] = "2"
    assert fields.items() == [("X-A", "1")]


@kit
def test_a_direct_call_raises_at_the_deadline_of_the_request(gproxy):
    gproxy.backend("orders", slow(60))
    ends = []

    def direct(runtime, _):
        try:
            return orders(runtime)
        except Expired as expired:
            ends.append(expired.limit)
            raise

    assert through(gproxy, direct).status == 504
    assert ends == [TimeLimit.DEADLINE]
    gproxy.expect_warning("in time")


def test_the_time_limit_of_the_handler_ends_a_body_too():
    def body():
        yield b"begun"
        raise Expired(TimeLimit.HANDLER)

    runtime = Runtime()
    runtime.upstreams["orders"] = lambda _: Response(200, body())
    with serving(plain_request()), pytest.raises(Expired, match="handler timeout"):
        orders(runtime)


def test_streams_that_were_closed_leave_nothing_in_the_request():
    runtime, request, ended = Runtime(), plain_request(), []

    def upstream(asked):
        asked.at_end(lambda: ended.append(len(ended)))
        return Response(200, iter([b"a"]))

    runtime.upstreams["orders"] = upstream
    with serving(request):
        for _ in range(3):
            orders(runtime, stream=True).close()
        orders(runtime, stream=True)
    assert (len(request._at_end), len(upstreams._open[request]), ended) == (1, 1, [0, 1, 2])
    request.end()
    assert (request in upstreams._open, ended) == (False, [0, 1, 2, 3])


def plain_request():
    return Request(Received("GET", "/", 1, Headers(), UNIX_PEER), Headers(), "a", "/", "")
