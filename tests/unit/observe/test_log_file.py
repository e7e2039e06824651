"""The log file while other programs move, truncate or remove it."""

import gzip
import os

import gevent
import pytest

from gproxy.observe.log_file import LogFile

from .conftest import Gate, paths, record


def test_reopen_after_a_rename(make, folder):
    log = make()
    record(log, "/1")
    log.flush()
    (folder / "access.log").rename(folder / "moved")
    log.reopen()
    record(log, "/2")
    log.flush()
    assert paths((folder / "moved").read_text()) == ["/1"]
    assert paths((folder / "access.log").read_text()) == ["/2"]


def test_reopen_during_a_rotation(make, folder, monkeypatch):
    log = make(size=1)
    gate = Gate(log._file.rotate)
    monkeypatch.setattr(log._file, "rotate", gate)
    record(log, "/1")
    gevent.idle()
    log._file._limit = None
    log.reopen()
    record(log, "/2")
    gate.opened.set()
    log.join()
    assert paths((folder / "access.log").read_text()) == ["/2"]


def test_a_reopening_after_a_rotation_does_not_wait_for_the_next_check(make, folder, monkeypatch):
    log = make(size=1)
    rotate = log._file.rotate

    def rotated_and_moved():
        error = rotate()
        (folder / "access.log").rename(folder / "moved")
        return error

    gate = Gate(rotated_and_moved)
    monkeypatch.setattr(log._file, "rotate", gate)
    record(log, "/1")
    gevent.idle()
    log._file._limit = None
    log.reopen()
    gate.opened.set()
    log.join()
    record(log, "/2")
    log.flush()
    assert paths((folder / "access.log").read_text()) == ["/2"]


@pytest.mark.parametrize("away", ["unlink", "rename"])
def test_a_removed_file_is_noticed(make, folder, clock, away):
    log = make()
    record(log, "/1")
    log.flush()
    path = folder / "access.log"
    path.unlink() if away == "unlink" else path.rename(folder / "moved")
    record(log, "/2")
    log.flush()
    assert not path.exists()
    clock.now += 1
    record(log, "/3")
    log.flush()
    assert paths(path.read_text()) == ["/3"]


def test_a_removed_directory_is_created_again(make, folder, clock):
    log = make()
    (folder / "access.log").unlink()
    folder.rmdir()
    clock.now += 1
    record(log, "/1")
    log.flush()
    assert paths((folder / "access.log").read_text()) == ["/1"]


def test_a_failed_reopening_is_logged_once(make, folder, clock, errors):
    log = make()
    (folder / "access.log").rename(folder / "moved")
    (folder / "access.log").mkdir()
    for name in ("/1", "/2"):
        clock.now += 2
        record(log, name)
        log.flush()
    log.reopen()
    assert [message.partition(": ")[2].partition(":")[0] for message in errors()] == ["reopening failed"]
    assert paths((folder / "moved").read_text()) == ["/1", "/2"]


def test_a_copied_and_truncated_file_counts_anew(make, folder, clock):
    log = make(size=500)
    record(log, "/1")
    log.flush()
    os.truncate(folder / "access.log", 0)
    clock.now += 1
    record(log, "/2")
    log.flush()
    log.join()
    assert [path.name for path in folder.iterdir()] == ["access.log"]


def test_the_name_is_checked_once_a_second_not_per_line(make, clock, monkeypatch):
    log = make()
    looks = []
    real = log._file._stat
    monkeypatch.setattr(log._file, "_stat", lambda: looks.append(clock.now) or real())
    for _ in range(30):
        clock.now += 0.25
        record(log, "/")
        log.flush()
    assert len(looks) == 8


@pytest.fixture
def file(tmp_path, clock):
    file = LogFile(str(tmp_path / "access.log"), daily=True, size=1, keep=1, compress=False, clock=clock)
    file.open()
    yield file
    file.close()


def test_a_device_is_never_renamed(clock):
    file = LogFile("/dev/null", daily=True, size=1, keep=0, compress=False, clock=clock)
    file.open()
    assert file.append(b"line\n") is None
    clock.now += 86400
    assert not file.is_due()
    file.close()


def test_the_second_worker_only_opens_the_new_file(tmp_path, file, clock):
    second = LogFile(str(tmp_path / "access.log"), daily=True, size=1, keep=1, compress=False, clock=clock)
    second.open()
    file.append(b"one\n")
    second.append(b"two\n")
    assert file.rotate() is None
    file.append(b"new\n")
    assert second.rotate() is None
    second.append(b"newer\n")
    second.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "access.log": "new\nnewer\n",
        "access.log.2026-11-22": "one\ntwo\n",
    }


def test_a_renamed_file_stays_in_use_until_the_name_is_checked(tmp_path, file, clock, monkeypatch):
    file.append(b"1\n")
    opened = file._opened
    monkeypatch.setattr(file, "_opened", lambda: os.open(tmp_path, os.O_WRONLY))
    assert isinstance(file.rotate(), OSError)
    assert file.append(b"2\n") is None
    monkeypatch.setattr(file, "_opened", opened)
    assert file.is_stale()
    assert file.reopen() is None
    file.append(b"3\n")
    assert (tmp_path / "access.log.2026-11-22").read_text() == "1\n2\n"
    assert (tmp_path / "access.log").read_text() == "3\n"


def test_a_rotated_file_is_compressed_once_all_workers_have_closed_it(tmp_path, clock):
    one, other = (
        LogFile(str(tmp_path / "access.log"), daily=True, size=1, keep=1, compress=True, clock=clock) for _ in range(2)
    )
    one.open()
    other.open()
    one.append(b"one\n")
    assert one.rotate() is None
    assert one.compress() is False
    other.append(b"two\n")
    clock.now += 1
    assert other.is_stale()
    assert other.reopen() is None
    assert one.compress() is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "access.log.2026-11-22.gz"]
    assert gzip.decompress((tmp_path / "access.log.2026-11-22.gz").read_bytes()) == b"one\ntwo\n"
    one.append(b"three\n")
    assert one.rotate() is None  # which leaves the second only
    assert other.compress() is False
    other.close()
    assert one.compress() is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "access.log.2026-11-22.1.gz"]
    one.close()


def test_lines_of_other_workers_count_at_once(tmp_path, clock):
    one, other = (
        LogFile(str(tmp_path / "access.log"), daily=False, size=20, keep=1, compress=False, clock=clock)
        for _ in range(2)
    )
    one.open()
    other.open()
    one.append(b"x" * 17 + b"\n")
    assert not one.is_due()
    other.append(b"y\n")
    assert other.is_due()
    one.close()
    other.close()


def test_a_compression_that_fails_is_returned(tmp_path, clock):
    log = LogFile(str(tmp_path / "access.log"), daily=True, size=1, keep=1, compress=True, clock=clock)
    log.open()
    log.append(b"x\n")
    log.rotate()
    (tmp_path / "access.log.2026-11-22.gz.part").mkdir()
    assert isinstance(log.compress(), IsADirectoryError)
    log.close()
