"""The lines of all messages, and the lines that are none."""

import pytest

from gproxy.arbiter.messages import (
    COMMANDS,
    NOTICES,
    Accept,
    Beat,
    Blocked,
    Build,
    Built,
    Closed,
    Failed,
    Imported,
    Judged,
    Lacks,
    LogLevel,
    Malformed,
    Open,
    Override,
    Quit,
    Ready,
    Reloads,
    Reopen,
    Retire,
    Share,
    Shared,
    Stop,
    Stopped,
    Unready,
    Unshare,
    WorkerLine,
    decode,
    encode,
)

LINES = [
    (
        Build("g.ini", [["server", "workers", "2"]], "1f", "text", False, 1.5),
        b'["build", "g.ini", [["server", "workers", "2"]], "1f", "text", false, 1.5]\n',
    ),
    (Open(True), b'["open", true]\n'),
    (Accept(), b'["accept"]\n'),
    (Share(), b'["share"]\n'),
    (Unshare(), b'["unshare"]\n'),
    (Reopen(), b'["reopen"]\n'),
    (Reloads(3, 2, 1, False, 17.5, "no"), b'["reloads", 3, 2, 1, false, 17.5, "no"]\n'),
    (WorkerLine(), b'["workerline"]\n'),
    (Override("users", "10.0.0.1:80", {"weight": 3}), b'["override", "users", "10.0.0.1:80", {"weight": 3}]\n'),
    (LogLevel("debug", "gproxy"), b'["loglevel", "debug", "gproxy"]\n'),
    (Unready(), b'["unready"]\n'),
    (Retire([0, 2]), b'["retire", [0, 2]]\n'),
    (Stop(), b'["stop"]\n'),
    (Quit(), b'["quit"]\n'),
    (Imported(["mine.py"]), b'["imported", ["mine.py"]]\n'),
    (Built(["a warning"], ["mine.py"]), b'["built", ["a warning"], ["mine.py"]]\n'),
    (Judged(["GET / answered 500"]), b'["judged", ["GET / answered 500"]]\n'),
    (Failed(2, ["a mistake"]), b'["failed", 2, ["a mistake"], false]\n'),
    (Ready(), b'["ready"]\n'),
    (Shared(), b'["shared"]\n'),
    (Beat(20, 2, "handler a: no"), b'["beat", 20, 2, "handler a: no"]\n'),
    (Blocked("7f: blocked", ["h.py:1 in f"], ["7f"]), b'["blocked", "7f: blocked", ["h.py:1 in f"], ["7f"]]\n'),
    (Closed(), b'["closed"]\n'),
    (Lacks("users", "10.0.0.1:80"), b'["lacks", "users", "10.0.0.1:80"]\n'),
    (Stopped(3), b'["stopped", 3]\n'),
]


@pytest.mark.parametrize(("message", "line"), LINES, ids=lambda value: type(value).__name__)
def test_a_message_and_its_line(message, line):
    assert encode(message) == line
    assert decode(line, {**COMMANDS, **NOTICES}) == message


def test_every_message_has_a_line_above_and_one_direction():
    assert [type(message) for message, _ in LINES] == [*COMMANDS.values(), *NOTICES.values()]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'["beet"]', "unknown name"),
        (b'["accept"]', "unknown name"),  # a command, and no notice
        (b'["stopped"]', "expected 1 fields, not 0"),
        (b'["ready", 1]', "expected 0 fields, not 1"),
        (b'["stopped", "3"]', "cut: expected int, not '3'"),
        (b'["built", [], {}]', "files: expected list, not {}"),
        (b'["beat"', "Expecting ',' delimiter: line 1 column 8 (char 7)"),
        (b"[]", "not enough values to unpack (expected at least 1, got 0)"),
        (b"[[]]", "unhashable type: 'list'"),
        (b'["\xff"]', "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"),
    ],
)
def test_a_line_that_is_no_notice(line, problem):
    found = decode(line, NOTICES)
    assert found == Malformed(line.decode(errors="replace"), problem)
    assert str(found) == f"malformed message {line.decode(errors='replace')}: {problem}"
