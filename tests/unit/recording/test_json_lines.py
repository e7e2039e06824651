"""The file of a recording: what is written is read again, and what is no recording is named with its line."""

import gzip
import json

import pytest

from gproxy.recording.json_lines import RecordError, Recording, exchange_line, header_line
from gproxy.recording.record import (
    RecordedAttempt,
    RecordedBody,
    RecordedExchange,
    RecordedRequest,
    RecordedResponse,
    RecordHeader,
)

HEADER = RecordHeader(1.5, "0.1", "sha256:00", {"route": "users"}, {"keep": [], "pseudonyms": "~[0-9a-f]{16}"})
BODY = RecordedBody.of("grüße".encode())


def exchange():
    request = RecordedRequest("POST", "/users?a=1", [("Host", "a"), ("X-A", "1"), ("X-A", "2")], BODY)
    sent = RecordedRequest("POST", "/users?a=1", [("Host", "b")], BODY, trailers=[("X-T", "1")])
    answered = RecordedResponse(200, [("X-B", "ü")], RecordedBody(b"\xff\x00", 10, truncated=True))
    return RecordedExchange(
        id="1",
        time=1700000000.25,
        duration=0.5,
        client="192.0.2.1",
        scheme="http",
        host="a",
        route="users",
        request=request,
        response=RecordedResponse(200, [("Date", "x")], answered.body),
        attempts=[
            RecordedAttempt("users", "a:1", 0.0, 0.1, error="connect_failed"),
            RecordedAttempt("users", "b:1", 0.1, 0.2, sent, answered, shared=True),
        ],
        user="alice",
        status=200,
        worker=1,
        generation=2,
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_exchanges_are_read_as_written(tmp_path, name):
    path, data = tmp_path / name, header_line(HEADER) + exchange_line(exchange()) * 2
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with Recording(path) as recording:
        assert recording.header == HEADER
        assert recording.header.pseudonyms == "~[0-9a-f]{16}"
        assert list(recording) == [exchange(), exchange()]


def test_a_body_that_passes_unchanged_is_written_once():
    content = json.loads(exchange_line(exchange()))
    assert content["request"]["body"] == {"size": 7, "text": "grüße"}
    assert content["attempts"][1]["request"]["body"] == {"same": True}
    assert content["attempts"][1]["response"]["body"] == {"same": True}
    assert content["response"]["body"] == {"size": 10, "base64": "/wA=", "truncated": True}


def test_an_omitted_body_keeps_its_reason(tmp_path):
    one = exchange()
    one.request.body = RecordedBody(size=9, omitted="no JSON")
    path = tmp_path / "a"
    path.write_bytes(header_line(HEADER) + exchange_line(one))
    with Recording(path) as recording:
        assert next(iter(recording)).request.body == RecordedBody(size=9, omitted="no JSON")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "a:1: no recording"),
        (b'{"log": {}}\n', "a:1: no recording"),
        (b'{"gproxy-record": 2}\n', "a:1: version 2 of the format; this gproxy knows 1"),
        (header_line(HEADER) + b"{}\n", "a:2: no recorded exchange: KeyError"),
        (header_line(HEADER) + exchange_line(exchange())[:-9], "a:2: the last line is cut off"),
        (header_line(HEADER) + b"[]\n", "a:2: expected a JSON object"),
        (gzip.compress(header_line(HEADER), mtime=0)[:-20], "the compressed file is cut off"),
    ],
)
def test_what_is_no_recording_is_named_with_its_line(tmp_path, data, expected):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(RecordError) as caught, Recording(path) as recording:
        list(recording)
    assert expected in str(caught.value)
