"""Following a log: each line comes once, whatever rotates the file."""

import fcntl
import gzip
import os

import pytest

from gproxy.observe.access_files.follow import Follower, first_line
from gproxy.observe.access_files.log_files import opened_files


class Followed:
    """A log that grows, and what its follower gives."""

    def __init__(self, folder):
        self.path = folder / "access.log"
        self.now = 0.0
        self.number = 0
        self.expected = []
        self.found = []
        self.add(3)
        self.expected.clear()
        files = opened_files(self.path)
        for file in files:
            file.end_with_a_line()
        self.follower = Follower(self.path, files, [first_line(file.head) for file in files], lambda: self.now)

    def add(self, count, path=None):
        path = path or self.path
        new = [f"time:line {self.number + number}\n".encode() for number in range(count)]
        self.number += count
        self.expected += new
        with path.open("ab") as file:
            file.write(b"".join(new))

    def rotate(self, name):
        self.path.rename(self.path.with_name(name))
        return self.path.with_name(name)

    def pack(self, path):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    def poll(self, seconds=0.1):
        self.now += seconds
        found = b"".join(self.follower.poll()).splitlines(keepends=True)
        self.found += found
        return found

    def check(self):
        self.poll()
        assert sorted(self.found) == sorted(self.expected)
        assert self.poll() == []


@pytest.fixture
def log(tmp_path):
    followed = Followed(tmp_path)
    yield followed
    followed.follower.close()


def test_new_lines_come_once_and_whole(log):
    assert log.poll() == []
    log.add(2)
    assert log.poll() == log.expected
    with log.path.open("ab") as file:
        file.write(b"time:half")
    assert log.poll() == []
    with log.path.open("ab") as file:
        file.write(b" a line\n")
    assert log.poll() == [b"time:half a line\n"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(log):
    log.add(2)
    old = log.rotate("anything")
    log.add(2, old)  # by a worker that has not noticed
    assert log.poll() == log.expected  # without a new file
    log.add(2)
    log.add(2, old)
    log.check()
    log.add(2, old)  # where files have no locks
    log.check()


def test_a_worker_may_write_to_a_rotated_file_as_long_as_it_has_its_lock(log):
    old = log.rotate("access.log.1")
    log.add(1)
    with old.open("ab") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        for _ in range(5):
            log.poll(10.0)
        log.add(1, old)
        log.check()
    log.poll(10.0)
    log.add(1, old)  # no worker does
    log.expected.pop()
    log.check()


@pytest.mark.parametrize("is_packed", [False, True])
def test_files_that_are_rotated_between_two_looks_are_read(log, is_packed):
    for number in range(1, 4):
        log.add(2)
        old = log.rotate(f"access.log.2026-11-28.{number}")
        if is_packed:
            log.pack(old)
    log.add(2)
    log.check()
    assert log.found == log.expected
    for number in range(1, 4):  # the packing of a file that was read makes no new one
        if not is_packed:
            log.pack(log.path.with_name(f"access.log.2026-11-28.{number}"))
    log.check()


def test_a_rotated_file_that_appears_late_in_the_folder_is_read(log):
    log.add(1)
    log.rotate("access.log.1")
    log.add(1)
    log.poll()
    log.add(2, log.path.with_name("access.log.2"))  # as a list of names misses one that is just renamed
    log.check()


@pytest.mark.parametrize("name", ["access.log.1", "access.log-20261128", "access.log.1.gz"])
def test_a_copy_before_a_truncation_has_the_lines_that_were_not_read(log, name):
    log.add(3)
    log.poll()
    log.add(3)
    data = log.path.read_bytes()
    log.path.with_name(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    os.truncate(log.path, 0)
    log.add(2)
    log.check()
    log.add(2)
    log.check()


def test_several_truncations_between_two_looks(log):
    for number in range(3):
        log.add(2)
        log.path.with_name(f"access.log.{3 - number}").write_bytes(log.path.read_bytes())
        os.truncate(log.path, 0)
    log.poll()
    log.add(2)
    log.path.with_name("access.log.0").write_bytes(log.path.read_bytes())
    log.check()


def test_lines_that_were_read_after_the_copy_do_not_come_twice(log):
    log.add(3)
    log.path.with_name("access.log.1").write_bytes(log.path.read_bytes())
    log.add(3)
    log.poll()
    os.truncate(log.path, 0)
    log.add(2)
    log.check()


def test_a_truncation_is_noticed_if_the_file_is_longer_again(log):
    log.add(1)
    log.poll()
    os.truncate(log.path, 0)
    log.add(100)
    log.check()


def test_a_truncated_file_may_be_renamed_later(log):
    log.add(2)
    log.poll()
    log.path.with_name("access.log.1").write_bytes(log.path.read_bytes())
    os.truncate(log.path, 0)
    log.add(2)
    log.poll()
    log.rotate("access.log.2")
    log.add(2)
    log.check()


def test_rotated_files_are_closed_in_the_end(log):
    for number in range(20):
        log.add(1)
        log.rotate(f"access.log.2026-11-28.{number + 1}")
        log.add(1)
        log.poll(1.0)
    log.poll(10.0)
    log.check()
    assert len(log.follower._rotated) == 0
