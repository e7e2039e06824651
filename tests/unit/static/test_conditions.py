import time

import pytest

from gproxy.http.headers import Headers
from gproxy.static.conditions import Outcome, Validators, outcome

#: Changed at Tue, 14 Nov 2023 22:13:23 GMT.
FILE = Validators('"tag"', 1_700_000_003, 100)
THEN, BEFORE, AFTER = (f"Tue, 14 Nov 2023 22:13:2{second} GMT" for second in (3, 2, 4))
WHOLE = Outcome(200, 0, 100)


def of(*fields, file=FILE, now=1_700_000_010.0, is_head=False):
    return outcome(Headers(fields), file, now=now, is_head=is_head)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"If-Match": '"tag"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": 'W/"tag"'}, 412),
        ({"If-Match": '"a", "b"'}, 412),
        ({"If-Match": '"tag"', "If-Unmodified-Since": BEFORE}, 200),
        ({"If-Unmodified-Since": THEN}, 200),
        ({"If-Unmodified-Since": BEFORE}, 412),
        ({"If-Unmodified-Since": "yesterday"}, 200),
        ({"If-None-Match": '"tag"'}, 304),
        ({"If-None-Match": 'W/"tag"'}, 304),
        ({"If-None-Match": '"a", "tag"'}, 304),
        ({"If-None-Match": '"a"', "If-Modified-Since": AFTER}, 200),
        ({"If-None-Match": "tag"}, 200),
        ({"If-Modified-Since": THEN}, 304),
        ({"If-Modified-Since": AFTER}, 304),
        ({"If-Modified-Since": BEFORE}, 200),
        ({"If-Modified-Since": "Tuesday, 14-Nov-23 22:13:23 GMT"}, 304),
        ({"If-Modified-Since": "Tue Nov 14 22:13:23 2023"}, 304),
        ({"If-Modified-Since": "Tue, 14 Nov 2023 99:13:23 GMT"}, 200),
        ({"If-Modified-Since": "2023-11-14T22:13:23Z"}, 200),
        ({"If-Match": '"other"', "If-None-Match": '"tag"'}, 412),
        ({"If-None-Match": '"tag"', "Range": "bytes=0-1"}, 304),
    ],
)
def test_preconditions_in_the_order_of_rfc_9110(fields, status):
    assert of(*fields.items()).status == status


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-9", Outcome(206, 0, 10)),
        ("bytes=90-", Outcome(206, 90, 100)),
        ("bytes=-10", Outcome(206, 90, 100)),
        ("bytes=-1000", Outcome(206, 0, 100)),
        ("bytes=0-1000", Outcome(206, 0, 100)),
        ("bytes=99-99", Outcome(206, 99, 100)),
        ("bytes=100-", Outcome(416, 0, 100)),
        ("bytes=-0", Outcome(416, 0, 100)),
        ("bytes=9-0", Outcome(416, 0, 100)),
        ("bytes=-", Outcome(416, 0, 100)),
        ("bytes=one", Outcome(416, 0, 100)),
        ("bytes=1-2-3", Outcome(416, 0, 100)),
        ("bytes=0-9223372036854775807", WHOLE._replace(status=206)),
        ("bytes=-9223372036854775807", WHOLE._replace(status=206)),
        ("bytes=9223372036854775807-", Outcome(416, 0, 100)),
        (f"bytes=0-{'9' * 41}", Outcome(416, 0, 100)),
        ("bytes= 1 - 2 ", Outcome(206, 1, 3)),
        ("bytes= -5", Outcome(206, 95, 100)),
        ("bytes=5", Outcome(416, 0, 100)),
        ("bytes=- 5", Outcome(416, 0, 100)),
        ("bytes=1 2-3", Outcome(416, 0, 100)),
        ("bytes=1\t-3", Outcome(416, 0, 100)),
        ("bytes=0-1,5-6", WHOLE),
        ("lines=0-1", WHOLE),
        ("bytes=", WHOLE),
    ],
)
def test_ranges(wanted, expected):
    assert of(("Range", wanted)) == expected
    assert of(("Range", wanted), is_head=True) == WHOLE


def test_an_empty_file_has_no_part():
    empty = FILE._replace(size=0)
    assert of(("Range", "bytes=0-"), file=empty) == Outcome(200, 0, 0)
    assert of(("Range", "bytes=1-"), file=empty) == Outcome(416, 0, 0)


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"tag"', 206), ('W/"tag"', 200), ('"other"', 200), (THEN, 206), (AFTER, 200), ("nonsense", 200)],
)
def test_a_range_of_another_version_is_the_whole_file(condition, status):
    assert of(("Range", "bytes=0-1"), ("If-Range", condition)).status == status


def test_the_time_of_a_change_names_no_version_within_its_second():
    fields = (("Range", "bytes=0-1"), ("If-Range", THEN))
    assert [of(*fields, now=FILE.modified + age).status for age in (-5, 0.0, 0.999, 1.0)] == [200, 200, 200, 206]
    assert of(("Range", "bytes=0-1"), ("If-Range", '"tag"'), now=FILE.modified).status == 206


@pytest.mark.parametrize("blanks", [" ", "\t", "1", "-"])
def test_a_long_range_is_judged_in_linear_time(blanks):
    filler = blanks * 100_000
    started = time.process_time()
    assert of(("Range", f"bytes={filler}-{filler}x")).status == 416
    assert time.process_time() - started < 0.5
