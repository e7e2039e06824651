"""Stories of http2jp/hpack-test-case: what nine encoders wrote for the same fields, one decoder for each story."""

import json

import pytest

from gproxy.http.field_names import FieldNames
from gproxy.http.h2.hpack_decoder import HPACKDecoder
from unit.vectors import FILES, stories

CASES = {f"{path.parent.name}/{path.stem}": json.loads(path.read_text())["cases"] for path in stories()}
#: The decoder of this encoder announces a larger table.
LARGEST_TABLE = 16384


@pytest.mark.parametrize("name", CASES)
def test_story(name):
    decoder = HPACKDecoder(FieldNames(lambda key, plain: 0), 1 << 20, 1000, LARGEST_TABLE)
    for case in CASES[name]:
        decoded = decoder.decode(bytes.fromhex(case["wire"]))
        assert [{field.name: field.value} for field in decoded.fields] == case["headers"], case["seqno"]
        assert not any(field.is_bad for field in decoded.fields)


def test_all_stories_are_here():
    assert sum(len(cases) for cases in CASES.values()) == FILES["hpack"]
