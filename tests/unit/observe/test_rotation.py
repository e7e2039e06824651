from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gproxy.observe import rotation


@pytest.mark.parametrize(
    ("name", "now", "midnight"),
    [
        ("UTC", "2026-11-22T12:00:00", "2026-11-23T00:00:00+00:00"),
        ("UTC", "2026-11-22T00:00:00", "2026-11-23T00:00:00+00:00"),
        ("UTC", "2026-12-31T23:59:59", "2027-01-01T00:00:00+00:00"),
        ("Europe/Berlin", "2026-03-29T00:30:00", "2026-03-30T00:00:00+02:00"),
        ("Europe/Berlin", "2026-10-25T00:30:00", "2026-10-26T00:00:00+01:00"),
        ("America/Sao_Paulo", "2018-11-03T12:00:00", "2018-11-04T01:00:00-02:00"),
        ("America/Havana", "2026-10-31T12:00:00", "2026-11-01T00:00:00-04:00"),
        ("Pacific/Apia", "2011-12-29T12:00:00", "2011-12-31T00:00:00+14:00"),
    ],
    ids=["noon", "midnight", "new year", "23 hours", "25 hours", "no 00:00", "00:00 twice", "a day that never was"],
)
def test_next_midnight(zone, name, now, midnight):
    zone(name)
    moment = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo(name)).timestamp()
    assert rotation.next_midnight(moment) == datetime.fromisoformat(midnight).timestamp()


def test_next_midnight_is_later_even_in_the_last_fraction_of_a_day(zone):
    zone("UTC")
    assert rotation.next_midnight(86399.999) == 86400


@pytest.mark.parametrize(
    ("size", "now", "limit", "due"),
    [
        (99, 0, 100, False),
        (100, 0, 100, True),
        (10**9, 0, None, False),
        (1, 49.9, None, False),
        (1, 50, None, True),
        (0, 50, 0, False),
    ],
    ids=["small", "at its limit", "no limit", "before midnight", "midnight", "empty"],
)
def test_is_due(size, now, limit, due):
    assert rotation.is_due(size, now, limit=limit, midnight=50) is due


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "access.log.2026-11-22"),
        (["access.log", "access.log.2026-11-21", "access.log.2026-11-21.7"], "access.log.2026-11-22"),
        (["access.log.2026-11-22"], "access.log.2026-11-22.1"),
        (["access.log.2026-11-22.9", "access.log.2026-11-22.10"], "access.log.2026-11-22.11"),
        (["accessXlog.2026-11-22", "access.log.2026-11-22.gz", "access.log.2026-11-22.01"], "access.log.2026-11-22"),
    ],
    ids=["first", "other days", "second", "after the highest", "not ours"],
)
def test_rotated_name(names, expected):
    assert rotation.rotated_name("access.log", "2026-11-22", names, compressed=False) == expected


def test_the_oldest_expire_first():
    names = [
        "access.log",
        "access.log.2026-11-22.10",
        "access.log.2026-11-22",
        "access.log.2026-11-22.9",
        "access.log.2026-11-21.1",
    ]
    oldest_first = [
        "access.log.2026-11-21.1",
        "access.log.2026-11-22",
        "access.log.2026-11-22.9",
        "access.log.2026-11-22.10",
    ]
    assert rotation.expired("access.log", names, 0, compressed=False) == oldest_first
    assert rotation.expired("access.log", names, 1, compressed=False) == oldest_first[:3]
    assert rotation.expired("access.log", names, 9, compressed=False) == []


def test_other_files_never_expire():
    names = [
        "access.log",
        "access.log.old",
        "error.log.2026-11-22",
        "access.log.2026-11-22.gz",
        "my-access.log.2026-11-22",
    ]
    assert rotation.expired("access.log", names, 0, compressed=False) == []


def test_with_compression_a_gz_is_a_rotated_file():
    names = [
        "access.log.2026-11-22",
        "access.log.2026-11-22.1.gz",
        "access.log.2026-11-21.gz",
        "access.log.2026-11-22.1.gz.part",
    ]
    assert rotation.rotated_name("access.log", "2026-11-22", names, compressed=True) == "access.log.2026-11-22.2"
    assert rotation.expired("access.log", names, 2, compressed=True) == ["access.log.2026-11-21.gz"]
    assert rotation.uncompressed("access.log", names) == ["access.log.2026-11-22"]
