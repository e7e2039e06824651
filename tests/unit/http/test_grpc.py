"""The words of gRPC, and the deadline of a call."""

import math

import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.grpc import (
    LATER,
    CallDeadline,
    is_grpc,
    parse_timeout,
    status_in,
    status_of,
    written_message,
    written_timeout,
)
from gproxy.http.headers import Headers
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.testing import Clock


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/grpc", True), ("application/grpc+proto", True), ("Application/gRPC; charset=x", True),
        ("application/grpc-web", True), ("application/json", False), ("", False),
    ],
)  # fmt: skip
def test_what_is_grpc(kind, expected):
    assert is_grpc(Headers([("Content-Type", kind)])) is expected


def test_a_message_without_a_type_is_none():
    assert not is_grpc(Headers())


@pytest.mark.parametrize(
    ("trailers", "expected"),
    [([], None), ([("Grpc-Message", "x")], None), ([("a", "1"), ("Grpc-Status", "14")], "14")],
)
def test_the_status_in_trailers(trailers, expected):
    assert status_in(trailers) == expected


@pytest.mark.parametrize(
    ("http", "grpc"),
    [
        (400, "13"), (401, "16"), (403, "7"), (404, "12"), (405, "12"), (413, "8"), (429, "8"), (499, "1"), (500, "13"),
        (502, "14"), (503, "14"), (504, "4"), (418, "2"), (501, "2"), (431, "2"), (508, "2"),
    ],
)  # fmt: skip
def test_the_table_of_statuses(http, grpc):
    assert status_of(http) == grpc


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain text, with: all ~signs!", "plain text, with: all ~signs!"),
        ("100%", "100%25"),
        ("a\r\nb\x00\x7f", "a%0D%0Ab%00%7F"),
        ("für \N{SNOWMAN}", "f%C3%BCr %E2%98%83"),
        ("x" * 2000, "x" * 1024),
    ],
)
def test_messages_are_percent_encoded(text, written):
    assert written_message(text) == written


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("100m", 0.1), ("5u", 5e-6), ("7n", 7e-9), ("0S", 0.0),
        ("99999999H", 359999996400.0), ("100000000S", None), ("1", None), ("S", None), ("-1S", None), ("1.5S", None),
        ("1s", None), (" 1S", None), ("1S ", None), ("", None), ("\N{ARABIC-INDIC DIGIT ONE}S", None),
    ],
)  # fmt: skip
def test_timeouts_are_read(text, seconds):
    assert parse_timeout(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.0, "3000000u"), (99.9, "99900000u"), (100.0, "100000m"), (99999.0, "99999000m"), (100000.0, "100000S"),
        (1e12, "99999999H"), (0.0, "1u"), (-5.0, "1u"), (1e-9, "1u"),
    ],
)  # fmt: skip
def test_timeouts_are_written_in_the_finest_unit(seconds, text):
    assert written_timeout(seconds) == text


class Timer:
    """Keeps what it was set to last."""

    def set(self, expires, limit):
        self.expires, self.limit = expires, limit


HEAD = TimeLimit.DEADLINE.of(3.0, "timeout")


@pytest.fixture
def scene():
    """Return a function that makes the deadline of a call, with its clock and its timer."""

    def made(seconds, total=None):
        clock, timer = Clock(100.0), Timer()
        deadline = CallDeadline(Deadline(timer, clock), TimeLimit.CALL.of(seconds, "grpc-timeout of the client"))
        limit = None if total is None else TimeLimit.TOTAL.of(total, "total_timeout")
        deadline.begin(ExchangeLimits(HEAD, limit, HEAD, HEAD))
        return deadline, clock, timer

    return made


def test_until_the_head_the_shorter_one_holds(scene):
    deadline, _, timer = scene(1.0)
    assert deadline.remaining() == pytest.approx(1.0 + LATER)
    assert (timer.expires, timer.limit) == (101.0 + LATER, TimeLimit.CALL)
    deadline, _, timer = scene(5.0)
    assert (deadline.remaining(), timer.expires, timer.limit) == (3.0, 103.0, TimeLimit.DEADLINE)


def test_after_the_head_it_bounds_the_whole_call(scene):
    deadline, clock, timer = scene(5.0)
    clock.now += 1.0
    deadline.begin_body(is_event_stream=False)
    assert deadline.remaining() == pytest.approx(4.0 + LATER)
    clock.now += 3.5
    deadline.wait(HEAD)
    assert (timer.expires, timer.limit) == (105.0 + LATER, TimeLimit.CALL)


@pytest.mark.parametrize(
    ("call", "total", "expires", "limit"), [(9, 4, 104.0, TimeLimit.TOTAL), (4, 9, 104.0 + LATER, TimeLimit.CALL)]
)
def test_the_shorter_of_it_and_total_timeout_holds(scene, call, total, expires, limit):
    deadline, clock, timer = scene(float(call), float(total))
    clock.now += 2.0
    deadline.begin_body(is_event_stream=False)
    assert (timer.expires, timer.limit) == (expires, limit)
    assert deadline.written == "2000000u"


def test_waits_for_the_client_do_not_move_its_end(scene):
    deadline, clock, timer = scene(5.0, 4.0)
    clock.now += 3.0
    deadline.pause(3.0)
    deadline.begin_body(is_event_stream=False)
    assert (timer.expires, timer.limit) == (105.0 + LATER, TimeLimit.CALL)
    assert deadline.written == "2000000u"


def test_a_new_route_keeps_its_end(scene):
    deadline, clock, timer = scene(5.0)
    clock.now += 4.0
    deadline.begin(ExchangeLimits(HEAD, None, HEAD, HEAD))
    assert (timer.expires, timer.limit) == (105.0 + LATER, TimeLimit.CALL)
    assert deadline.expires < math.inf


def test_the_alarm_of_a_call_is_set_to_its_end(scene):
    deadline, _, _ = scene(5.0)
    alarm = Timer()
    deadline.begin_alarm(alarm)
    assert (alarm.expires, alarm.limit) == (105.0 + LATER, TimeLimit.CALL)
