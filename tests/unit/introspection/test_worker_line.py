"""A worker's end of its line to the monitor: answers to several questions at once do not delay what else runs."""

import json
from itertools import pairwise
from types import SimpleNamespace

import gevent
import gevent.socket
import pytest

from gproxy.introspection import answers
from gproxy.introspection.frames import END, QUESTION, read_frame, write_frame
from gproxy.introspection.worker_line import WorkerLine

MOMENTS: list[str] = []


def parts(view):
    for _ in range(5):
        MOMENTS.append("part")
        yield {}


@pytest.fixture
def line(monkeypatch):
    monkeypatch.setitem(answers.ANSWERS, "parts", f"{__name__}:parts")
    MOMENTS.clear()
    ours, theirs = gevent.socket.socketpair()
    line = WorkerLine(theirs, SimpleNamespace(runtime=SimpleNamespace(feed=None)))
    yield ours
    line.close()
    ours.close()


def ping(sock):
    """A client and a backend in one: what it sends, it receives."""
    while sock.recv(1):
        MOMENTS.append("event")
        sock.send(b"x")


def test_events_of_sockets_come_between_any_two_parts_of_the_answers(line):
    one, other = gevent.socket.socketpair()
    playing = [gevent.spawn(ping, one), gevent.spawn(ping, other)]
    one.send(b"x")
    for number in range(4):
        write_frame(line, QUESTION, json.dumps({"number": number, "question": "parts", "arguments": {}}).encode())
    ends = 0
    while ends < 4:
        kind, _ = read_frame(line)
        ends += kind == END
    gevent.killall(playing)
    one.close()
    other.close()
    assert MOMENTS.count("part") == 20
    assert not any(pair == ("part", "part") for pair in pairwise(MOMENTS))
