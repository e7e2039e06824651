"""When another attempt is made, after how long, and how many there may be at a time."""

import math
import random
from types import SimpleNamespace

import pytest

from gproxy.config.sections.retry import RetryOptions
from gproxy.config.types import Percent, Seconds, Statuses
from gproxy.http.body import Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import HTTPError, Incomplete
from gproxy.http.headers import Headers
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing import Clock
from gproxy.upstream.errors import ExcludedStreamError, RefusedStreamError, StaleConnectionError, UnansweredError
from gproxy.upstream.failure import GRPC_UNAVAILABLE, NONE_AVAILABLE, RETRYABLE_STATUS, SLOW, failure_of
from gproxy.upstream.retry import Budget, FailedAttempt, RetryPermit, RetryPolicy, retry_after

BUSY = Statuses(503, 503)
A, B = SimpleNamespace(name="a", active=0), SimpleNamespace(name="b", active=0)
CAUSES = {
    "connect": TimeoutError(),
    "stale": StaleConnectionError(),
    "reset": UnansweredError(),
    "timeout": Expired(TimeLimit.ATTEMPT),
}


def policy(**given):
    return RetryPolicy.of(RetryOptions(**given))


def failed(what, backend=A):
    cause = CAUSES[what]
    return FailedAttempt(backend, failure_of(cause), cause)


def turned_away(status=503, backend=A, **headers):
    return FailedAttempt(backend, RETRYABLE_STATUS, None, Response(status, b"", headers))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "POST", "PATCH"])
@pytest.mark.parametrize("what", CAUSES)
def test_the_defaults(method, what):
    may = not policy().with_failures(failed(what)).why_not(request(method))
    assert may == (what == "connect" or (what != "timeout" and method not in ("POST", "PATCH")))


@pytest.mark.parametrize("what", CAUSES)
def test_a_key_makes_it_idempotent(what):
    keyed = request("POST", headers={"Idempotency-Key": "k"}, body=b"x")
    assert policy(on=tuple(CAUSES)).with_failures(failed(what)).why_not(keyed) == ""


def test_retry_on_says_after_what():
    timeouts = policy(on=("timeout", BUSY))
    assert timeouts.statuses == {503}
    assert timeouts.with_failures(failed("timeout")).why_not(request()) == ""
    assert timeouts.with_failures(turned_away()).why_not(request()) == ""
    assert timeouts.with_failures(turned_away()).why_not(request("POST")) == "retry_methods has no POST"
    assert timeouts.with_failures(failed("stale")).why_not(request()) == "retry_on has no stale"
    assert timeouts.with_failures(failed("reset")).why_not(request()) == "retry_on has no reset"
    assert timeouts.with_failures(failed("connect")).why_not(request()) == ""
    assert policy(on=("stale",)).with_failures(failed("connect")).why_not(request()) == ""
    assert policy(methods=("POST",)).with_failures(failed("reset")).why_not(request("POST")) == ""
    assert policy(methods=("POST",)).with_failures(failed("reset")).why_not(request("GET")) != ""


def test_no_status_is_unwanted_without_retries():
    assert policy(on=(BUSY,), retries=0).statuses == frozenset()


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_as_often_as_it_says(retries):
    tries = policy(retries=retries)
    for _ in range(retries):
        tries = tries.with_failures(failed("connect"))
        assert tries.why_not(request()) == ""
    assert tries.with_failures(failed("connect")).why_not(request()) == "no retries are left"


def test_stale_connections_are_free_but_not_for_ever():
    tries = policy(retries=0)
    for _ in range(3):
        tries = tries.with_failures(failed("stale"))
        assert tries.why_not(request()) == ""
        assert tries.is_free and tries.tried == ()
    assert tries.with_failures(failed("stale")).why_not(request()) == "no retries are left"


@pytest.mark.parametrize("cause", [RefusedStreamError(), ExcludedStreamError()])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "OWN"])
def test_what_a_backend_has_not_begun_is_repeated_whatever_the_method(method, cause):
    refused = FailedAttempt(A, failure_of(cause), cause)
    assert policy().with_failures(refused).why_not(request(method)) == ""
    assert policy().with_failures(refused, refused, refused, refused).why_not(request(method)) == "no retries are left"
    assert policy(on=("reset",)).with_failures(refused).why_not(request(method)) == "retry_on has no stale"


def test_a_backend_that_refuses_is_avoided_and_the_only_one_asked_again_after_a_pause():
    refused, excluded = (
        FailedAttempt(A, failure_of(cause), cause) for cause in (RefusedStreamError(), ExcludedStreamError())
    )
    rng = random.Random(1)
    tries = policy().with_failures(refused)
    assert (tries.tried, tries.asks_the_same, tries.is_free) == ((A,), True, True)
    assert tries.pause(rng, untried=True) == 0
    assert 0 < tries.pause(rng, untried=False) < 0.025
    tries = policy().with_failures(excluded)
    assert (tries.tried, tries.pause(rng, untried=False)) == ((), 0)


def test_stale_ones_leave_the_retries_untouched():
    tries = policy(retries=1).with_failures(failed("stale")).with_failures(failed("reset"))
    assert tries.why_not(request()) == ""
    assert tries.with_failures(failed("reset")).why_not(request()) != ""


def test_garbage_and_the_deadline_are_never_tried_again():
    everything = policy(on=(*CAUSES, Statuses(500, 599)))
    for failure in (SLOW, NONE_AVAILABLE, failure_of(HTTPError(400)) or SLOW):
        assert everything.with_failures(FailedAttempt(A, failure)).why_not(request())
    assert failure_of(Incomplete("in the head")).retryable_as == "reset"


def test_a_policy_is_a_value():
    first = policy()
    second = first.with_failures(failed("reset", A)).with_failures(failed("connect", B))
    assert first.history == ()
    assert [one.backend for one in second.history] == [A, B]
    assert second.tried == (A, B)
    with pytest.raises(AttributeError):
        first.retries = 5
    assert RetryPolicy.of(RetryOptions(), retries=7, on=(Statuses(500, 502),)).statuses == {500, 501, 502}


def test_a_second_question_to_the_same_backend_begins_a_new_round():
    tries = (
        policy(retries=3)
        .with_failures(failed("connect", A))
        .with_failures(failed("connect", B))
        .with_failures(failed("connect", A))
    )
    assert tries.tried == (A,)
    assert tries.with_failures(failed("connect", B)).tried == (A, B)


class Reader:
    def __init__(self):
        self.trailers = []
        self.done = False

    def next_piece(self):
        self.done = True
        return b"piece"


def test_a_body_that_has_gone_and_was_not_kept():
    asked = request("PUT")
    asked.body = Body(b"", Reader(), 10)
    assert policy().with_failures(failed("reset")).why_not(asked) == ""
    asked.body.next_piece()
    assert policy().with_failures(failed("reset")).why_not(asked) == "the request body exceeds the replay limit"
    assert policy().with_failures(failed("connect")).why_not(asked) == ""


def test_no_time_left():
    clock = Clock()
    asked = request()
    asked.deadline = Deadline(clock=clock)
    asked.deadline.set(clock.now + 1)
    assert policy().with_failures(failed("reset")).why_not(asked) == ""
    clock.advance(1)
    assert policy().with_failures(failed("reset")).why_not(asked) == "the deadline has passed"


def test_the_same_backend_again_only_if_it_is_alive():
    assert policy().with_failures(turned_away()).asks_the_same
    assert policy().with_failures(failed("timeout")).asks_the_same
    assert not policy().with_failures(failed("connect")).asks_the_same
    assert not policy().with_failures(failed("reset")).asks_the_same


class Most(random.Random):
    """Draws the most there can be."""

    def random(self):
        return 1.0


def test_pauses_grow_up_to_their_limit():
    tries, pauses = policy(), []
    for _ in range(6):
        tries = tries.with_failures(failed("reset"))
        pauses.append(round(tries.pause(Most(), untried=True), 3))
    assert pauses == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]
    assert tries.with_failures(*[failed("reset")] * 5000).pause(Most(), untried=True) == 0.25


def test_pauses_have_full_jitter():
    tries, drawn = policy().with_failures(failed("reset")), random.Random(7)
    expected = random.Random(7)
    assert [tries.pause(drawn, untried=True) for _ in range(100)] == [expected.random() * 0.025 for _ in range(100)]


def test_no_pause_where_there_is_nothing_to_wait_for():
    assert policy().with_failures(failed("connect", A)).pause(Most(), untried=True) == 0
    assert policy().with_failures(failed("stale", A)).pause(Most(), untried=False) == 0
    assert policy().with_failures(failed("connect", A), failed("connect", B)).pause(Most(), untried=False) == 0.05
    assert policy(backoff=Seconds(0)).with_failures(failed("reset")).pause(Most(), untried=True) == 0


def test_retry_after_is_a_pause_if_it_is_honoured():
    away = turned_away(**{"Retry-After": "2"})
    assert policy(after=True).with_failures(away).pause(Most(), untried=True) == 2.0
    assert policy(after=False).with_failures(away).pause(Most(), untried=True) == 0.025
    assert policy(after=True).with_failures(turned_away()).pause(Most(), untried=True) == 0.025
    assert policy(after=True).with_failures(away, failed("reset")).pause(Most(), untried=True) == 0.05


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thursday, 01-Jan-70 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("9" * 400, math.inf),
        *((text, None) for text in ("", "-1", "1.5", "soon", "\xb2", "Thu, 99 Foo 1970 99:99:99 GMT")),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(Headers({"Retry-After": value}), lambda: 1000.0) == seconds


def test_what_is_given_up_with():
    with pytest.raises(HTTPError) as none:
        policy().give_up()
    assert (none.value.status, none.value.reason) == (503, "none_available")
    with pytest.raises(HTTPError) as reset:
        policy().with_failures(turned_away(), failed("reset")).give_up()
    assert (reset.value.status, reset.value.reason) == (502, "backend_reset")
    away = turned_away(429)
    assert policy().with_failures(failed("reset"), away).give_up() is away.response


@pytest.mark.parametrize(
    ("what", "reason", "error"),
    [
        ("deadline", "backend_timeout", "http_response_timeout"),
        ("total", "backend_timeout", "http_response_timeout"),
        ("attempt", "per_try_timeout", "http_response_timeout"),
        ("first_byte", "first_byte_timeout", "http_response_timeout"),
        ("read", "read_timeout", "connection_read_timeout"),
    ],
)
def test_every_timeout_has_its_name(what, reason, error):
    failure = failure_of(Expired(getattr(TimeLimit, what.upper())))
    assert (failure.status, failure.reason, failure.error) == (504, reason, error)
    assert failure_of(Expired(TimeLimit.BODY)) is None


# --- the budget


def backends(*active, attempts=1000):
    return [SimpleNamespace(active=n, attempts=attempts) for n in active]


@pytest.mark.parametrize(("active", "limit"), [((0, 0), 3), ((7, 7), 3), ((9, 10), 4), ((50, 49), 20)])
def test_a_share_of_what_is_under_way_and_always_three(active, limit):
    budget = Budget(Percent(0.2), backends(*active))
    assert [budget.take() for _ in range(limit + 2)] == [True] * limit + [False] * 2
    assert budget.taken == limit
    budget.give_back()
    assert budget.take()


def test_a_request_that_pauses_counts_as_active():
    budget = Budget(Percent(0.5), backends(0))
    with budget.pausing(), budget.pausing(), budget.pausing():
        assert budget.limit == 3
        with budget.pausing(), budget.pausing(), budget.pausing(), budget.pausing():
            assert budget.limit == 4
    assert budget.limit == 3


def spend(budget):
    """Retry, each time for an instant, until the budget allows no more; return the number of retries."""
    count = 0
    while count < 1000 and budget.take():
        budget._backends[0].attempts += 1
        budget.give_back()
        count += 1
    return count


def test_retries_that_end_at_once_are_a_share_of_the_requests_too():
    (backend,) = group = backends(0, attempts=0)
    budget = Budget(Percent(0.2), group)
    retries = spend(budget)
    assert retries == 3
    for _ in range(100):
        backend.attempts += 1
        retries += spend(budget)
    assert retries == 3 + 20


@pytest.mark.parametrize(("samples", "allowed"), [(0, 0), (1, 0), (2, 3)])
def test_the_share_is_one_of_the_last_second_or_two(samples, allowed):
    budget = Budget(Percent(0.2), backends(0, attempts=100))
    assert spend(budget) == 3 + 20
    for _ in range(samples):
        budget.sample()
    assert spend(budget) == allowed


def test_requests_before_the_last_second_allow_nothing():
    (backend,) = group = backends(0, attempts=1000)
    budget = Budget(Percent(0.2), group)
    budget.sample()
    budget.sample()
    assert spend(budget) == 3
    backend.attempts += 10
    assert spend(budget) == 2


def test_retries_without_load_are_no_requests():
    budget = Budget(Percent(0.5), backends(0, attempts=20))
    for _ in range(10):
        budget.note_free()
    assert spend(budget) == 3 + 5


def test_a_backend_that_goes_takes_its_requests_along():
    group = backends(0, 0, attempts=50)
    budget = Budget(Percent(0.2), group)
    budget.sample()
    budget.sample()
    del group[0]
    assert spend(budget) == 3


def test_each_retry_of_one_request_counts():
    budget = Budget(Percent(0.2), backends(0, attempts=0))
    with RetryPermit(budget) as permit:
        assert [permit.take() for _ in range(4)] == [True, True, True, False]
        assert budget.taken == 1


def test_no_budget_is_no_limit():
    budget = Budget(None, backends(0))
    assert all(budget.take() for _ in range(1000))


def test_a_permit_is_taken_once_and_comes_back():
    budget = Budget(Percent(0.0), backends(0))
    with RetryPermit(budget) as one, RetryPermit(budget) as two:
        assert one.take() and one.take() and two.take()
        assert budget.taken == 2
    assert budget.taken == 0
    with RetryPermit(budget):
        pass
    assert budget.taken == 0


UNAVAILABLE = FailedAttempt(A, GRPC_UNAVAILABLE, None, Response(200, b"", {"grpc-status": "14"}))


def call(kind="application/grpc", body=b"x"):
    return request("POST", headers={"Content-Type": kind}, body=body)


@pytest.mark.parametrize(
    ("options", "why_not"),
    [
        ({"on": ("grpc_unavailable",)}, ""),
        ({}, "retry_on has no grpc_unavailable"),
        ({"on": ("grpc_unavailable",), "retries": 0}, "no retries are left"),
    ],
)
def test_a_call_that_no_backend_has_processed_may_be_repeated_whatever_its_method(options, why_not):
    failed_once = policy(**options).with_failures(UNAVAILABLE)
    assert failed_once.why_not(call()) == why_not
    assert failed_once.asks_the_same
    assert failed_once.give_up() is UNAVAILABLE.response
