import errno
import os
import threading

import gevent
import pytest

from gproxy.observe.access_line import combined, ltsv

from .conftest import exchange, paths, record


def test_a_line_is_the_format_and_a_newline(make, folder):
    entry = exchange()
    log = make()
    log.record(entry)
    log.flush()
    assert (folder / "access.log").read_text() == ltsv(entry) + "\n"


def test_one_write_per_turn_of_the_loop(make, folder, writes):
    entry = exchange()
    log = make()
    greenlets = [gevent.spawn(log.record, entry) for _ in range(50)]
    gevent.joinall(greenlets)
    gevent.idle()
    assert [data.count(b"\n") for data in writes] == [50]
    log.record(entry)
    gevent.idle()
    gevent.idle()
    assert [data.count(b"\n") for data in writes] == [50, 1]


def test_appends_to_an_existing_file(make, folder):
    entry = exchange()
    folder.mkdir()
    (folder / "access.log").write_text("before\n")
    make(daily=False).record(entry)
    gevent.idle()
    assert (folder / "access.log").read_text() == "before\n" + ltsv(entry) + "\n"


def test_text_that_utf8_cannot_encode_is_escaped(make, folder):
    log = make(line=combined)
    log.record(exchange(host="\ud800", user_agent="é\udc80"))
    log.flush()
    assert '"é\\udc80"' in (folder / "access.log").read_text("utf-8")


def test_open_names_the_path_in_its_error(tmp_path, make):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file"):
        make(tmp_path / "file" / "access.log")
    with pytest.raises(OSError, match=str(tmp_path)):
        make(tmp_path)


def test_only_owner_and_group_may_read(make, folder):
    make()
    assert (folder / "access.log").stat().st_mode & 0o137 == 0


def test_standard_output(make, capfd):
    entry = exchange()
    log = make("-")
    log.record(entry)
    log.reopen()
    log.close()
    assert capfd.readouterr().out == ltsv(entry) + "\n"
    os.write(1, b"still open\n")
    assert capfd.readouterr().out == "still open\n"


def test_relative_path_survives_a_change_of_directory(make, tmp_path, monkeypatch):
    entry = exchange()
    monkeypatch.chdir(tmp_path)
    log = make("access.log", size=1)
    monkeypatch.chdir("/")
    log.record(entry)
    log.close()
    assert {path.name for path in tmp_path.iterdir()} == {"access.log", "access.log.2026-11-22"}


def failing(code):
    def write(fd, data):
        raise OSError(code, os.strerror(code))

    return write


def test_a_full_disk_drops_lines_and_is_logged_once(make, errors):
    log = make("/dev/full", size=1)
    for _ in range(3):
        record(log, "/a", "/b")
        gevent.idle()
    assert log.lost == 6
    assert errors() == ["access log /dev/full: losing lines: [Errno 28] No space left on device"]
    log.close()
    assert errors()[1:] == ["access log /dev/full: closed, 6 lines lost"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EPIPE])
def test_recovery_is_logged_with_the_number_of_lost_lines(make, folder, errors, writes, code):
    log = make()
    for behaviour in (failing(code), failing(code), writes.real, writes.real):
        writes.behaviour = behaviour
        record(log, "/a", "/b", "/c")
        log.flush()
    assert paths((folder / "access.log").read_text()) == ["/a", "/b", "/c"] * 2
    assert [message.partition(": ")[2] for message in errors()] == [
        f"losing lines: [Errno {code}] {os.strerror(code)}",
        "writing again, 6 lines lost",
    ]


def test_short_writes_are_completed(make, folder, writes):
    log = make(size=None)
    writes.behaviour = lambda fd, data: writes.real(fd, data[:100])
    record(log, "/a", "/b", "/c")
    log.flush()
    assert paths((folder / "access.log").read_text()) == ["/a", "/b", "/c"]
    assert log.lost == 0


@pytest.mark.parametrize("room", [0, 1, 100, 200, 300, 500, 600])
def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next(make, folder, writes, room):
    log = make()
    left = [room]

    def behaviour(fd, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, "full")
        sent = writes.real(fd, data[: left[0]])
        left[0] -= sent
        return sent

    writes.behaviour = behaviour
    record(log, "/a", "/b", "/c")
    log.flush()
    record(log, "/d")
    log.flush()
    writes.behaviour = writes.real
    record(log, "/e", "/f")
    log.flush()
    lines = [
        line for line in (folder / "access.log").read_text().split("\n") if line.count("\t") == 19 and "user:-" in line
    ]
    assert [line.split("\t")[4] for line in lines[-2:]] == ["path:/e", "path:/f"]
    assert len(lines) + log.lost == 6


def test_a_slow_reader_of_a_pipe_blocks_no_request(make, tmp_path):
    reader, writer = os.pipe()
    log = make(f"/proc/self/fd/{writer}")
    names = [f"/{number}" for number in range(2000)]
    record(log, *names)
    gevent.idle()
    record(log, "/last")
    gevent.idle()
    assert "working, 1 waiting" in repr(log)
    os.close(writer)
    chunks = []
    thread = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(reader, 65536), b"")))
    thread.start()
    log.close()
    thread.join()
    os.close(reader)
    assert paths(b"".join(chunks).decode()) == [*names, "/last"]
