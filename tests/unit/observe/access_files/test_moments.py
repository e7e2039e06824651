"""What --since and --until mean, and how the times of lines compare."""

from datetime import UTC, datetime

import pytest

from gproxy.observe.access_files.moments import Period, iso, minute, moment, parse_moment

NOW = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)
LTSV, COMBINED = b"2026-11-28T12:00:05.250+01:00", b"28/Nov/2026:12:00:05 +0100"


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", "2026-11-28T12:20:00"),
        ("1.5h", "2026-11-28T11:00:00"),
        ("2d", "2026-11-26T12:30:00"),
        ("12:00", "2026-11-28T12:00:00"),
        ("9:05:30", "2026-11-28T09:05:30"),
        ("12:31", "2026-11-27T12:31:00"),
        ("2026-11-27", "2026-11-27T00:00:00"),
        ("2026-11-27T08:00", "2026-11-27T08:00:00"),
        ("2026-11-27 08:00:01.5", "2026-11-27T08:00:01.500000"),
        ("2026-11-27T08:00+02:00", "2026-11-27T06:00:00"),
    ],
)
def test_moments(text, expected):
    assert parse_moment(text, NOW) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.usefixtures("utc")
def test_a_night_from_23_to_1_ends_after_it_begins():
    since = parse_moment("23:00", NOW.replace(hour=0))
    assert parse_moment("1:00", NOW.replace(hour=0), after=since) == datetime(2026, 11, 28, 1, tzinfo=UTC)


def test_times_of_lines():
    assert moment(LTSV) == datetime(2026, 11, 28, 11, 0, 5, 250_000, tzinfo=UTC).timestamp()
    assert moment(COMBINED) == datetime(2026, 11, 28, 11, 0, 5, tzinfo=UTC).timestamp()
    assert moment(b"-") is moment(b"2026-13-28T12:00:05.250+01:00") is None
    assert iso(COMBINED) == "2026-11-28T12:00:05+01:00"
    assert iso(minute(COMBINED)) == iso(minute(LTSV)) == "2026-11-28T12:00+01:00"


def test_a_period_compares_times_of_all_offsets_and_omits_its_end():
    since = moment(LTSV) or 0.0
    period = Period(since, since + 1)
    times = {
        b"2026-11-28T12:00:05.249+01:00": False,
        b"2026-11-28T12:00:05.250+01:00": True,
        b"2026-11-28T11:00:06.249+00:00": True,
        b"2026-11-28T05:30:06.250-05:30": False,
        b"2026-11-28T12:00:05.999+99:99": False,
        b"2026-11-28T12:00:05.300+01:00": True,
    }
    expected = [(time,) for time, is_in in times.items() if is_in]
    assert period.selector(0, "ltsv")([(time,) for time in times]) == expected
    assert [row for time in times for row in period.selector(0, "json")([(time,)])] == expected


def test_a_period_without_a_beginning_or_an_end():
    rows = [(LTSV,), (b"1999-11-28T12:00:05.250+01:00",)]
    assert Period(float("-inf"), 4e9).selector(0, "ltsv")(rows) == rows
    assert Period(0.0, float("inf")).selector(0, "ltsv")(rows) == rows
