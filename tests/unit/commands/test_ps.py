"""What `gproxy ps` prints."""

import pytest

from gproxy.cli import main
from gproxy.commands.live.ps import _details, _short, describe
from gproxy.observe import readable

WORKER = {
    "worker": 1, "generation": 3, "pid": 4711, "answers": True, "draining": False, "uptime": 90061.0, "cpu": 12.3,
    "memory": 47 * 2**20, "descriptors": 63, "connections": 12, "requests": 2,
}  # fmt: skip
SILENT = {
    "worker": 2, "generation": 3, "pid": 4712, "answers": False, "error": "does not answer",
    "silent_since": "2026-11-29T09:15:00.250Z",
}  # fmt: skip
REQUEST = {
    "id": "01a2268104e070008374e6bb674a9ffa", "age": 12.34, "phase": "wait", "remaining": 2.661, "route": "users",
    "method": "GET", "path": "/users/1", "handler": "tenant", "line": "/srv/app/handlers.py:41",
    "backend": "10.0.0.1:8000", "stack": None,
}  # fmt: skip


def test_workers_come_first_then_requests_with_id_handler_line_and_backend():
    assert describe([WORKER], [REQUEST]).splitlines() == [
        "WORKER GEN  PID STATE      UP   CPU MEMORY FILES CONNS REQUESTS",
        "     1   3 4711 serving 1d01h 12.3s  47MiB    63    12        2",
        "",
        "1 request in flight",
        "    AGE PHASE      LEFT  ROUTE           REQUEST",
        "  12.3s wait      2.66s  users           GET /users/1",
        "  01a2268104e070008374e6bb674a9ffa  tenant  handlers.py:41  10.0.0.1:8000",
    ]


def test_a_worker_that_does_not_answer_is_named():
    lines = describe([WORKER, SILENT], []).splitlines()
    assert lines[2] == "     2   3 4712 does not answer since 2026-11-29T09:15:00.250Z"
    assert lines[4:] == ["0 requests in flight"]
    lines = describe([{**SILENT, "stack": ["/srv/app/handlers.py:41 loop"]}, WORKER], []).splitlines()
    assert lines[2] == "    at /srv/app/handlers.py:41 loop"


def test_what_a_request_lacks():
    upload = {
        **REQUEST, "route": None, "handler": None, "line": None, "backend": None, "phase": "upload",
        "remaining": "waiting for the client",
    }  # fmt: skip
    first, second = describe([WORKER], [upload]).splitlines()[5:]
    assert first == "  12.3s upload   paused  -               GET /users/1"
    assert second == "  01a2268104e070008374e6bb674a9ffa"
    assert describe([WORKER], [{**upload, "remaining": None}]).splitlines()[5].split()[2] == "-"


def test_lines_fit_the_terminal_and_frames_keep_their_end():
    frame = f"/usr/lib/{'x' * 100}/site-packages/urllib3/connection.py:199 HTTPConnection._new_conn"
    shown = describe([WORKER], [{**REQUEST, "path": "/p" * 100, "stack": [frame]}], 80).splitlines()
    assert max(map(len, shown)) == 80
    assert shown[5].endswith("/p/p…")
    assert shown[7].startswith("    at …")
    assert shown[7].endswith("x/site-packages/urllib3/connection.py:199 HTTPConnection._new_conn")
    assert f"    at {frame}" in describe([WORKER], [{**REQUEST, "stack": [frame]}]).splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00s"), (9.994, "9.99s"), (9.996, "10.0s"), (99.94, "99.9s"), (99.96, "1m39s"), (3599, "59m59s"),
        (3600, "1h00m"), (86399, "23h59m"), (86400, "1d00h"), (8_640_000, "100d00h"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert _short(seconds) == text


def test_a_wrong_time_is_a_wrong_argument(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["ps", "--admin", "unix:none", "--older", "soon"])
    assert ended.value.code == 2
    assert "'soon' is no time; expected one such as 2s" in capsys.readouterr().err


def test_a_monitor_that_is_not_there(capsys, tmp_path):
    assert main(["ps", "--admin", f"unix:{tmp_path}/none"]) == 1
    expected = f"the monitor at unix:{tmp_path}/none does not answer: No such file or directory; is the gateway running, and is this its [admin] bind?\n"
    assert capsys.readouterr().err == expected


def test_a_large_number_is_shown_as_it_is():
    assert readable.printable(readable.number(1234567)) == readable.number(1234567) == "1\u202f234\u202f567"


def test_a_name_of_a_stranger_does_not_change_the_terminal():
    assert "user        al?[2Jice" in [*_details({**REQUEST, "user": "al\x1b[2Jice", "greenlets": []})]
