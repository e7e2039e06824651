"""Feature 9: one line a request, in each format, through rotation, reopening and a full disk."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import forked
import pytest
from shipped import PUBLIC, UNLIMITED, line_with, running, shipped

from gproxy.testing.gateway import eventually, free_port


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_ltsv_has_the_facts_of_each_request(ours):
    body = "x" * 1000
    with ours.connect() as wire:
        wire.send(
            f"POST /users/1?secret=1 HTTP/1.1\r\nHost: h.test\r\n{ours.bearer()}\r\nUser-Agent: a\tb\\\r\n"
            f"Referer: http://r.test/?secret=2\r\nContent-Length: 1000\r\n\r\n{body}"
        )
        answer = wire.read_response()
    line = ours.line_of(answer)
    assert [*line] == [
        "time", "id", "client", "method", "path", "protocol", "status", "duration", "size", "reqsize",
        "route", "upstream", "backend", "tries", "reason", "vhost", "referer", "ua", "user", "auth",
    ]  # fmt: skip
    assert abs(datetime.fromisoformat(line["time"]).timestamp() - time.time()) < 20
    assert 0 < float(line["duration"]) < 2
    said = {
        name: line[name]
        for name in ("client", "method", "path", "protocol", "status", "size", "reqsize", "tries", "reason")
    }
    assert said == {
        "client": "127.0.0.1", "method": "POST", "path": "/users/1", "protocol": "HTTP/1.1", "status": "200",
        "size": str(len(answer.body)), "reqsize": "1000", "tries": "1", "reason": "-",
    }  # fmt: skip
    assert "secret" not in "\t".join(line.values())
    assert (line["vhost"], line["referer"], line["user"]) == ("h.test", "http://r.test/", "alice")


def test_json(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC, ("format = ltsv", "format = json")) as ours:
        answer = ours.get("/users", 'User-Agent: "quoted"')
        path = tmp_path / "log/access.log"
        eventually(lambda: lines(path), "a line")
        facts = json.loads(lines(path)[0])
        assert (facts["id"], facts["status"], facts["route"], facts["ua"]) == (
            answer["x-request-id"],
            200,
            "users",
            '"quoted"',
        )
        assert isinstance(facts["duration"], float)


def test_combined(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC, ("format = ltsv", "format = combined")) as ours:
        ours.get("/users", 'User-Agent: "quoted"')
        path = tmp_path / "log/access.log"
        eventually(lambda: lines(path), "a line")
        wanted = (
            r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:[\d:]{8} [+-]\d{4}\] "GET /users HTTP/1\.1" 200 3 "-" "\\"quoted\\""'
        )
        assert re.fullmatch(wanted, lines(path)[0])


def test_standard_output_and_off(tmp_path):
    for access in ("-", "off"):
        config = tmp_path / "gproxy.ini"
        port = free_port()
        text = shipped(
            (1, 2, 3),
            ("access = log/access.log", f"access = {access}"),
            ("bind = 0.0.0.0:8080", f"bind = 127.0.0.1:{port}"),
        )
        config.write_text(text)
        command = [sys.executable, "-m", "gproxy", "--config", str(config)]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            line_with(process.stderr, "serves on")
            subprocess.run(
                ["curl", "-s", f"http://127.0.0.1:{port}/health"], check=True, capture_output=True, timeout=10
            )
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=10)[0]
        assert ("path:/health" in output) == (access == "-")
        assert not (tmp_path / "log").exists()


def test_refusals_have_a_line_too(ours):
    for raw, status in (
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    ):
        answer = ours.ask(raw)
        assert answer.status == status
        assert ours.line_of(answer)["status"] == str(status)


def test_usr1_after_a_move_opens_a_new_file_and_loses_nothing(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC) as ours:
        path, moved = tmp_path / "log/access.log", tmp_path / "log/moved"
        ids = [ours.get("/users")["x-request-id"] for _ in range(5)]
        path.rename(moved)
        ids += [ours.get("/users")["x-request-id"] for _ in range(5)]
        ours.signal(signal.SIGUSR1)
        eventually(path.exists, "a new file")
        ids += [ours.get("/users")["x-request-id"] for _ in range(5)]
        eventually(lambda: len(lines(moved) + lines(path)) == 15, "15 lines")
        found = [re.search("id:([^\t]+)", line)[1] for line in lines(moved) + lines(path)]
        assert found == ids
        assert len(lines(path)) >= 5


def test_rotation_at_its_size_loses_nothing_and_keeps_as_many(tmp_path):
    with running(
        tmp_path, UNLIMITED, *PUBLIC, ("rotate = daily, 10MB", "rotate = 4KB"), ("keep = 14", "keep = 3")
    ) as ours:
        folder = tmp_path / "log"
        ids = []
        with ours.connect() as wire:
            for _ in range(40):
                wire.send("GET /users HTTP/1.1\r\nHost: a\r\n\r\n")
                ids.append(wire.read_response()["x-request-id"])

        def logged():
            names = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            return [re.search("id:([^\t]+)", line)[1] for file in names for line in lines(file)]

        eventually(lambda: logged()[-1:] == ids[-1:], "the last line")
        found = logged()
        assert found == ids[-len(found) :]
        rotated = [file for file in folder.iterdir() if file.name != "access.log"]
        assert len(rotated) <= 3
        assert all(re.fullmatch(r"access\.log\.\d{4}-\d\d-\d\d(\.\d+)?", file.name) for file in rotated)


def test_lines_of_yesterday_are_put_away_at_the_start(tmp_path):
    (tmp_path / "log").mkdir()
    path = tmp_path / "log/access.log"
    path.write_text("of yesterday\n")
    yesterday = time.time() - 86400
    os.utime(path, (yesterday, yesterday))
    with running(tmp_path, UNLIMITED, *PUBLIC) as ours:
        ours.get("/users")
        put_away = tmp_path / f"log/access.log.{time.strftime('%Y-%m-%d', time.localtime(yesterday))}"
        eventually(put_away.exists, "the rotated file")
        assert put_away.read_text() == "of yesterday\n"
        eventually(lambda: len(lines(path)) == 1, "one line of today")


def test_a_full_disk_costs_lines_and_no_request(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC, ("access = log/access.log", "access = /dev/full")) as ours:
        assert [ours.get("/users").status for _ in range(20)] == [200] * 20
        assert "No space left" in ours.wait_for_line("access log /dev/full")
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert "20 lines lost" in ours.wait_for_line("lines lost")


@pytest.mark.parametrize("access", ["file/access.log", "folder"])
def test_a_log_that_cannot_be_opened_is_one_line_and_exit_1(tmp_path, access):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "gproxy.ini").write_text(shipped((1, 2, 3), ("access = log/access.log", f"access = {access}")))
    command = [sys.executable, "-m", "gproxy", "--bind", f"127.0.0.1:{free_port()}", "--config", "gproxy.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if " WARNING " not in line]
    assert access in error
