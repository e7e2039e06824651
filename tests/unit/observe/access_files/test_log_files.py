"""Which files belong to a log, in which order, and which parts of them are read."""

import gzip
import os

import pytest

from gproxy.observe.access_files import log_files
from gproxy.observe.access_files.log_files import found_files, opened_files, within

from .exchanges import NOON, random_exchanges, written

HOUR = 3600.0


def test_names_of_rotated_files(tmp_path):
    own = ["access.log", "access.log.2026-11-28", "access.log.2026-11-28.12.gz"]
    logrotate = ["access.log.1", "access.log.2.gz", "access.log-20261128", "access.log-20261128.gz"]
    others = [
        "access.log.2026-11-28.gz.part",
        "access.log.bak",
        "xaccess.log",
        "access.logs",
        "error.log",
        "access.log~",
    ]
    for name in (*own, *logrotate, *others):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "access.log.2026-11-28.12").write_text("being packed\n")
    found = {path.name for path in found_files(tmp_path / "access.log")}
    assert found == {"access.log.2026-11-28.12", *own[:2], *logrotate[:2], "access.log-20261128"}


@pytest.fixture
def files(tmp_path, utc):
    """Five files of an hour each; the third is packed, the last one is that of today."""
    names = [
        "access.log.3",
        "access.log.2026-11-28",
        "access.log.2026-11-28.1.gz",
        "access.log.2026-11-28.2",
        "access.log",
    ]
    for number, name in enumerate(names):
        data = written(random_exchanges(500, number, NOON + number * HOUR))
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        os.utime(path, (1, 1))
    opened = opened_files(tmp_path / "access.log")
    yield opened
    for file in opened:
        file.close()


def names(files):
    return [file.path.name.removeprefix("access.log") for file in files]


def test_files_are_in_order_of_time_whatever_their_names(files):
    assert names(files) == [".3", ".2026-11-28", ".2026-11-28.1.gz", ".2026-11-28.2", ""]


def test_files_outside_of_a_period_are_skipped_by_their_first_lines(files):
    assert names(within(files, NOON + 2.5 * HOUR, NOON + 2.6 * HOUR)) == [".2026-11-28.1.gz", ".2026-11-28.2"]
    assert names(file for file in files if not file.file.closed) == [".2026-11-28.1.gz", ".2026-11-28.2"]


def test_a_request_that_ends_within_an_hour_after_the_period_is_found(files):
    until = NOON + HOUR
    assert names(within(files, NOON - HOUR, until)) == [".3", ".2026-11-28", ".2026-11-28.1.gz"]


def test_a_search_by_time_reads_little_of_a_plain_file(tmp_path, utc, monkeypatch):
    monkeypatch.setattr(log_files, "_PROBE", 4 * 1024)
    monkeypatch.setattr(log_files, "_CLEAN", 16 * 1024)
    monkeypatch.setattr(log_files, "_BLOCK", 4 * 1024)
    data = written(random_exchanges(20_000, seconds=24 * HOUR))
    (tmp_path / "access.log").write_bytes(data)
    (file,) = opened_files(tmp_path / "access.log")
    read = b"".join(file.blocks(since=NOON + 23 * HOUR))
    assert data.endswith(read)
    assert len(data) / 24 <= len(read) < len(data) / 20
    read = b"".join(file.blocks(until=NOON + HOUR))
    assert data.startswith(read)
    assert len(data) / 12 <= len(read) < len(data) / 10
    file.close()


def test_a_file_that_is_packed_meanwhile_is_there_once(tmp_path, monkeypatch):
    """The rename and the packing of a rotation may happen while the files are opened."""
    path = tmp_path / "access.log"
    path.write_bytes(written(random_exchanges(5)))
    find = log_files.found_files

    def finding(path):
        monkeypatch.setattr(log_files, "found_files", find)
        (tmp_path / "access.log.2026-11-28.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        path.write_bytes(written(random_exchanges(5, 2)))
        return find(path)

    monkeypatch.setattr(log_files, "found_files", finding)
    opened = opened_files(path)
    assert names(opened) == [".2026-11-28.gz", ""]
    assert sum(len(block.splitlines()) for file in opened for block in file.blocks()) == 10
    for file in opened:
        file.close()
