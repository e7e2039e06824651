"""Access logs as a gateway writes them, and the command run on them in this process."""

import gzip
import json
import random
import signal
import time
from datetime import datetime

import pytest

from gproxy.cli import main
from gproxy.config.types.access_log import DEFAULT_FIELDS
from gproxy.http.exchange import Exchange
from gproxy.observe.access_fields import line_format

#: 2026-11-28 12:00 in UTC.
NOON = 1_795_867_200.0


@pytest.fixture(autouse=True)
def kept_handler():
    """The command sets the handler of SIGINT, as it ends with the command."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def exchange(started=NOON, **facts):
    one = Exchange(started, "192.0.2.1", "GET", "/users", "HTTP/1.1")
    one.id, one.status, one.duration, one.route, one.backend = "a" * 32, 200, 0.01, "users", "10.0.0.1:80"
    for name, value in facts.items():
        setattr(one, name, value)
    return one


def random_exchanges(count, seed=1, begin=NOON, seconds=3600.0):
    """Exchanges in the order of their ends: most are short, some last for minutes, texts are hostile."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        end = begin + seconds * number / count
        duration = chance.choice((0.001, 0.02, 0.5, 1.0, 400.0)) * (0.5 + chance.random())
        found.append(
            exchange(
                end - duration,
                id=f"{seed}-{number}",
                client=chance.choice(("10.1.2.3", "10.9.9.9", "192.0.2.7", "2001:db8::1", "unix")),
                method=chance.choice(("GET", "POST")),
                target=chance.choice(("/users/1", "/users/2/items", '/a"b', "/ä", "/other", "/status:500\\x")),
                status=chance.choice((200, 200, 200, 304, 404, 500, 503)),
                duration=duration,
                bytes_sent=chance.randrange(10_000),
                route=chance.choice(("users", "other", "")),
                backend=chance.choice(("10.0.0.1:80", "10.0.0.2:80", "")),
                reason=chance.choice(("", "", "timeout", "bad_gateway")),
                user=chance.choice(("", "alice", "bob smith", 'c"d', "e\\f")),
                user_agent=chance.choice(("curl", '"quoted", "time":"x"', "tab\there", "status:500")),
            )
        )
    return found


def written(exchanges, log_format="ltsv", fields=DEFAULT_FIELDS):
    line = line_format(log_format, fields)
    return "".join(f"{line(one)}\n" for one in exchanges).encode("utf-8", "backslashreplace")


class Log:
    """A folder with settings and the files of a log."""

    def __init__(self, folder, capfd):
        self.folder = folder
        self.path = folder / "access.log"
        self._capture = capfd
        self.settings()

    def settings(self, log_format="ltsv", access=None, more=""):
        access = self.path if access is None else access
        (self.folder / "gproxy.ini").write_text(f"[log]\naccess = {access}\nformat = {log_format}\n{more}")

    def write(self, data, name="access.log"):
        path = self.folder / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    def run(self, *arguments):
        """Return the exit code, what the command prints, and what it says on standard error."""
        try:
            code = main(["logs", "--config", str(self.folder / "gproxy.ini"), *arguments])
        except SystemExit as end:
            code = end.code
        printed = self._capture.readouterr()
        return code, printed.out, printed.err

    def lines(self, *arguments):
        code, printed, said = self.run(*arguments)
        assert (code, said) == (0, ""), said
        return printed.splitlines()

    def ids(self, *arguments):
        return [json.loads(line)["id"] for line in self.lines("--json", *arguments)]

    def groups(self, by, *arguments):
        (line,) = self.lines("--json", "--by", by, *arguments)
        return json.loads(line)


@pytest.fixture
def log(tmp_path, capfd, utc):
    return Log(tmp_path, capfd)


def at(when):
    return datetime.fromtimestamp(when).astimezone().isoformat()
