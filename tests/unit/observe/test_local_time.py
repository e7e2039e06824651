"""The time of log lines keeps the zone of the start."""

import time

import pytest

from gproxy.observe import local_time

NEW_YEAR = 1_767_225_600  # 2026-01-01 00:00 UTC


@pytest.fixture
def zone(monkeypatch):
    """Set the zone of the process; after the test it is as before, and none is kept."""

    def use(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    monkeypatch.setattr(local_time, "_kept", None)
    yield use
    monkeypatch.undo()
    time.tzset()


def shown():
    return local_time.local(NEW_YEAR).strftime("%H:%M%z"), local_time.local_tuple(NEW_YEAR).tm_hour


@pytest.mark.parametrize("name", ["Asia/Tokyo", ":Asia/Tokyo"])
def test_a_kept_zone_stays(zone, name):
    zone(name)
    local_time.keep_zone()
    zone("America/New_York")
    assert shown() == ("09:00+0900", 9)


def test_without_a_kept_zone_the_process_decides(zone):
    zone("Asia/Tokyo")
    assert shown() == ("09:00+0900", 9)
    zone("UTC")
    assert shown() == ("00:00+0000", 0)


def test_a_zone_in_the_form_of_posix_is_not_kept(zone):
    zone("XYZ-3")
    local_time.keep_zone()
    assert shown() == ("03:00+0300", 3)
