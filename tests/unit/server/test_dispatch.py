"""One request answered over an output that records what it is asked for, whatever the protocol."""

import logging
from types import SimpleNamespace

import pytest
from greenlet import GreenletExit

from gproxy.http.body import Body
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.phase import BODY
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.server.dispatch import Output, dispatch, note_break
from gproxy.testing import Clock, request
from gproxy.upstream.errors import BrokenBodyError


class RecordingOutput(Output):
    """An output that sends nothing, and fails as it is told."""

    def __init__(self, events, error=None):
        super().__init__()
        self.keep = True
        self.events = events
        self.error = error

    def leave(self, body):
        self.events.append("leave")

    def send(self, response, method, minor):
        self.events.append(("send", response.status, method, minor))
        self.sent = 2
        if self.error is not None:
            raise self.error

    def give_up(self):
        self.events.append("give_up")

    def abort(self):
        self.events.append("abort")

    def end(self):
        self.events.append("end")


class Scene:
    """A gateway that answers 200, and an output; `events` has what happens in which order."""

    def __init__(self, error=None, **options):
        self.events = []
        self.out = RecordingOutput(self.events, error)
        self.runtime = Runtime()
        self.request = request("POST", "/x", **options)
        self.recorded = []

    def __call__(self, asked):
        self.events.append("gateway")
        asked.at_end(lambda: self.events.append("request ends"))
        response = Response(200, b"ok")
        response.on_close(lambda: self.events.append("close"))
        return response

    def finish(self, exchange):
        self.recorded.append((exchange.status, exchange.reason, exchange.bytes_sent))

    def run(self):
        dispatch(self.request, 0.0, self.out, self, self.runtime)
        return self.events


def test_a_request_is_answered_released_and_recorded():
    some = Scene()
    assert some.run() == ["gateway", ("send", 200, "POST", 1), "close", "end", "request ends"]
    assert some.recorded == [(200, "", 2)]
    assert (some.out.keep, some.request.phase) == (True, BODY)


def test_the_output_decides_on_a_body_that_was_not_read_before_it_sends():
    some = Scene(body=b"left")
    some.request.body = Body(b"", SimpleNamespace(done=False), 4)
    assert some.run()[:3] == ["gateway", "leave", ("send", 200, "POST", 1)]


def test_a_body_that_was_read_is_no_matter():
    some = Scene(body=b"read")
    some.request.body.read()
    assert "leave" not in some.run()


def test_while_the_worker_drains_no_request_follows():
    some = Scene()
    some.runtime.draining = True
    some.run()
    assert not some.out.keep


@pytest.mark.parametrize(
    ("error", "status", "reason", "is_aborted"),
    [
        (ClientGone(), 499, "client_gone", False),
        (BrokenBodyError("cut"), 200, "backend_reset", True),
        (Expired(TimeLimit.DEADLINE), 200, "deadline_mid_body", True),
        (HTTPError(400, reason="client_gone"), 200, "client_gone", True),
        (ValueError("broken"), 200, "handler_error", True),
    ],
    ids=str,
)
def test_a_response_that_breaks_off_is_given_up(error, status, reason, is_aborted):
    some = Scene(error)
    events = some.run()
    assert events[2:] == ["close", "give_up", *["abort"] * is_aborted, "end", "request ends"]
    assert some.recorded == [(status, reason, 2)]
    assert not some.out.keep


def test_the_end_of_the_greenlet_goes_through():
    some = Scene(GreenletExit())
    with pytest.raises(GreenletExit):
        some.run()
    assert some.events[-2:] == ["end", "request ends"]
    assert len(some.recorded) == 1


def test_what_is_logged_of_a_broken_response_is_throttled(caplog):
    asked = request("GET", "/")
    asked.backend = "unit-test:1"
    runtime = Runtime(monotonic=(clock := Clock()))
    for _ in range(3):
        note_break(asked, BrokenBodyError("why"), runtime)
    clock.advance(10)
    runtime.throttle.summarize()
    assert caplog.messages == [
        "test GET /: backend unit-test:1: response broken off: why",
        "backend unit-test:1: response broken off: backend_reset: 2 more within 10 s",
    ]


def test_each_response_that_a_drain_cuts_is_logged(caplog):
    asked, runtime = request("GET", "/"), Runtime()
    for _ in range(2):
        note_break(asked, Expired(TimeLimit.DRAINING), runtime)
    assert asked.reason == "draining"
    assert len(caplog.messages) == 2
    assert all(message.startswith("test GET /: response broken off") for message in caplog.messages)


def test_an_error_of_a_handlers_body_is_logged_with_its_traceback(caplog):
    with caplog.at_level(logging.ERROR, "gproxy"):
        note_break(request("GET", "/"), error := ValueError("why"), Runtime())
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info[1] is error
