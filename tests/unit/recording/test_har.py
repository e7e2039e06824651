"""HTTP Archive: what is written is read again, with all that HAR does not know; archives of other tools are read, too."""

import base64
import gzip
import json

import pytest

from gproxy.recording.har import Archive, archive_beginning, archive_end, archive_entry, open_recording
from gproxy.recording.json_lines import RecordError, Recording, exchange_line, header_line
from unit.recording.test_json_lines import HEADER, exchange


def archive(*exchanges):
    entries = [archive_entry(one, is_first=not place) for place, one in enumerate(exchanges)]
    return b"".join([archive_beginning(HEADER), *entries, archive_end()])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_exchanges_are_read_as_written(tmp_path, pack):
    (tmp_path / "a.har").write_bytes(pack(archive(exchange(), exchange())))
    with open_recording(tmp_path / "a.har") as found:
        assert isinstance(found, Archive)
        assert found.header == HEADER
        assert list(found) == [exchange(), exchange()]


def test_an_archive_without_exchanges_is_valid():
    assert json.loads(archive())["log"]["entries"] == []


def test_an_entry_has_the_fields_of_har():
    (entry,) = json.loads(archive(exchange()))["log"]["entries"]
    assert entry["startedDateTime"] == "2023-11-14T22:13:20.250000+00:00"
    assert entry["request"]["url"] == "http://a/users?a=1"
    assert entry["request"]["queryString"] == [{"name": "a", "value": "1"}]
    assert entry["request"]["postData"]["text"] == "grüße"
    assert entry["response"]["statusText"] == "OK"
    assert entry["response"]["content"]["encoding"] == "base64"
    assert sum(entry["timings"].values()) == pytest.approx(entry["time"])


def browser_archive(**request):
    asked = {
        "method": "POST",
        "url": "https://u@shop.test:8443/cart?x=1#top",
        "headers": [{"name": ":authority", "value": "shop.test"}, {"name": "Accept", "value": "*/*"}],
        "postData": {"mimeType": "text/plain", "text": "a"},
        **request,
    }
    content = {
        "size": 3,
        "mimeType": "image/png",
        "text": base64.b64encode(b"\x00\xff1").decode(),
        "encoding": "base64",
    }
    answered = {"status": 200, "headers": [{"name": "Server", "value": "x"}], "content": content}
    entry = {"startedDateTime": "2026-11-29T10:00:00.5Z", "time": 250, "request": asked, "response": answered}
    return {"log": {"version": "1.2", "creator": {"name": "Firefox"}, "entries": [entry]}}


def test_an_archive_of_a_browser_is_read(tmp_path):
    (tmp_path / "a.har").write_text(json.dumps(browser_archive(), indent=2))
    with open_recording(tmp_path / "a.har") as found:
        (one,) = found
    assert (one.request.method, one.request.target, one.scheme, one.host) == (
        "POST",
        "/cart?x=1",
        "https",
        "shop.test:8443",
    )
    assert one.request.headers == [("Host", "shop.test:8443"), ("Accept", "*/*")]
    assert one.request.body.data == b"a"
    assert (one.response.status, one.response.body.data, one.duration) == (200, b"\x00\xff1", 0.25)


def test_recordings_are_found_by_their_first_line(tmp_path):
    (tmp_path / "a").write_bytes(header_line(HEADER) + exchange_line(exchange()))
    with open_recording(tmp_path / "a") as found:
        assert isinstance(found, Recording)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no recording"),
        (b"{}", "no recording"),
        (b"\x1f\x8b\x00", "cut off or damaged"),
        (b"x\n" * 10_000, "no JSON"),
        (b'{"log": {"entries": 1', "no HTTP Archive"),
        (b'{"log": {}}', "no HTTP Archive"),
        (json.dumps(browser_archive(url=None)).encode(), "entry 1: "),
    ],
)
def test_what_is_neither_is_an_error(tmp_path, content, expected):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RecordError, match=expected), open_recording(tmp_path / "a") as found:
        list(found)
