import logging
import os
import threading
import time

import pytest

from gproxy.http.exchange import Exchange
from gproxy.observe import access_line
from gproxy.observe.access_log import AccessLog

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
#: The attributes of an exchange that are texts in its line.
TEXTS = (
    "id", "client", "method", "target", "protocol", "route", "upstream", "backend", "reason", "host", "referer",
    "user_agent", "user", "auth",
)  # fmt: skip
#: The labels of a line, in their order.
LABELS = (
    "time", "id", "client", "method", "path", "protocol", "status", "duration", "size", "reqsize", "route", "upstream",
    "backend", "tries", "reason", "vhost", "referer", "ua", "user", "auth",
)  # fmt: skip


def exchange(**changes):
    """Return an exchange that went well, with these changes."""
    made = Exchange(NOON, "203.0.113.7", "GET", "/users/1", "HTTP/1.1")
    made.id, made.host, made.user_agent = "0f3a9c1b", "api.example.com", "curl/8"
    made.route, made.upstream, made.backend, made.tries = "users", "users", "127.0.0.1:5001", 1
    made.status, made.duration, made.bytes_sent = 200, 0.0123456, 1432
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


def paths(text):
    """Return the paths of LTSV lines, each of which must be whole."""
    lines = text.split("\n")
    assert lines.pop() == ""
    fields = [line.split("\t") for line in lines]
    assert {len(field) for field in fields} <= {20}
    return [field[4].removeprefix("path:") for field in fields]


def record(log, *names):
    for name in names:
        log.record(exchange(target=name))


class Gate:
    """A slow LogFile.rotate, which runs in the pool's thread and waits for the test."""

    def __init__(self, rotate):
        self.rotate = rotate
        self.opened = threading.Event()

    def __call__(self):
        assert self.opened.wait(10)
        return self.rotate()


@pytest.fixture
def clock():
    return Clock()


#: As `[log]` has them.
SETTINGS = {"line": access_line.ltsv, "daily": True, "size": 10_000_000, "keep": 14, "compress": False}


@pytest.fixture
def make(tmp_path, clock):
    """Open logs at tmp_path/log/access.log, and close them at the end."""
    logs = []

    def make(path=None, **options):
        log = AccessLog(str(path or tmp_path / "log" / "access.log"), **{"clock": clock, **SETTINGS, **options})
        log.open()
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def errors(monkeypatch, caplog):
    """The messages of the error log about the access log, independent of an earlier log.setup()."""
    monkeypatch.setattr(logging.getLogger("gproxy"), "propagate", True)
    caplog.set_level("INFO", "gproxy.log")

    def errors():
        return [record.getMessage() for record in caplog.records if record.name == "gproxy.log"]

    return errors


@pytest.fixture
def writes(monkeypatch):
    """The data passed to os.write, and a switch for its failures."""

    class Writes(list):
        behaviour = staticmethod(os.write)

    writes = Writes()

    def spy(fd, data):
        writes.append(bytes(data))
        return writes.behaviour(fd, data)

    monkeypatch.setattr(os, "write", spy)
    writes.real = writes.behaviour
    return writes


@pytest.fixture
def zone():
    """Set the local time zone for the test."""
    before = os.environ.get("TZ")

    def set_zone(name):
        if name is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = name
        time.tzset()
        access_line._stamp.cache_clear()
        access_line._iso.cache_clear()
        access_line._clf.cache_clear()

    yield set_zone
    set_zone(before)
