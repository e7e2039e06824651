"""A watched file: when a change is taken, and what a bad file does."""

import os

import pytest

from gproxy.config.file_stamp import FileStamp
from gproxy.identity.watched_file import WatchedFile, place
from gproxy.runtime import Runtime


class Watched:
    """A watched file of one number, with the contents that were applied; `look` is one look of its greenlet."""

    def __init__(self, path):
        self.path = path
        self.runtime = Runtime()
        self.applied = []
        self.written = 0
        self.write("1")
        self.file = WatchedFile("keys", path, number, self.applied.append)

    def write(self, text):
        self.written += 1
        self.path.write_text(text)
        os.utime(self.path, ns=(0, self.written))  # each write has a stamp of its own, however coarse the clock is

    def look(self):
        self.file.look(self.runtime, "handler:api_key")
        return self.file.content


def number(path, data):
    lines = data.decode().split()
    if wrong := [place(path, at, "expected a number") for at, line in enumerate(lines, 1) if not line.isdigit()]:
        raise ValueError("\n".join(wrong))
    return int(lines[0])


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path / "keys.ini")


def test_a_change_is_taken_once_two_looks_agree(watched):
    assert watched.look() == watched.look() == 1
    watched.write("2")
    assert watched.look() == 1
    assert watched.look() == 2
    assert watched.look() == 2
    assert watched.applied == [2]


def test_a_file_that_still_changes_is_not_taken(watched):
    for text in "234":
        watched.write(text)
        assert watched.look() == 1
    assert watched.look() == 4
    assert watched.applied == [4]


def test_a_change_while_the_file_is_read_is_taken_later(tmp_path):
    path = tmp_path / "keys.ini"
    stamps = [FileStamp(1, 1, 1), *[FileStamp(2, 1, 1)] * 2, *[FileStamp(3, 1, 1)] * 2]
    texts = iter(["1", "2", "3"])
    path.write_text("")
    file = WatchedFile("keys", path, lambda _path, _data: next(texts), stamp=lambda _: stamps.pop(0))
    for expected in "1223":
        file.look(Runtime(), "handler:api_key")
        assert file.content == expected


def test_a_bad_file_leaves_the_content_in_force_with_one_line(watched, caplog):
    watched.write("x\n5\ny")
    assert {watched.look() for _ in range(5)} == {1}
    line = "[handler:api_key] keys: {0}:1: expected a number; {0}:3: expected a number; keeping the previous content"
    assert [record.getMessage() for record in caplog.records] == [line.format(watched.path)]
    watched.write("6")
    watched.look()
    assert watched.look() == 6
    assert watched.applied == [6]


def test_a_removed_file_leaves_the_content_in_force_with_one_line(watched, caplog):
    watched.path.unlink()
    assert {watched.look() for _ in range(5)} == {1}
    line = "[handler:api_key] keys: {} cannot be read: no such file or directory; keeping the previous content"
    assert [record.getMessage() for record in caplog.records] == [line.format(watched.path)]
    watched.write("1")
    watched.look()
    assert watched.look() == 1
    assert watched.applied == [1]


def test_content_for_which_the_reader_fails_does_not_end_the_watch(watched, caplog):
    watched.write("")  # `number` has no first line to read
    assert [watched.look() for _ in range(2)] == [1, 1]
    assert "keys.ini cannot be read: IndexError; keeping the previous content" in caplog.text
    watched.write("5")
    assert [watched.look() for _ in range(2)] == [1, 5]


def test_a_failure_while_content_is_applied_does_not_end_the_watch(watched, monkeypatch, caplog):
    class Closed(BaseException):
        pass

    def apply(content):
        if content == 2:
            raise RuntimeError("broken")
        raise Closed

    stamps = iter([FileStamp(at, 1, 1) for at in (1, 2, 2, 3, 3)])
    texts = iter("2233")
    monkeypatch.setattr("gproxy.identity.watched_file.gevent.sleep", lambda _: watched.write(next(texts)))
    file = WatchedFile("keys", watched.path, number, apply, stamp=lambda _: next(stamps))
    watched.runtime.spawn = lambda function, *args: function(*args)
    with pytest.raises(Closed):
        file.open(watched.runtime, "handler:api_key")
    assert file.content == 3
    assert f"[handler:api_key] keys: {watched.path} cannot be taken" in caplog.text


def test_a_bad_file_at_the_start_is_an_error_with_each_line(tmp_path):
    path = tmp_path / "keys.ini"
    path.write_text("x\ny")
    with pytest.raises(ValueError, match="number") as error:
        WatchedFile("keys", path, number)
    assert str(error.value).splitlines() == [f"keys: {path}:{line}: expected a number" for line in (1, 2)]
    with pytest.raises(ValueError, match=r"^keys: .*/missing cannot be read: no such file or directory$"):
        WatchedFile("keys", tmp_path / "missing", number)


def test_an_open_file_is_looked_at_about_once_a_second_until_it_is_closed(watched, monkeypatch):
    pauses = []
    closed = RuntimeError("closed")

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 100:
            raise closed

    monkeypatch.setattr("gproxy.identity.watched_file.gevent.sleep", sleep)
    watched.runtime.spawn = lambda function, *args: function(*args)
    with pytest.raises(RuntimeError, match="closed"):
        watched.file.open(watched.runtime, "handler:api_key")
    assert 0.8 <= min(pauses) < 0.85 < 0.95 < max(pauses) <= 1.0
