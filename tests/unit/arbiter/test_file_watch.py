"""Changed files: what a stamp notices, and which files a watch reports."""

import os

import pytest

from gproxy.arbiter.file_watch import FileStamp, FileWatch


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


def test_a_watch_reports_changed_new_and_removed_files_once(tmp_path):
    settings, beside, reported = tmp_path / "g.ini", tmp_path / "mine.py", tmp_path / "else" / "other.py"
    reported.parent.mkdir()
    for path in (settings, beside, reported):
        path.write_text("")
    watch = FileWatch(str(settings))
    files = [str(reported)]
    assert watch.changed(files) == []  # a file that is reported for the first time has not changed
    for path in (settings, reported):
        path.write_text("changed")
    beside.unlink()
    new = tmp_path / "new.py"
    new.write_text("")
    assert watch.changed(files) == sorted(map(str, (settings, beside, reported, new)))
    assert watch.changed(files) == []


def test_a_watch_reports_new_matches_of_a_pattern_but_not_those_that_a_generation_has_read(tmp_path):
    settings, folder = tmp_path / "g.ini", tmp_path / "conf.d"
    folder.mkdir()
    settings.write_text("")
    read, new = folder / "a.ini", folder / "b.ini"
    read.write_text("")
    patterns = [str(folder / "*.ini")]
    watch = FileWatch(str(settings))
    watch.adopt({str(read): FileStamp.of(read), str(folder / "missing.ini"): None})
    assert watch.changed((), patterns) == []
    new.write_text("")
    assert watch.changed((), patterns) == [str(new)]
    stamp = FileStamp.of(read)
    read.write_text("changed")
    watch.adopt({str(read): stamp})  # read by a generation, and changed before the first look
    new.unlink()
    assert watch.changed((), patterns) == [str(read), str(new)]
    assert watch.changed((), patterns) == []
