"""The ends of logs: as many entries as a client asks for."""

import json

import pytest

from gproxy.monitor.processes.worker_lines import WorkerLines, WorkerRef
from gproxy.monitor.streams import log_tail
from gproxy.monitor.streams.log_tail import ErrorRecords, LogTails, file_end, follow_file


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
    assert next(following) is None
    assert [next(following) for _ in last] == [{"line": line} for line in last]
    assert next(following) is None


def lines_of_a_file(logs, path):
    path.write_text("before\n")

    def add(text):
        with path.open("a") as file:
            file.write(f"{text}\n")

    return follow_file(path, 0), add, "line"


def records_of_errors(logs, path):
    return logs.errors.follow(0), lambda text: logs.errors.take_own({"message": text}), "message"


def lines_of_workers(logs, path):
    worker = WorkerRef(1, 1, 1)
    return logs.tap.follow(), lambda text: logs.tap.take(worker, 0.0, {"omitted": 0, "line": text}), "line"


@pytest.mark.parametrize("source", [lines_of_a_file, records_of_errors, lines_of_workers])
def test_what_comes_before_the_client_reads_is_not_missing(tmp_path, source):
    logs = LogTails(WorkerLines(lambda *_: None))
    records, add, key = source(logs, tmp_path / "access.log")
    stream = logs.stream(records)  # the head is sent after this
    add("meanwhile")
    assert next(stream) == b":\n\n"
    assert json.loads(next(stream).removeprefix(b"data: "))[key] == "meanwhile"
    del stream
    if logs.tap._asking is not None:
        logs.tap._asking.kill()
