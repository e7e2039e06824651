"""The slots of jobs: multiples of a time, and times of day where clocks are set forward and back."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.sections.job import DayTime
from gproxy.jobs.schedule import At, Every

BERLIN = ZoneInfo("Europe/Berlin")


def at(zone, *times):
    return At([DayTime.parse(time) for time in times], lambda seconds: datetime.fromtimestamp(seconds, zone))


def moment(text, zone=BERLIN, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def slots(schedule, begin, count, zone=BERLIN):
    """The next slots as the clocks show them, with the difference to UTC."""
    found, now = [], begin
    for _ in range(count):
        now = schedule.next(now)
        found.append(datetime.fromtimestamp(now, zone).isoformat(" ", "minutes"))
    return found


@pytest.mark.parametrize("seconds", [1.0, 7.0, 600.0, 86_400.0, 1.5])
def test_multiples_of_a_time_come_one_after_the_other(seconds):
    schedule = Every(seconds)
    slot = schedule.next(1_795_971_473.25)
    assert slot % seconds == 0 and 0 < slot - 1_795_971_473.25 <= seconds
    assert schedule.next(slot) == slot + seconds
    assert schedule.next(slot - 0.001) == slot


@given(st.floats(0, 4e9), st.floats(1, 1e6))
def test_a_slot_is_after_its_time(after, seconds):
    slot = Every(seconds).next(after)
    assert after < slot <= after + 2 * seconds


def test_a_time_of_day_on_each_day():
    assert slots(at(BERLIN, "03:30", "18:00"), moment("2026-06-10 12:00"), 3) == [
        "2026-06-10 18:00+02:00", "2026-06-11 03:30+02:00", "2026-06-11 18:00+02:00",
    ]  # fmt: skip


def test_a_time_on_one_day_of_the_week():
    assert slots(at(BERLIN, "Mon 06:00", "friday 7:05"), moment("2026-06-10 12:00"), 3) == [
        "2026-06-12 07:05+02:00", "2026-06-15 06:00+02:00", "2026-06-19 07:05+02:00",
    ]  # fmt: skip
    assert slots(at(BERLIN, "mon 06:00"), moment("2026-06-15 06:00"), 1) == ["2026-06-22 06:00+02:00"]


def test_a_time_that_does_not_exist_is_the_next_minute_that_does():
    assert slots(at(BERLIN, "02:30"), moment("2026-03-28 12:00"), 2) == [
        "2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00",
    ]  # fmt: skip


def test_two_times_in_a_gap_are_one_slot():
    assert slots(at(BERLIN, "02:10", "02:30", "03:00"), moment("2026-03-28 12:00"), 2) == [
        "2026-03-29 03:00+02:00", "2026-03-30 02:10+02:00",
    ]  # fmt: skip


def test_a_time_that_occurs_twice_is_the_first():
    assert slots(at(BERLIN, "02:30"), moment("2026-10-24 12:00"), 2) == [
        "2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00",
    ]  # fmt: skip
    between = moment("2026-10-25 02:45")
    assert slots(at(BERLIN, "02:30"), between, 1) == ["2026-10-26 02:30+01:00"]


def test_a_gap_at_midnight_moves_a_time_to_the_hour_after():
    beirut = ZoneInfo("Asia/Beirut")
    assert slots(at(beirut, "00:15"), moment("2026-03-28 12:00", beirut), 2, beirut) == [
        "2026-03-29 01:00+03:00", "2026-03-30 00:15+03:00",
    ]  # fmt: skip


def test_a_day_that_an_island_has_left_out():
    samoa = ZoneInfo("Pacific/Apia")
    assert slots(at(samoa, "12:00"), moment("2011-12-29 13:00", samoa), 2, samoa) == [
        "2011-12-31 00:00+14:00", "2011-12-31 12:00+14:00",
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"])
def test_each_day_of_a_year_has_its_slots(zone):
    zone = ZoneInfo(zone)
    schedule, now, days = at(zone, "02:05"), moment("2026-01-01 00:00", zone), []
    for _ in range(365):
        now = schedule.next(now)
        days.append(datetime.fromtimestamp(now, zone).date())
    assert len(set(days)) == 365 and days[-1].isoformat() == "2026-12-31"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("24:00", "the times are 00:00 to 23:59"), ("1:60", "the times are"), ("someday 01:00", "the days are mon, tue"),
        ("noon", "^$"), ("3", "^$"), ("mon", "^$"), ("03:30:00", "^$"),
    ],
)  # fmt: skip
def test_what_is_no_time_of_day(text, message):
    with pytest.raises(ValueError, match=message):
        DayTime.parse(text)


@pytest.mark.parametrize("text", ["03:30", "mon 06:00"])
def test_a_time_of_day_is_written_as_it_is_read(text):
    assert str(DayTime.parse(text)) == text
