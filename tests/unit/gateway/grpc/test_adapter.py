"""The calls of gRPC clients: their deadline, and what they get in place of an error."""

import pytest

from gproxy.gateway.error_responses import PLAIN
from gproxy.gateway.grpc.adapter import GRPCAdapter
from gproxy.http.deadline import Deadline
from gproxy.http.errors import HTTPError
from gproxy.http.grpc import LATER, CallDeadline
from gproxy.http.headers import Headers
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.observe.access_fields import NotedFields
from gproxy.runtime.expired import Expired
from gproxy.testing import Clock

GRPC = {"Content-Type": "application/grpc+proto"}


def call(*fields, headers=GRPC, adapter=None):
    asked = request("POST", "/pkg.Service/Method", [*headers.items(), *fields])
    return asked, (adapter or GRPCAdapter(None)).begin(asked)


def test_another_request_is_no_call():
    asked, found = call(("grpc-timeout", "1S"), headers={"Content-Type": "application/json"})
    assert found is None
    assert type(asked.deadline) is Deadline


@pytest.mark.parametrize("timeout", ["1", "soon", ""])
def test_a_timeout_that_cannot_be_read_does_not_count(timeout):
    asked, found = call(("grpc-timeout", timeout))
    assert found is not None
    assert type(asked.deadline) is Deadline


class Timer:
    """A timer with a twin."""

    is_closed = False

    def twin(self):
        self.other = Timer()
        return self.other

    def set(self, expires, limit):
        self.expires, self.limit = expires, limit

    def close(self):
        self.is_closed = True


def test_the_time_of_the_client_has_an_alarm_until_the_request_ends():
    timer = Timer()
    asked = request("POST", "/", [*GRPC.items(), ("grpc-timeout", "2500m")])
    asked.deadline = Deadline(timer, Clock(100.0))
    GRPCAdapter(None).begin(asked)
    assert isinstance(asked.deadline, CallDeadline)
    assert (timer.other.expires, timer.other.limit) == (102.5 + LATER, TimeLimit.CALL)
    assert str(timer.other.limit) == "2.5 s, grpc-timeout of the client"
    asked.end()
    assert timer.other.is_closed


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (HTTPError(401, "the token has expired"), "16", "the token has expired"),
        (HTTPError(403), "7", "Forbidden"),
        (HTTPError(404, "no route for ü"), "12", "no route for %C3%BC"),
        (HTTPError(429, "slow down"), "8", "slow down"),
        (HTTPError(503, "no backend is available"), "14", "no backend is available"),
        (Expired(TimeLimit.CALL.of(1.0, "grpc-timeout of the client")), "4",
         "the call has taken longer than its client allows (1 s, grpc-timeout of the client)"),
    ],
)  # fmt: skip
def test_an_error_becomes_a_status_in_a_head(error, status, message):
    asked, found = call()
    response = PLAIN.respond(error, asked)
    response.headers["X-Request-ID"] = "test"
    found.outgoing(response)
    assert (response.status, response.raw_body) == (200, b"")
    fields = {name.lower(): value for name, value in response.headers.items() if name != "Proxy-Status"}
    assert fields == {
        "content-type": "application/grpc+proto", "grpc-status": status, "grpc-message": message,
        "x-request-id": "test",
    }  # fmt: skip


def test_what_a_client_may_do_next_stays():
    _, found = call()
    response = PLAIN.problem(HTTPError(429, "slow down", {"Retry-After": "3"}), "id")
    found.outgoing(response)
    assert response.headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    "response",
    [
        Response(403, b"no", {"Content-Type": "text/plain"}),
        Response(403, iter([b"no"])),
        Response(403, b"[]", {"Content-Type": "application/problem+json"}),
        Response(403, b"{", {"Content-Type": "application/problem+json"}),
        Response(403, b'{"detail": 7}', {"Content-Type": "application/problem+json"}),
    ],
)
def test_an_error_without_a_detail_has_the_phrase(response):
    _, found = call()
    found.outgoing(response)
    assert (response.headers["grpc-status"], response.headers["grpc-message"]) == ("7", "Forbidden")


def test_the_time_is_over_in_a_handler():
    asked, _ = call()
    response = PLAIN.respond(Expired(TimeLimit.CALL), asked)
    assert (response.status, asked.reason) == (504, "grpc_timeout")


@pytest.mark.parametrize(
    "response",
    [
        Response(200, b"message", GRPC),
        Response(200, b"", {**GRPC, "grpc-status": "5"}),
        Response(500, b"", {**GRPC, "grpc-status": "13"}),
        Response(307, b"", {"Location": "/"}),
        Response(200, b"text", {"Content-Type": "text/plain"}),
    ],
)
def test_every_other_response_stays(response):
    _, found = call()
    before = response.status, Headers(response.headers), response.raw_body
    found.outgoing(response)
    assert (response.status, response.headers, response.raw_body) == before


class Body:
    """A body with trailers."""

    def __init__(self, *trailers):
        self.trailers = trailers

    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (Response(404), "12"),
        (Response(200, b"", {**GRPC, "Grpc-Status": "5"}), "5"),
        (Response(200, Body(("Grpc-Status", "14"), ("grpc-message", "x")), GRPC), "14"),
        (Response(200, Body(("other", "1")), GRPC), ""),
        (Response(200, iter([b"x"]), GRPC), ""),
        (Response(200, Body(("grpc-status", "x\ty")), GRPC), "?"),
    ],
)
def test_the_status_is_noted_for_access_lines(response, status):
    notes = NotedFields(["query", "grpc"])
    asked, found = call(adapter=GRPCAdapter(notes))
    notes.note_request(asked)
    found.outgoing(response)
    response.close()
    assert asked.exchange.noted == ["", status]
