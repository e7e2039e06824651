"""Calls to others: one at a time for each key, and few in all."""

import gevent
import pytest
from gevent.event import Event

from gproxy.http.errors import HTTPError
from gproxy.identity.calls import Calls
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.testing import request


class Far:
    """A function that waits until `go`, and notes its arguments."""

    def __init__(self):
        self.go = Event()
        self.arguments = []
        self.error = None

    def __call__(self, argument, seconds):
        self.arguments.append(argument)
        assert 0 < seconds <= 30
        self.go.wait()
        if self.error is not None:
            raise self.error
        return f"{argument} judged"


@pytest.fixture
def far():
    return Far()


def unlimited(function, **options):
    return Calls(function, check=lambda _: None, **options)


def asking(calls, *keys, seconds=30):
    greenlets = [gevent.spawn(calls.result, key, key.upper(), seconds, request()) for key in keys]
    for _ in range(3):
        gevent.sleep(0)
    return greenlets


def test_a_hundred_questions_about_one_thing_are_one_call(far):
    calls = unlimited(far, most=32, timeout=30)
    greenlets = asking(calls, *["a"] * 100)
    far.go.set()
    gevent.joinall(greenlets)
    assert [one.value for one in greenlets] == ["A judged"] * 100
    assert far.arguments == ["A"]
    assert len(calls) == 0
    assert calls.result("a", "A", 30, request()) == "A judged"  # the next question is a new call
    assert far.arguments == ["A", "A"]


def test_few_calls_run_at_the_same_time_and_the_others_take_turns(far):
    calls = unlimited(far, most=2, timeout=30)
    greenlets = asking(calls, "a", "b", "c", "d")
    assert far.arguments == ["A", "B"]
    far.go.set()
    gevent.joinall(greenlets)
    assert sorted(far.arguments) == ["A", "B", "C", "D"]
    assert {one.value for one in greenlets} == {f"{name} judged" for name in "ABCD"}


def test_an_error_reaches_all_that_wait(far):
    far.error = Untrusted("it is not active")
    calls = unlimited(far, most=32, timeout=30)
    greenlets = asking(calls, "a", "a")
    far.go.set()
    for one in greenlets:
        with pytest.raises(Untrusted, match="it is not active"):
            one.get()
    assert len(calls) == 0


def test_a_call_ends_after_its_timeout_while_it_waits_for_its_turn_too(far):
    calls = unlimited(far, most=1, timeout=0.01)
    for one in asking(calls, "a", "b"):
        with pytest.raises(Unavailable, match=r"no answer within 0\.01 s"):
            one.get()
    assert far.arguments == ["A"]
    assert len(calls) == 0
    far.go.set()
    assert calls.result("c", "C", 30, request()) == "C judged"  # the turn of the late call was given back


def test_a_request_waits_no_longer_than_its_deadline_and_ends_nothing_for_others(far):
    calls = unlimited(far, most=1, timeout=30)
    (hasty,), (patient,) = asking(calls, "a", seconds=0.01), asking(calls, "a")
    with pytest.raises(Unavailable):
        hasty.get()
    far.go.set()
    assert patient.get() == "A judged"
    assert far.arguments == ["A"]


def test_a_function_that_swallows_exceptions_is_bounded_all_the_same():
    def stubborn(_, __):
        try:
            Event().wait(10)
        except Exception:  # noqa: BLE001 a user's function may try again without end
            return "swallowed"

    calls = unlimited(stubborn, most=1, timeout=0.01)
    with pytest.raises(Unavailable, match=r"no answer within 0\.01 s"):
        calls.result("a", "A", 5, request())


def test_a_timeout_of_the_function_itself_is_no_answer():
    def impatient(_, __):
        raise gevent.Timeout(1)

    calls = unlimited(impatient, most=1, timeout=30)
    with pytest.raises(Unavailable):
        calls.result("a", "A", 30, request())
    assert len(calls) == 0


def test_a_call_whose_turn_comes_when_none_waits_for_it_any_more_is_not_made(far):
    calls = unlimited(far, most=1, timeout=30)
    first = asking(calls, "a")
    for one in asking(calls, "b", "c", seconds=0.01):
        with pytest.raises(Unavailable):
            one.get()
    last = asking(calls, "d")
    far.go.set()
    gevent.joinall([*first, *last])
    assert far.arguments == ["A", "D"]
    assert last[0].value == "D judged"
    assert len(calls) == 0


def test_a_call_is_made_at_its_turn_if_one_of_those_that_wait_may_still_send_more(far):
    asked, may = [], []

    def check(request):
        asked.append(request)
        if request not in may:
            raise HTTPError(429)

    calls = Calls(far, most=1, timeout=30, check=check)
    first = gevent.spawn(calls.result, "a", "A", 30, one := request())
    may.append(one)
    gevent.sleep(0)
    may.append(two := request())
    rejected = [gevent.spawn(calls.result, "b", "B", 30, request()) for _ in range(2)]
    shared = [gevent.spawn(calls.result, "c", "C", 30, each) for each in (request(), two)]
    gevent.sleep(0)
    far.go.set()
    gevent.joinall([first, *rejected, *shared])
    assert far.arguments == ["A", "C"]
    assert [type(each.exception) for each in rejected] == [HTTPError] * 2
    assert [each.value for each in (first, *shared)] == ["A judged", "C judged", "C judged"]
    assert len(calls) == 0
