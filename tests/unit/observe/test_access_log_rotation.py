import errno
import os
import time

import gevent

from gproxy.observe import access_log as accesslog
from gproxy.observe import buffered_log
from gproxy.observe.rotation import day

from .conftest import Gate, paths, record


def test_rotates_at_its_size(make, folder):
    log = make(size=500)
    for name in ("/1", "/2", "/3", "/4", "/5"):
        record(log, name)
        log.flush()
        log.join()
    assert paths((folder / "access.log.2026-11-22").read_text()) == ["/1", "/2"]
    assert paths((folder / "access.log.2026-11-22.1").read_text()) == ["/3", "/4"]
    assert paths((folder / "access.log").read_text()) == ["/5"]


def test_size_includes_the_lines_of_an_earlier_start(make, folder, clock):
    folder.mkdir()
    (folder / "access.log").write_text("x" * 499 + "\n")
    os.utime(folder / "access.log", (clock.now,) * 2)
    log = make(size=500)
    record(log, "/1")
    log.flush()
    log.join()
    assert (folder / "access.log.2026-11-22").stat().st_size == 500
    assert paths((folder / "access.log").read_text()) == ["/1"]


def test_rotates_at_midnight_before_the_first_line_of_the_day(make, folder, clock):
    log = make()
    record(log, "/old")
    log.flush()
    clock.now += 12 * 3600 - 1
    record(log, "/late")
    log.flush()
    clock.now += 1
    gevent.idle()
    assert [path.name for path in folder.iterdir()] == ["access.log"]
    record(log, "/new")
    log.flush()
    log.join()
    assert paths((folder / "access.log.2026-11-22").read_text()) == ["/old", "/late"]
    assert paths((folder / "access.log").read_text()) == ["/new"]


def test_days_without_lines_leave_no_files(make, folder, clock):
    log = make()
    record(log, "/old")
    log.flush()
    clock.now += 5 * 86400
    record(log, "/new")
    log.flush()
    log.join()
    clock.now += 86400
    record(log, "/newer")
    log.close()
    assert {path.name for path in folder.iterdir()} == {"access.log", "access.log.2026-11-22", "access.log.2026-11-27"}
    assert paths((folder / "access.log.2026-11-27").read_text()) == ["/new"]


def test_size_and_midnight_together_leave_no_empty_file(make, folder, clock):
    log = make(size=1)
    record(log, "/full")
    log.flush()
    log.join()
    clock.now += 86400
    record(log, "/next")
    log.flush()
    log.join()
    assert paths((folder / "access.log.2026-11-22").read_text()) == ["/full"]
    assert paths((folder / "access.log.2026-11-23").read_text()) == ["/next"]
    assert (folder / "access.log").stat().st_size == 0


def test_yesterdays_file_found_at_start_is_rotated(make, folder, clock):
    folder.mkdir()
    (folder / "access.log").write_text("yesterday\n")
    os.utime(folder / "access.log", (clock.now - 86400,) * 2)
    log = make()
    record(log, "/today")
    log.close()
    assert (folder / "access.log.2026-11-21").read_text() == "yesterday\n"
    assert paths((folder / "access.log").read_text()) == ["/today"]


def test_not_daily(make, folder, clock):
    log = make(daily=False)
    record(log, "/1")
    log.flush()
    clock.now += 3 * 86400
    record(log, "/2")
    log.close()
    assert [path.name for path in folder.iterdir()] == ["access.log"]


def test_no_line_is_lost_or_torn_over_many_rotations(make, folder):
    log = make(size=2000, keep=10_000)
    names = [f"/{number}" for number in range(2000)]
    for start in range(0, 2000, 7):
        record(log, *names[start : start + 7])
        gevent.sleep(0)
        if start % 3 == 0:
            log.join()
    log.close()
    rotated = [path.name for path in folder.iterdir() if path.name != "access.log"]
    order = sorted(rotated, key=lambda name: int(name.removeprefix("access.log.2026-11-22").strip(".") or 0))
    found = [path for name in [*order, "access.log"] for path in paths((folder / name).read_text())]
    assert found == names
    assert len(rotated) > 10
    assert all((folder / name).stat().st_size >= 2000 for name in rotated)


def test_several_workers_share_a_file(make, folder, clock):
    logs = [make(size=2000, keep=10_000) for _ in range(3)]
    names = [f"/{number}" for number in range(900)]
    for number, name in enumerate(names):
        record(logs[number % 3], name)
        if number % 5 == 0:
            clock.now += 2
            gevent.sleep(0)
    for log in logs:
        log.close()
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(path for text in texts.values() for path in paths(text)) == sorted(names)
    assert all(texts[name] for name in texts if name != "access.log")


def test_two_workers_at_midnight_rotate_once(make, folder, clock):
    # The second to rotate asks for the new file's mtime, which no injected clock governs: here today is today.
    today = time.time()
    clock.now = today - 86400
    logs = [make(), make()]
    for log in logs:
        record(log, "/old")
        log.flush()
        os.utime(folder / "access.log", (clock.now,) * 2)
    clock.now = today
    for log in logs:
        record(log, "/new")
        log.flush()
    for log in logs:
        log.join()
    assert {path.name: paths(path.read_text()) for path in folder.iterdir()} == {
        "access.log": ["/new", "/new"],
        f"access.log.{day(today - 86400)}": ["/old", "/old"],
    }


def test_keep(make, folder, clock):
    folder.mkdir()
    (folder / "access.log.2026-11-01").touch()
    (folder / "access.log.2026-11-22.gz").touch()
    log = make(size=1, keep=2)
    for _ in range(4):
        record(log, "/")
        log.flush()
        log.join()
    assert {path.name for path in folder.iterdir()} == {
        "access.log",
        "access.log.2026-11-22.2",
        "access.log.2026-11-22.3",
        "access.log.2026-11-22.gz",
    }


def test_lines_are_buffered_during_a_rotation(make, folder, monkeypatch, writes):
    log = make(size=1)
    gate = Gate(log._file.rotate)
    monkeypatch.setattr(log._file, "rotate", gate)
    record(log, "/1")
    gevent.idle()
    log._file._limit = None
    for name in ("/2", "/3", "/4"):
        record(log, name)
        gevent.idle()
    assert len(writes) == 1
    assert "working, 3 waiting" in repr(log)
    gate.opened.set()
    log.join()
    assert paths((folder / "access.log").read_text()) == ["/2", "/3", "/4"]
    assert len(writes) == 2


def test_the_buffer_is_bounded(make, folder, monkeypatch, errors):
    monkeypatch.setattr(buffered_log, "_MAX_BUFFERED", 5)
    log = make(size=1)
    gate = Gate(log._file.rotate)
    monkeypatch.setattr(log._file, "rotate", gate)
    record(log, "/1")
    gevent.idle()
    log._file._limit = None
    record(log, *["/2"] * 20)
    gate.opened.set()
    log.join()
    kept = len(paths((folder / "access.log").read_text()))
    assert kept == 5
    assert log.lost == 20 - kept
    assert [message.partition(": ")[2] for message in errors()] == [
        "losing lines: buffer full, lines come faster than they can be written",
        f"writing again, {log.lost} lines lost",
    ]


def test_close_during_a_rotation_waits_and_writes_the_rest(make, folder, monkeypatch):
    log = make(size=1)
    gate = Gate(log._file.rotate)
    monkeypatch.setattr(log._file, "rotate", gate)
    record(log, "/1")
    gevent.idle()
    log._file._limit = None
    record(log, "/2")
    closing = gevent.spawn(log.close)
    gevent.idle()
    record(log, "/3")
    assert not closing.ready()
    gate.opened.set()
    closing.get()
    assert paths((folder / "access.log.2026-11-22").read_text()) == ["/1"]
    assert paths((folder / "access.log").read_text()) == ["/2", "/3"]
    record(log, "/after")
    log.flush()
    assert paths((folder / "access.log").read_text()) == ["/2", "/3"]


def test_close_does_not_wait_forever(make, folder, monkeypatch, errors):
    monkeypatch.setattr(accesslog, "_CLOSE_TIMEOUT", 0.01)
    log = make(size=1)
    gate = Gate(log._file.rotate)
    monkeypatch.setattr(log._file, "rotate", gate)
    record(log, "/1")
    gevent.idle()
    record(log, "/2")
    log.close()
    assert log.lost == 1
    assert [message.partition(": ")[2] for message in errors()] == [
        "losing lines: closed before they could be written",
        "closed, 1 line lost",
    ]
    gate.opened.set()
    log.join()
    log._file.close()


def test_a_failed_rotation_is_logged_once_and_retried(make, folder, clock, errors, monkeypatch):
    log = make(size=1)
    fails = [PermissionError(errno.EACCES, "Permission denied", "there")] * 2
    real = log._file._successor
    monkeypatch.setattr(log._file, "_successor", lambda: _raise(fails.pop()) if fails else real())
    for name, seconds in (("/1", 0), ("/2", 30), ("/3", 31), ("/4", 61)):
        clock.now += seconds
        record(log, name)
        log.flush()
        log.join()
    assert [message.partition(": ")[2] for message in errors()] == [
        "rotation failed: [Errno 13] Permission denied: 'there'"
    ]
    assert paths((folder / "access.log.2026-11-22").read_text()) == ["/1", "/2", "/3"]
    assert paths((folder / "access.log.2026-11-22.1").read_text()) == ["/4"]


def _raise(error):
    raise error


def test_an_old_file_that_cannot_be_deleted_stops_neither_log_nor_the_other_deletions(make, folder, errors):
    (folder / "access.log.2026-11-01").mkdir(parents=True)
    (folder / "access.log.2026-11-02").touch()
    log = make(size=1, keep=1)
    record(log, "/1")
    log.flush()
    log.join()
    log._file._limit = None
    record(log, "/2")
    log.flush()
    assert {path.name for path in folder.iterdir()} == {"access.log", "access.log.2026-11-01", "access.log.2026-11-22"}
    assert paths((folder / "access.log").read_text()) == ["/2"]
    assert len(errors()) == 1
