"""The requests that the inspector keeps: so many, and so many bytes."""

from gproxy.monitor.gathered.inspected import MOST, InspectedRequests, summary
from gproxy.monitor.processes.worker_lines import WorkerRef

WORKER = WorkerRef(2, 1, 100)


def fields(identity="an-id", size=0):
    return {"id": identity, "started": 1000.0, "omitted": 0, "size": size, "steps": []}


def test_each_request_has_a_number_and_the_oldest_go():
    kept = InspectedRequests()
    for number in range(MOST + 5):
        kept.take(WORKER, 1001.0, fields(f"id-{number}"))
    numbers = [entry["number"] for entry in kept.last()]
    assert (len(numbers), numbers[0], numbers[-1]) == (MOST, MOST + 5, 6)
    assert kept.of_number(5) is None
    assert kept.of_number(6)["id"] == "id-5"
    assert (kept.last()[0]["time"], kept.last()[0]["generation"]) == ("1970-01-01T00:16:40.000Z", 2)


def test_long_requests_leave_room_for_fewer():
    kept = InspectedRequests()
    for _ in range(100):
        kept.take(WORKER, 1001.0, fields(size=512 * 1024))
    assert len(kept.last()) == 64
    kept.take(WORKER, 1001.0, fields(size=40 * 1024 * 1024))
    assert len(kept.last()) == 1, "the newest one stays in any case"


def test_requests_that_came_too_fast_are_counted():
    kept = InspectedRequests()
    for omitted in (0, 3, 4):
        kept.take(WORKER, 1001.0, {**fields(), "omitted": omitted})
    assert kept.omitted == 7
    kept.clear()
    assert kept.omitted == 0


def test_a_request_is_found_by_its_id_once_it_is_there():
    kept = InspectedRequests()
    for _ in range(2):
        kept.take(WORKER, 1001.0, fields("same"))
    assert kept.of_id("same", 1)["number"] == 2
    assert kept.of_id("same", 2) is None
    assert kept.clear() == 2
    assert kept.last() == []
    kept.take(WORKER, 1001.0, fields())
    assert kept.last()[0]["number"] == 3, "numbers do not begin again: a page may have an old one open"


def test_a_summary_names_the_steps_that_change_something():
    steps = [
        {"name": "jwt", "down": [("user", None, "alice")], "up": []}, {"name": "idle", "down": [], "up": []},
        {"name": "", "down": [("header Via", None, "x")], "up": []},
    ]  # fmt: skip
    known = dict.fromkeys(("number", "id", "time", "client", "user", "method", "target", "host", "route", "upstream",
        "backend", "tries", "status", "reason", "duration", "worker", "generation"), "")  # fmt: skip
    assert summary({**known, "steps": steps})["changed_by"] == ["jwt"]
