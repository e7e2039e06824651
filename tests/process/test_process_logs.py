"""`gproxy logs` beside a gateway that writes and rotates."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import forked
import pytest
from hammer import load

from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = 2
[log]
access = log/access.log
rotate = {rotate}
keep = 1000
compress = {compress}
format = {format}
[route:a]
path = /
respond = 200
"""


@contextmanager
def gateway(folder, rotate="never", compress="no", log_format="ltsv"):
    ini = INI.format(rotate=rotate, compress=compress, format=log_format)
    with RunningGateway(ini, folder) as running:
        yield running


def command(folder, *arguments):
    config = next(folder.glob("*.ini"))
    return [sys.executable, "-m", "gproxy", "logs", "--config", str(config), *arguments]


def logs(folder, *arguments):
    done = forked.run(command(folder, *arguments), cwd=folder, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def following(running, *arguments):
    """A command that follows the log. Yield what returns the ids that it has printed, without those of the start."""
    path = running.folder / "followed"
    with (
        path.open("wb") as output,
        subprocess.Popen(
            command(running.folder, "--follow", "--fields", "id", *arguments), cwd=running.folder, stdout=output
        ) as process,
    ):
        try:
            first = []

            def has_begun():
                first.append(running.get("/users/start")["x-request-id"])
                return path.stat().st_size

            eventually(has_begun, "the first line")
            eventually(lambda: first[-1] in path.read_text(), "the last request of the start")
            yield lambda: [one for one in path.read_text().splitlines() if one not in first]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == -signal.SIGINT


def ask(running, count):
    return [running.get("/")["x-request-id"] for _ in range(count)]


def ids_of_all_files(running):
    return logs(running.folder, "--path", "/users/*", "--fields", "id")


@pytest.mark.parametrize("compress", ["no", "yes"])
def test_no_line_is_lost_or_doubled_while_the_gateway_rotates(tmp_path, compress):
    with gateway(tmp_path, "20KB", compress) as running, following(running, "--path", "/users/*") as followed:
        with load(running.port, threads=4) as clients:
            eventually(lambda: len(list((tmp_path / "log").iterdir())) > 5, "rotated files")
        answered = sum(client.answered for client in clients)
        eventually(lambda: len(followed()) >= answered, "all lines")
        assert len(set(followed())) == len(followed()) == answered
        assert set(followed()) < set(ids_of_all_files(running))


def test_no_line_is_lost_or_doubled_over_a_move_with_usr1(tmp_path):
    with gateway(tmp_path) as running, following(running) as followed:
        log = tmp_path / "log/access.log"
        asked = ask(running, 5)
        for number in range(3):
            log.rename(log.with_name(f"access.log.{3 - number}"))
            asked += ask(running, 5)
            running.signal(signal.SIGUSR1)
            eventually(log.exists, "a new file")
            asked += ask(running, 5)
        eventually(lambda: len(followed()) >= len(asked), "all lines")
        assert sorted(followed()) == sorted(asked)
    assert sorted(logs(tmp_path, "--path", "/", "--fields", "id")) == sorted(asked)


def test_no_line_is_lost_or_doubled_over_a_copy_and_a_truncation(tmp_path):
    with gateway(tmp_path) as running, following(running) as followed:
        log = tmp_path / "log/access.log"
        asked = []
        for number in range(3):
            new = ask(running, 7)
            eventually(lambda new=new: all(one in log.read_text() for one in new), "all lines")
            asked += new
            shutil.copy2(log, log.with_name(f"access.log.{3 - number}"))
            os.truncate(log, 0)
        asked += ask(running, 2)
        eventually(lambda: len(followed()) >= len(asked), "all lines")
        assert sorted(followed()) == sorted(asked)


@pytest.mark.parametrize("log_format", ["ltsv", "json", "combined"])
def test_questions_to_the_log_of_a_gateway(tmp_path, log_format):
    with gateway(tmp_path, log_format=log_format) as running:
        running.ask('GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: a\tb"c\\\r\n\r\n')
        running.ask("GARBAGE\r\n\r\n")
        for path in ("/users/1", "/users/2"):
            running.get(path)
        eventually(lambda: len((tmp_path / "log/access.log").read_text().splitlines()) >= 4, "the lines")
        lines = (tmp_path / "log/access.log").read_text().splitlines()
        assert sorted(logs(tmp_path)) == sorted(lines)
        assert len(logs(tmp_path, "--path", "/users/*", "--since", "5m")) == 2
        assert len(logs(tmp_path, "--status", "4xx")) == 1
        (line,) = logs(tmp_path, "--path", "/x", "--json")
        assert json.loads(line)["ua"] in ('a\tb"c\\', 'a\\x09b"c\\')
        (line,) = logs(tmp_path, "--by", "status", "--status", "400", "--json")
        assert [(group["name"], group["count"]) for group in json.loads(line)["groups"]] == [("400", 1)]
        table = logs(tmp_path, "--by", "path", "--path", "/users/1")
        assert re.fullmatch(r" +count +rate/s +errors +p50 +p95 +p99 +bytes  path", table[0])
        assert re.fullmatch(r" +1 .* 0\.0% .*  /users/1", table[1])


def test_the_command_ends_when_its_reader_has_gone(tmp_path):
    with gateway(tmp_path) as running:
        with load(running.port, threads=4):
            eventually(lambda: (tmp_path / "log/access.log").stat().st_size > 500_000, "more than a pipe holds")
        with subprocess.Popen(
            command(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(20) == -signal.SIGPIPE
            assert process.stderr.read() == b""
