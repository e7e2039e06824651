"""Attempts at backends that speak gRPC: which of their responses are failures."""

import pytest

from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.upstream.failure import GRPC_UNAVAILABLE, RESET
from gproxy.upstream.forwarder.grpc_attempt import GRPCAttempt
from gproxy.upstream.retry import FailedAttempt

GRPC = {"content-type": "application/grpc"}


class Passive:
    """Keeps the trailers that it gets."""

    def __init__(self):
        self.trailers = []

    def ended(self, asked, backend, trailers):
        self.trailers.append((backend, trailers))


class Body:
    """A body with trailers."""

    trailers = (("grpc-status", "14"),)

    def __iter__(self):
        return iter(())


@pytest.fixture
def attempt():
    """Return a function that makes an attempt with this outcome, and returns what became of it."""

    def make(outcome, *, may_retry=True):
        passive = Passive()
        return GRPCAttempt(lambda *_: outcome, passive, may_retry=may_retry)(request("POST"), "b"), passive.trailers

    return make


def test_a_head_that_is_only_unavailable_has_failed(attempt):
    response = Response(200, b"", {**GRPC, "grpc-status": "14"})
    outcome, _ = attempt(response)
    assert outcome == (FailedAttempt("b", GRPC_UNAVAILABLE, None, response),)


@pytest.mark.parametrize(
    ("outcome", "may_retry"),
    [
        (Response(200, b"", {**GRPC, "grpc-status": "14"}), False),
        (Response(200, b"", {**GRPC, "grpc-status": "13"}), True),
        (Response(200, b"", {"grpc-status": "14"}), True),
        (Response(200, b"x", GRPC), True),
        ((FailedAttempt("b", RESET, OSError()),), True),
    ],
)
def test_every_other_outcome_stays(attempt, outcome, may_retry):
    assert attempt(outcome, may_retry=may_retry) == (outcome, [])


def test_trailers_are_reported_at_the_end(attempt):
    response = Response(200, Body(), GRPC)
    outcome, trailers = attempt(response)
    assert (outcome is response, trailers) == (True, [])
    response.close()
    assert trailers == [("b", Body.trailers)]
