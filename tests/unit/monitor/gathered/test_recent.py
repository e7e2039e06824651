"""The failed and slow requests that the monitor keeps: bounded, filtered, in order."""

import pytest

from gproxy.monitor.gathered.recent import MOST, RecentRequests, of_field, of_status
from gproxy.monitor.processes.worker_lines import WorkerRef

WORKER = WorkerRef(3, 2, 4711)


def recent_with(*exchanges):
    recent = RecentRequests()
    for number, fields in enumerate(exchanges):
        recent.take(
            WORKER, 100.0 + number, {"id": f"id{number}", "started": 99.0, "status": 200, "duration": 1.0, **fields}
        )
    return recent


def ids(entries):
    return [entry["id"] for entry in entries]


def test_an_entry_has_its_times_and_its_worker():
    (entry,) = recent_with({"status": 502}).find([])
    assert entry["time"] == "1970-01-01T00:01:40.000Z"
    assert entry["started"] == "1970-01-01T00:01:39.000Z"
    assert (entry["worker"], entry["generation"], entry["status"]) == (2, 3, 502)


def test_the_newest_come_first_and_the_slowest_if_asked():
    recent = recent_with({"duration": 1.0}, {"duration": 3.0}, {"duration": 2.0})
    assert ids(recent.find([])) == ["id2", "id1", "id0"]
    assert ids(recent.find([], slowest=True)) == ["id1", "id2", "id0"]
    assert ids(recent.find([], slowest=True, most=1)) == ["id1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("5xx", ["id2", "id1"]), ("404", ["id0"]), ("404, 502", ["id1", "id0"]), ("4xx,5xx", ["id2", "id1", "id0"])],
)
def test_statuses_are_numbers_or_classes(text, found):
    assert ids(recent_with({"status": 404}, {"status": 502}, {"status": 504}).find([of_status(text)])) == found


@pytest.mark.parametrize("text", ["", "5x", "5xxx", "abc", "600", "404,", "٤٠٤"])
def test_other_words_are_no_statuses(text):
    with pytest.raises(ValueError, match="expected statuses such as"):
        of_status(text)


def test_filters_hold_together():
    recent = recent_with({"route": "a", "reason": "x"}, {"route": "a", "reason": "y"}, {"route": "b", "reason": "y"})
    assert ids(recent.find([of_field("route", "a"), of_field("reason", "y")])) == ["id1"]


def test_only_the_last_ones_are_kept():
    recent = recent_with(*({} for _ in range(MOST + 5)))
    assert len(recent.find([])) == MOST
    assert recent.of_id("id4") is None
    assert recent.of_id("id5")["id"] == "id5"
