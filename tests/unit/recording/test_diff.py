"""The differences between two responses: what counts, what is ignored, and what a pseudonym hides."""

import gzip
import json
import re
import sys

import brotli
import pytest

from gproxy.recording.body_diff import Ignored, parse_path
from gproxy.recording.diff import Diff, Difference, Side

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON = ("Content-Type", "application/json")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
PSEUDONYM = re.compile(r"~[0-9a-f]{4}")


def found(before, after, *ignored, **options):
    return Diff(Ignored.parse(ignored), PSEUDONYM).compare(before, after, **options)


def kinds(*arguments, **options):
    return [one.kind for one in found(*arguments, **options).differences]


def side(body, *headers, status=200, **options):
    return Side(status, headers, body if isinstance(body, bytes | None) else json.dumps(body).encode(), **options)


def test_equal_responses_have_no_difference():
    one = side({"a": [1, {"b": None}]}, JSON, ("Cache-Control", "no-store"))
    assert found(one, one).differences == []


def test_the_status_is_compared():
    assert found(Side(200), Side(404)).differences == [Difference("status", "200", "404")]


def test_of_an_error_in_place_of_a_success_only_the_status_is_a_difference():
    before, after = side({"a": 1}, JSON), side(b"no", TEXT, status=500)
    assert kinds(before, after) == ["status"]
    assert kinds(before, side({"a": 2}, JSON, status=201)) == ["status", "body $.a"]


def test_fields_are_compared_by_name_without_regard_to_case_and_order():
    before = side(b"", ("ETag", '"1"'), ("X-Old", "1"), ("Vary", "Accept"), ("Vary", "Cookie"))
    after = side(b"", ("vary", "Accept, Cookie"), ("etag", '"2"'), ("X-New", "1"))
    assert found(before, after).differences == [
        Difference("header ETag", '"1"', '"2"'),
        Difference("header X-Old", "1", "absent"),
        Difference("header X-New", "absent", "1"),
    ]


def test_each_of_several_cookies_is_compared():
    before = side(b"", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    assert kinds(before, side(b"", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=3"))) == ["header Set-Cookie"]


@pytest.mark.parametrize(
    "name",
    ["Date", "Age", "Expires", "X-Request-ID", "traceparent", "Connection", "Transfer-Encoding", "Content-Length"],
)
def test_dates_ages_ids_and_framing_are_not_compared(name):
    assert kinds(side(b"", (name, "1")), side(b"", (name, "2"))) == []
    assert kinds(side(b"", (name, "1")), side(b"")) == []


def test_a_field_that_carries_the_id_of_its_request_is_not_compared():
    before = side({"request_id": "one"}, JSON, ("X-Id", "one"), id="one")
    assert kinds(before, side({"request_id": "two"}, JSON, ("X-Id", "two"), id="two")) == []
    assert kinds(before, side({"request_id": "three"}, JSON, ("X-Id", "two"), id="two")) == ["body $.request_id"]


def test_ignored_fields_and_parts_of_json_are_not_compared():
    before = side({"time": 1, "items": [{"at": 1}, {"at": 2}], "meta": {"a": 1}}, JSON, ("X-A", "1"))
    after = side({"time": 2, "items": [{"at": 3}, {"at": 4}]}, JSON, ("X-A", "2"))
    assert kinds(before, after, "header:x-a,json:$.time", "json:$.items[*].at", "json:$.meta") == []
    assert kinds(before, after, "header:X-A", "json:$.time", "json:$.items[0].at") == [
        "body $.items[*].at",
        "body $.meta",
    ]


def test_json_is_compared_by_structure():
    assert kinds(side(b'{"a":1,"b":2.0}', JSON), side(b'{ "b": 2, "a": 1 }', JSON)) == []
    before = {"same": 1, "changed": "x", "gone": True, "list": [1, 2], "typed": 1}
    after = {"same": 1, "changed": "y", "list": [1, 2, 3], "typed": True, "new": None}
    assert found(side(before, JSON), side(after, JSON)).differences == [
        Difference("body $.changed", '"x"', '"y"'),
        Difference("body $.gone", "true", "absent"),
        Difference("body $.list", "[1, 2] (2 items)", "[1, 2, 3] (3 items)"),
        Difference("body $.typed", "1", "true"),
        Difference("body $.new", "absent", "null"),
    ]


def test_all_places_of_a_list_are_one_kind():
    before, after = {"rows": [{"p": n} for n in range(500)]}, {"rows": [{"p": n + 1} for n in range(500)]}
    assert set(kinds(side(before, JSON), side(after, JSON))) == {"body $.rows[*].p"}


def test_a_body_that_is_no_json_in_spite_of_its_type_is_compared_by_line():
    assert kinds(side(b"{broken", JSON), side(b"{}", JSON)) == ["body text"]


def test_json_that_is_too_deep_is_compared_by_line():
    deep = b"[" * 100_000
    assert kinds(side(deep, JSON), side(deep + b"]", JSON)) == ["body text"]


def test_text_is_compared_by_line():
    [one] = found(side(b"a\nb\nc", TEXT), side(b"a\nB\nc\nd", TEXT)).differences
    assert one == Difference("body text", "line 2: b", "line 2: B (and 1 further line)")
    assert kinds(side(b"a\r\nb", TEXT), side(b"a\nb", TEXT)) == ["body text"]


def test_other_bodies_are_compared_by_digest():
    media = ("Content-Type", "image/png")
    [one] = found(side(b"\x89PNG", media), side(b"\x89PNX!", media)).differences
    assert one.kind == "body"
    assert one.before.startswith("4 bytes, sha256 ")
    assert one.after.startswith("5 bytes, sha256 ")


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress)]
)
def test_a_compressed_body_that_is_cut_off_or_goes_on_is_not_equal_to_the_whole_one(coding, pack):
    field, whole = ("Content-Encoding", coding), pack(b'{"a": 1}')
    assert kinds(side(whole, JSON, field), side(whole[:-1], JSON, field)) == ["body"]
    assert kinds(side(whole, JSON, field), side(whole + pack(b"more"), JSON, field)) == ["body"]


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress)])
def test_compressed_bodies_are_decoded(coding, pack):
    before = side(pack(b'{"a": 1}'), JSON, ("Content-Encoding", coding))
    assert kinds(before, side(pack(b'{"a":1 }'), JSON, ("Content-Encoding", coding))) == []
    assert kinds(before, side(pack(b'{"a": 2}'), JSON, ("Content-Encoding", coding))) == ["body $.a"]
    assert kinds(before, side(b'{"a": 1}', JSON)) == ["header Content-Encoding"]


def test_a_body_that_is_decoded_already_is_compared_as_it_is():
    before = side(b'{"a": 1}', JSON, ("Content-Encoding", "gzip"))
    after = side(gzip.compress(b'{"a": 1}'), JSON, ("Content-Encoding", "gzip"))
    assert kinds(before, after) == []


def test_a_body_that_cannot_be_decoded_or_is_a_bomb_is_compared_by_digest():
    coding, media = ("Content-Encoding", "gzip"), ("Content-Type", "image/png")
    assert kinds(side(b"no gzip", media, coding), side(b"none", media, coding)) == ["body"]
    bomb = gzip.compress(bytes(65 * 1024 * 1024), 1)
    [one] = found(side(bomb, media, coding), side(bomb + b"!", media, coding)).differences
    assert one.before.startswith(f"{len(bomb)} bytes")


def test_a_body_that_is_not_known_is_not_compared():
    assert found(side(None), side(b"a")).body_skipped == "not recorded"
    assert found(side(None), side(b"a")).differences == []
    assert kinds(side(b"a"), side(b""), is_head=True) == []


def test_a_pseudonym_equals_any_value_and_is_counted():
    before = side({"card": "~0123", "n": "~4567"}, JSON, ("Set-Cookie", "sid=~89ab; Path=/"))
    result = found(before, side({"card": "4111", "n": 7}, JSON, ("Set-Cookie", "sid=secret; Path=/")))
    assert (result.differences, result.hidden) == ([], 3)
    assert kinds(before, side({"card": "4111", "n": 7}, JSON, ("Set-Cookie", "sid=secret; Path=/a"))) == [
        "header Set-Cookie"
    ]
    assert kinds(before, side({"card": "4111", "n": 7}, JSON)) == ["header Set-Cookie"]


def test_two_pseudonyms_are_compared():
    before = side(b"", ("X-A", "~0123"))
    assert found(before, side(b"", ("X-A", "~0123"))).hidden == 0
    assert kinds(before, side(b"", ("X-A", "~4567"))) == ["header X-A"]


def test_many_pseudonyms_are_compared_in_linear_time():
    before = side(b"~0123a" * 2_000 + b"c", TEXT)
    assert kinds(before, side(b"a" * 20_000 + b"b", TEXT)) == ["body text"]


@pytest.mark.parametrize("text", ["$", "time", "$.", "$.a[", "$..a", "$.a b"])
def test_a_path_that_cannot_be_read_is_rejected(text):
    with pytest.raises(ValueError, match="expected a path such as"):
        parse_path(text)


@pytest.mark.parametrize("text", ["Date", "header:", "cookie:a"])
def test_what_is_no_ignored_part_is_rejected(text):
    with pytest.raises(ValueError, match="expected header:NAME or json"):
        Ignored.parse([text])
