"""The access logs of all targets together."""

import gevent
import pytest

from gproxy.config.sections.settings import LogSettings
from gproxy.config.types.access_log import LogTarget, SkippedLines
from gproxy.observe.access_line import json_line, ltsv
from gproxy.observe.access_logs import AccessLogs

from .conftest import exchange


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """Open the logs of these settings in a new working directory, and close them at the end."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def open_logs(*targets, **options):
        found = AccessLogs.of(LogSettings(access=tuple(map(LogTarget.parse, targets)), **options))
        found.open()
        opened.append(found)
        return found

    yield open_logs
    for found in opened:
        found.close()


def record(logs, *exchanges):
    for one in exchanges:
        for observer in logs.observers:
            observer.record(one)


def test_off_records_nothing_and_creates_no_file(tmp_path, logs):
    off = logs("off")
    assert list(off.observers) == []
    for method in (off.flush, off.look, off.reopen, off.close):
        method()
    assert list(tmp_path.iterdir()) == []
    assert off.lost == 0


def test_two_files_and_standard_output_get_the_same_lines(tmp_path, logs, capfd):
    three = logs("log/a.log", "-", "log/b.log")
    record(three, exchange(), exchange(target="/b"))
    gevent.idle()
    lines = f"{ltsv(exchange())}\n{ltsv(exchange(target='/b'))}\n"
    assert (tmp_path / "log/a.log").read_text() == (tmp_path / "log/b.log").read_text() == lines
    assert capfd.readouterr().out == lines


def test_a_target_that_fails_costs_the_others_no_line(tmp_path, logs, errors):
    two = logs("/dev/full", "a.log", format="json")
    record(two, exchange(), exchange())
    two.flush()
    assert (tmp_path / "a.log").read_text() == f"{json_line(exchange())}\n" * 2
    assert two.lost == 2
    assert errors() == ["access log /dev/full: losing lines: [Errno 28] No space left on device"]


def test_all_files_are_opened_again(tmp_path, logs):
    two = logs("a.log", "b.log")
    for name in ("a.log", "b.log"):
        (tmp_path / name).unlink()
    two.reopen()
    record(two, exchange())
    two.close()
    assert (tmp_path / "a.log").read_text() == (tmp_path / "b.log").read_text() == f"{ltsv(exchange())}\n"


def test_a_file_that_was_moved_is_noticed_without_a_line(tmp_path, logs):
    one = logs("a.log")
    (tmp_path / "a.log").unlink()
    one.look()
    assert (tmp_path / "a.log").exists()


@pytest.mark.parametrize(
    ("skip", "written"),
    [
        ("", ["/health 200", "/health/live 204", "/health 503", "/healthy 200", "/ 304", "/users 500", " 400"]),
        ("/health", ["/healthy 200", "/ 304", "/users 500", " 400"]),
        ("/health/", ["/healthy 200", "/ 304", "/users 500", " 400"]),
        ("/health 2xx", ["/health 503", "/healthy 200", "/ 304", "/users 500", " 400"]),
        ("2xx", ["/health 503", "/ 304", "/users 500", " 400"]),
        ("2xx, 304", ["/health 503", "/users 500", " 400"]),
        ("/health, 2xx", ["/ 304", "/users 500", " 400"]),
        ("/users 2xx, 4xx", ["/health 200", "/health/live 204", "/health 503", "/healthy 200", "/ 304", "/users 500"]),
        ("/", []),
    ],
)
def test_skipped_lines(tmp_path, logs, skip, written):
    log = logs("a.log", skip=tuple(SkippedLines.parse(one) for one in skip.split(", ") if one))
    for what in ("/health 200", "/health/live 204", "/health 503", "/healthy 200", "/ 304", "/users 500", " 400"):
        path, _, status = what.partition(" ")
        record(log, exchange(target=path, status=int(status)))
    log.close()
    lines = [
        dict(field.split(":", 1) for field in line.split("\t"))
        for line in (tmp_path / "a.log").read_text().splitlines()
    ]
    assert [f"{line['path'].strip('-')} {line['status']}" for line in lines] == written


@pytest.mark.parametrize(
    "above", ["/../users", "/%2e%2e/users", "/..%2fusers", "/./..;/users", "/a/../../users", "/%zz"]
)
@pytest.mark.parametrize("skip", ["/health", "/health/", "/health 2xx"])
def test_a_path_that_may_lead_elsewhere_is_not_skipped(tmp_path, logs, skip, above):
    log = logs("a.log", skip=(SkippedLines.parse(skip),))
    record(log, exchange(target=f"/health{above}", status=200))
    record(log, exchange(target="/health/../health/live", status=200))
    log.close()
    assert [line.split("\t")[4] for line in (tmp_path / "a.log").read_text().splitlines()] == [f"path:/health{above}"]


def test_a_path_with_escapes_can_be_skipped(tmp_path, logs):
    log = logs("a.log", skip=(SkippedLines("/a%20b"), SkippedLines("/%")))
    for target in ("/a%20b/%C3%A9", "/%", "/other"):
        record(log, exchange(target=target, status=200))
    log.close()
    paths = [line.split("\t")[4] for line in (tmp_path / "a.log").read_text().splitlines()]
    assert paths == ["path:/%", "path:/other"]


def test_without_skip_the_logs_are_the_observers(logs):
    """Nothing stands between the gateway and a log that skips no line."""
    (observer,) = logs("a.log").observers
    assert type(observer).__name__ == "AccessLog"


def test_off_with_skip_has_no_observer(logs):
    assert list(logs("off", skip=(SkippedLines("/health"),)).observers) == []
