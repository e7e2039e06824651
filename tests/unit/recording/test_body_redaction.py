"""The redaction of bodies: forms always, JSON by rules, and bodies that cannot be searched are omitted."""

import gzip
import json

import pytest

from gproxy.recording.body_redaction import BodyRedaction
from gproxy.recording.pseudonyms import Pseudonyms
from gproxy.recording.record import RecordedBody

KEY = b"k" * 32
pseudonym = Pseudonyms(KEY).of
JSON = [("Content-Type", "application/json")]
FORM = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]


def redacted(body, headers=JSON, rules=("json:$.card",)):
    body = body if isinstance(body, RecordedBody) else RecordedBody.of(body)
    return BodyRedaction(Pseudonyms(KEY), rules, str.upper).apply(body, headers)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("$.card", {"card": "1", "a": 2}, {"card": "?1", "a": 2}),
        ("$.card", [{"card": "1"}, {"card": None}, 3], [{"card": "?1"}, {"card": None}, 3]),
        ("$.a.card", {"a": [{"card": 1}], "card": 2}, {"a": [{"card": "?1"}], "card": 2}),
        ("$.a", {"a": {"y": 1, "x": [2]}}, {"a": '?{"x": [2], "y": 1}'}),
        ("$..card", {"a": {"card": {"card": "1"}}, "b": [[{"card": "2"}]]}, None),
        ("$.a[*]", {"a": ["1", "2"]}, {"a": ["?1", "?2"]}),
        ("$.a[1]", {"a": ["1", "2"]}, {"a": ["1", "?2"]}),
        ("$.*.b", {"a": {"b": "1"}, "c": {"b": "2"}}, {"a": {"b": "?1"}, "c": {"b": "?2"}}),
        ("$['a b'].c", {"a b": {"c": "1"}}, {"a b": {"c": "?1"}}),
        ("$.card", {"a": "1"}, {"a": "1"}),
    ],
)
def test_parts_of_json(rule, value, expected):
    found = json.loads(redacted(json.dumps(value).encode(), rules=[f"json:{rule}"]).data)
    if expected is None:
        assert "card" in found["a"]
        assert '"1"' not in json.dumps(found)
        assert found["b"] == [[{"card": pseudonym("2")}]]
    else:
        assert found == _filled(expected)


def _filled(value):
    """The value, with a pseudonym for each text that begins with a question mark."""
    if isinstance(value, dict):
        return {name: _filled(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one) for one in value]
    return pseudonym(value[1:]) if isinstance(value, str) and value.startswith("?") else value


def test_a_name_that_occurs_twice_does_not_hide_a_value():
    assert b"secret" not in redacted(b'{"card": "secret", "card": 2}').data


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (RecordedBody(b'{"card": "1"', 20, truncated=True), JSON),
        (b'{"card": ', JSON),
        (b"<card>1</card>", [("Content-Type", "text/xml")]),
        (b"[" * 100_000, JSON),
        (b"\x1b\x00", [*JSON, ("Content-Encoding", "br")]),
        (gzip.compress(b'{"card": "1"}', mtime=0)[:-9], [*JSON, ("Content-Encoding", "gzip")]),
        (gzip.compress(b" " * 20_000_000, mtime=0), [*JSON, ("Content-Encoding", "gzip")]),
        (b'{"card": "1"}', [*JSON, ("Content-Encoding", "gzip")]),
        (gzip.compress(b"[" + b"[]," * 100_000 + b"1]", mtime=0), [*JSON, ("Content-Encoding", "gzip")]),
        (gzip.compress(b"&a" * 200_000, mtime=0), [*FORM, ("Content-Encoding", "gzip")]),
    ],
)
def test_a_body_that_cannot_be_searched_is_omitted(body, headers):
    found = redacted(body, headers)
    assert (found.data, found.truncated) == (b"", True)
    assert found.omitted
    assert found.size


def test_gzip_is_searched_and_stays_gzip():
    found = redacted(gzip.compress(b'{"card":"1"}'), [*JSON, ("Content-Encoding", "gzip")])
    assert json.loads(gzip.decompress(found.data)) == {"card": pseudonym("1")}


def test_a_form_is_always_hidden():
    assert redacted(b"a=b", FORM, rules=()).data == b"A=B"
    assert redacted(RecordedBody(b"a=b", 9, truncated=True), FORM).data == b"A=B"
    assert redacted(b"a=b", [*FORM, ("Content-Encoding", "br")], rules=()).omitted


def test_other_bodies_stay_without_a_rule():
    for data in (b"", b"\xff", b'{"card": 1}'):
        assert redacted(data, rules=()).data == data
    assert redacted(b"").omitted == ""


def test_a_form_in_several_parts_is_omitted_without_a_rule():
    found = redacted(b"--b\r\n\r\nsecret\r\n--b--", [("Content-Type", "Multipart/Form-Data; boundary=b")], rules=())
    assert (found.data, found.size, found.truncated) == (b"", 20, True)
    assert found.omitted
