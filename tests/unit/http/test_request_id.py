import uuid

from gproxy.http.request_id import RequestIDs


def test_ids_are_uuids_of_version_7_with_the_time():
    found = uuid.UUID(RequestIDs().new(1795397881.1239))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == 1795397881123


def test_ids_sort_by_time_and_never_repeat():
    ids = RequestIDs()
    drawn = [ids.new(1795397881.0 + number // 700 / 1000) for number in range(3000)]
    assert len(set(drawn)) == 3000
    assert {len(one) for one in drawn} == {32}
    assert [one[:12] for one in drawn] == sorted(one[:12] for one in drawn)


def test_two_workers_draw_differently():
    assert RequestIDs().new(1.0) != RequestIDs().new(1.0)
