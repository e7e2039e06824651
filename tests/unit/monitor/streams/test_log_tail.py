"""The ends of logs: as many entries as a client asks for."""

import pytest

from gproxy.monitor.streams import log_tail
from gproxy.monitor.streams.log_tail import ErrorRecords, file_end, follow_file


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_client_gets_the_last_entries_and_no_more(tmp_path, monkeypatch, count):
    monkeypatch.setattr(log_tail, "_SILENCE", 0.0)
    lines, records = ["a", "b", "c"], ErrorRecords()
    file = tmp_path / "access.log"
    file.write_text("a\nb\nc\n")
    for line in lines:
        records.take_own({"message": line})
    last = lines[max(0, 3 - count) :]
    assert [record["message"] for record in records.last(count)] == last
    assert [record["line"] for record in file_end(file, count)] == last
    following = follow_file(file, count)
    assert [next(following) for _ in last] == [{"line": line} for line in last]
    assert next(following) is None
