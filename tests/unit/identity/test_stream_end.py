"""The end of an endless response; tests/flow/test_identity_expiry.py has the alarm and what a client sees."""

from typing import ClassVar

import pytest

from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.identity import stream_end
from gproxy.identity.stream_end import StreamEnd


class Noted:
    """An alarm that only notes what it is set to, relative to 100."""

    made: ClassVar[list["Noted"]] = []

    def __init__(self):
        self.set_to = None
        self.is_closed = False
        Noted.made.append(self)

    def set(self, expires, limit):
        self.set_to = expires - 100.0, limit

    def close(self):
        self.is_closed = True


@pytest.fixture
def alarms(monkeypatch):
    Noted.made = []
    monkeypatch.setattr(stream_end, "alarm_like", lambda deadline, wheel: Noted())
    return Noted.made


def stopped():
    """A request whose clock stands at 100."""
    asked = request()
    asked.deadline.clock = lambda: 100.0
    return asked


def limit(name):
    return TimeLimit.IDENTITY.of(float("inf"), f"end_streams of [handler:{name}]")


def test_the_alarm_begins_with_the_body_and_is_closed_with_the_request(alarms):
    asked = stopped()
    StreamEnd(asked, 1_000_007.0, limit("jwt"), lambda: 1_000_000.0)
    assert alarms == []
    asked.deadline.begin_body(is_event_stream=True)
    assert [alarm.set_to for alarm in alarms] == [(7.0, TimeLimit.IDENTITY)]
    asked.end()
    assert alarms[0].is_closed


def test_a_response_that_ends_by_itself_needs_no_alarm(alarms):
    asked = stopped()
    StreamEnd(asked, 1_000_007.0, limit("jwt"), lambda: 1_000_000.0)
    asked.deadline.begin_body(is_event_stream=False)
    asked.end()
    assert alarms == []


def test_each_identity_of_a_request_has_its_end(alarms):
    asked = stopped()
    for seconds in (7.0, 3.0):
        StreamEnd(asked, 1_000_000.0 + seconds, limit("jwt"), lambda: 1_000_000.0)
    asked.deadline.begin_body(is_event_stream=True)
    assert [alarm.set_to[0] for alarm in alarms] == [7.0, 3.0]
    asked.end()
    assert all(alarm.is_closed for alarm in alarms)


def test_the_log_line_names_the_option():
    assert limit("jwt").cut == " because the identity has expired (end_streams of [handler:jwt])"
    assert limit("jwt").reason_after_head == "auth_expired"
    assert not limit("jwt").counts_against_backend
