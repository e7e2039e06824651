"""Errors of handlers after which requests go on, and pauses after several errors."""

import logging

import gevent
import pytest
from gevent.event import Event

from gproxy.config.types import Rate, Seconds
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing import answer
from gproxy.upstream.errors import BrokenBodyError

from .conftest import Scene, late


@pytest.mark.parametrize("wrong", [None, "text"])
def test_what_is_no_response_is_an_error(opened, wrong, caplog):
    opened.act = lambda request, following: wrong
    assert opened.ask()[1].status == 200
    assert f"returned {wrong!r}; expected a Response" in caplog.text
    assert opened.errors.failures(opened) == 1


def test_a_rejection_is_no_error(opened):
    opened.fail(HTTPError(403))
    asked, response = opened.ask()
    assert (response.status, asked.exchange.report, opened.errors.failures(opened)) == (403, "", 0)


@pytest.mark.parametrize("options", [{"mode": "report"}, {"on_error": "open"}, {"time_limit": Seconds(1)}])
@pytest.mark.parametrize("end", [ClientGone(), Expired(TimeLimit.DEADLINE), KeyboardInterrupt()])
def test_the_end_of_a_request_is_no_error_of_a_handler(options, end):
    scene = Scene(**options)
    scene.fail(end)
    with pytest.raises(type(end)):
        scene.ask()
    assert scene.errors.failures(scene) == 0


def test_a_backend_that_breaks_off_is_no_error_of_the_handler_that_reads(opened):
    opened.act = late(BrokenBodyError("reset"))
    asked, response = opened.ask()
    assert (response.status, asked.reason, opened.errors.failures(opened)) == (502, "backend_reset", 0)


def test_a_traceback_is_logged_once_for_each_place(opened, caplog):
    opened.fail(LookupError("the table is away"))
    for _ in range(3):
        opened.ask()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "handler one failed; the request goes on" in caplog.text
    assert "LookupError: the table is away" in caplog.text
    assert opened.errors.failures(opened) == 3


def test_a_handler_that_fails_has_a_state_for_ten_seconds(opened):
    assert opened.steps.snapshot() == {}
    opened.fail(ValueError())
    opened.ask()
    assert opened.steps.snapshot() == {"one": {"state": "failing", "errors": 1}}
    opened.clock.advance(10.1)
    assert opened.steps.snapshot() == {}


@pytest.fixture
def breaker():
    scene = Scene(on_error="skip", error_limit=Rate(3, Seconds(10)), error_pause=Seconds(30))
    scene.fail(ValueError())
    return scene


def test_errors_that_are_far_apart_skip_nothing(breaker):
    for _ in range(5):
        breaker.ask()
        breaker.clock.advance(6)
    assert breaker.calls == 5


def test_a_handler_is_skipped_after_errors_and_tried_by_one_request_at_a_time(breaker):
    for _ in range(5):
        assert breaker.ask()[1].status == 200
    assert breaker.calls == 3
    assert breaker.steps.snapshot()["one"]["state"] == "skipped"
    breaker.clock.advance(31)

    def meanwhile(request, following):
        breaker.ask()  # of another client, while the trial runs
        return following(request)

    breaker.act = meanwhile
    breaker.ask()
    assert breaker.calls == 4
    breaker.act = lambda request, following: following(request)
    breaker.ask()
    assert breaker.calls == 5
    assert breaker.steps.snapshot() == {}


def test_a_failed_trial_begins_another_pause(breaker):
    for _ in range(3):
        breaker.ask()
    breaker.clock.advance(31)
    breaker.ask()
    breaker.clock.advance(29)
    breaker.ask()
    assert breaker.calls == 4
    breaker.clock.advance(2)
    breaker.ask()
    assert breaker.calls == 5


def test_a_rejection_is_a_good_trial_and_the_end_of_a_request_is_none(breaker):
    for _ in range(3):
        breaker.ask()
    breaker.clock.advance(31)
    breaker.fail(ClientGone())
    with pytest.raises(ClientGone):
        breaker.ask()
    assert breaker.steps.snapshot()["one"]["state"] == "skipped"
    breaker.fail(HTTPError(403))
    assert breaker.ask()[1].status == 403
    assert breaker.steps.snapshot() == {}


def waiting(scene, ending):
    """Return a request that waits in the handler, and the event that lets it go on to this end."""
    go = Event()

    def act(request, following):
        go.wait()
        return ending(request, following)

    scene.act = act
    asking = gevent.spawn(scene.ask)
    gevent.sleep(0)
    return asking, go


def passes(request, following):
    return following(request)


def breaks(request, following):
    raise ValueError


def test_a_failed_trial_that_returns_late_closes_nothing(breaker):
    """The first trial fails, and its backend takes longer than the pause: it returns during the second trial."""
    for _ in range(3):
        breaker.ask()
    breaker.clock.advance(31)
    backend = Event()

    def slow(request):
        backend.wait()
        return answer()(request)

    breaker.last, at_once = slow, breaker.last
    first = gevent.spawn(breaker.ask)
    gevent.sleep(0)
    breaker.last = at_once
    breaker.clock.advance(31)
    second, go = waiting(breaker, breaks)
    backend.set()
    first.get()
    assert breaker.steps.snapshot()["one"]["state"] == "skipped"
    calls = breaker.calls
    breaker.ask()
    assert breaker.calls == calls  # the second trial is still the only one
    go.set()
    second.get()
    breaker.clock.advance(29)
    breaker.ask()
    assert breaker.calls == calls


@pytest.mark.parametrize("ending", [breaks, passes])
def test_a_request_from_before_the_pause_ends_no_trial(breaker, ending):
    straggler, go = waiting(breaker, ending)
    breaker.act = breaks
    for _ in range(3):
        breaker.ask()
    breaker.clock.advance(31)
    trial, finish = waiting(breaker, passes)
    calls = breaker.calls
    go.set()
    straggler.get()
    breaker.ask()
    assert breaker.calls == calls
    assert breaker.steps.snapshot()["one"]["state"] == "skipped"
    finish.set()
    trial.get()
    assert breaker.steps.snapshot() == {}


def test_a_handler_that_runs_again_begins_with_no_errors():
    scene = Scene(on_error="skip", error_limit=Rate(3, Seconds(10)), error_pause=Seconds(1))
    scene.fail(ValueError())
    for _ in range(3):
        scene.ask()
    scene.clock.advance(2)
    fail, scene.act = scene.act, lambda request, following: following(request)
    scene.ask()
    scene.act = fail
    for _ in range(2):
        scene.ask()
    assert scene.calls == 6
    assert scene.steps.snapshot()["one"]["state"] == "failing"
