"""The stamp of a file: what it notices."""

import os

import pytest

from gproxy.config.file_stamp import FileStamp


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    return file


def test_a_stamp_differs_once_the_file_is_written_or_replaced(file):
    stamps = [FileStamp.of(file)]
    file.write_text("longer text")
    stamps.append(FileStamp.of(file))
    os.utime(file, ns=(0, stamps[-1].modified + 1))
    stamps.append(FileStamp.of(file))
    other = file.with_name("other")
    other.write_text("longer text")
    os.utime(other, ns=(0, stamps[-1].modified))
    other.rename(file)
    stamps.append(FileStamp.of(file))
    assert len(set(stamps)) == 4
    assert FileStamp.of(str(file)) == stamps[-1]


def test_a_file_that_cannot_be_reached_has_no_stamp(file):
    assert FileStamp.of(file.with_name("missing")) is None
    assert FileStamp.of(file / "below") is None
