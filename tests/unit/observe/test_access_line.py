import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.observe.access_line import FORMATS, combined, json_line, ltsv

from .conftest import LABELS, TEXTS, exchange

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
EXCHANGES = st.fixed_dictionaries(dict.fromkeys(TEXTS, TEXT)).map(lambda texts: exchange(**texts))


def test_ltsv_has_every_field_in_order(zone):
    zone("UTC")
    assert ltsv(exchange(started=1795397881.123)).split("\t") == [
        "time:2026-11-23T01:38:01.123+00:00",
        "id:0f3a9c1b",
        "client:203.0.113.7",
        "method:GET",
        "path:/users/1",
        "protocol:HTTP/1.1",
        "status:200",
        "duration:0.012346",
        "size:1432",
        "reqsize:0",
        "route:users",
        "upstream:users",
        "backend:127.0.0.1:5001",
        "tries:1",
        "reason:-",
        "vhost:api.example.com",
        "referer:-",
        "ua:curl/8",
        "user:-",
        "auth:-",
    ]


@pytest.mark.parametrize(
    ("when", "zone_name", "expected"),
    [
        (1795397881.9996, "UTC", "2026-11-23T01:38:02.000+00:00"),
        (1795397881, "Asia/Kolkata", "2026-11-23T07:08:01.000+05:30"),
        (1795397881, "America/New_York", "2026-11-22T20:38:01.000-05:00"),
    ],
    ids=["rounds up into the next second", "half an hour", "west"],
)
def test_time_is_local_with_offset(zone, when, zone_name, expected):
    zone(zone_name)
    assert ltsv(exchange(started=when)).split("\t")[0] == f"time:{expected}"


def test_control_characters_are_written_as_hex():
    line = ltsv(exchange(target="/a\tstatus:500\r\n\0\x7f"))
    assert line.split("\t")[4] == r"path:/a\x09status:500\x0d\x0a\x00\x7f"


def test_latin1_and_beyond_stay_readable():
    line = ltsv(exchange(user_agent="Grüße \xa0 日本"))
    assert "\tua:Grüße \xa0 日本\t" in line


@given(EXCHANGES)
def test_ltsv_cannot_be_forged(entry):
    line = ltsv(entry)
    labels = [field.partition(":")[0] for field in line.split("\t")]
    assert labels == list(LABELS)
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f]", line)
    assert len(line.splitlines()) == 1
    line.encode("utf-8")


@given(EXCHANGES)
def test_json_cannot_be_forged_and_keeps_every_text(entry):
    line = json_line(entry)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    found = json.loads(line)
    # A pair of surrogates in JSON is the character that it stands for.
    paired = {
        name: getattr(entry, name).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") for name in TEXTS
    }
    labels = {"target": "path", "host": "vhost", "user_agent": "ua"}
    assert {name: found[labels.get(name, name)] for name in TEXTS} == paired


@given(EXCHANGES)
def test_combined_cannot_be_forged(entry):
    line = combined(entry)
    quoted = r'"(?:[^"\\]|\\.)*"'
    shape = rf"\S+ - \S+ \[[^\]]+\] {quoted} 200 1432 {quoted} {quoted}"
    assert re.fullmatch(shape, line)
    assert len(line.splitlines()) == 1
    line.encode("utf-8")


def test_json_has_real_types(zone):
    zone("UTC")
    found = json.loads(json_line(exchange(started=1795397881.123)))
    assert list(found) == list(LABELS)
    assert found["time"] == "2026-11-23T01:38:01.123+00:00"
    assert (found["status"], found["duration"], found["tries"], found["reason"]) == (200, 0.012346, 1, "")


def test_combined_is_the_format_of_apache(zone):
    zone("America/Los_Angeles")
    entry = exchange(started=971211336, user="frank", user_agent='a "quoted\\ one"', referer="http://x/")
    assert combined(entry) == (
        '203.0.113.7 - frank [10/Oct/2000:13:55:36 -0700] "GET /users/1 HTTP/1.1" 200 1432 "http://x/" "a \\"quoted\\\\ one\\""'
    )


def test_combined_of_a_request_that_could_not_be_read():
    entry = exchange(method="", target="", protocol="", status=400, bytes_sent=0, user_agent="", client="")
    assert re.fullmatch(r'- - - \[[^]]+\] "-" 400 0 "-" "-"', combined(entry))


def test_the_table_has_three_formats():
    assert {"ltsv": ltsv, "json": json_line, "combined": combined} == FORMATS
