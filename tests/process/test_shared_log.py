"""One access log, many writers: every line is there once and whole, and a file is rotated when it is full."""

import gzip
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hammer import load
from shipped import PUBLIC, UNLIMITED, response, running

from gproxy.testing.gateway import eventually

WRITERS = 4
#: In all; GPROXY_LOG_LINES=1000000 for the whole proof, which takes a minute.
LINES = int(os.environ.get("GPROXY_LOG_LINES", "120000"))
#: So that there are as many rotations as with a million lines and 10 MB.
SIZE = 10_000_000 * LINES // 1_000_000
WRITER = Path(__file__).with_name("writer.py")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("compress", ["no", "yes"])
def test_no_line_is_lost_or_torn_and_no_rotation_too_many(tmp_path, compress):
    command = [sys.executable, str(WRITER)]
    options = [str(LINES // WRITERS), str(SIZE), compress]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(n), *options], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for n in range(WRITERS)
        ]
        for writer in writers:
            assert writer.stdout.readline() == "open\n"
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        assert [writer.wait(250) for writer in writers] == [0] * WRITERS

    contents = {path.name: read(path) for path in tmp_path.iterdir()}
    lines = [line for content in contents.values() for line in content.decode().splitlines()]
    ids = sorted(re.fullmatch(r"time:[^\t]+\tid:([0-9]+-[0-9]+)\t.*\tauth:last", line)[1] for line in lines)
    assert ids == sorted(f"{writer}-{line}" for writer in range(WRITERS) for line in range(LINES // WRITERS))

    rotated = {name: len(content) for name, content in contents.items() if name != "access.log"}
    assert all(name.endswith(".gz") for name in rotated) == (compress == "yes")
    batch = 50 * 500  # what one writer may add before it looks again
    assert all(SIZE <= size < SIZE + 2 * WRITERS * batch for size in rotated.values()), rotated


def read(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def ids(path):
    return re.findall(r"^time:.*?\tid:([^\t]+)\t.*\tuser:.*$", path.read_text(), re.M)


def test_logrotates_move_and_usr1_with_several_workers(tmp_path):
    """Also without the signal: a file that was moved is noticed, even by a worker that has nothing to write."""

    def script(peer, backend):
        while peer.read_request() is not None:
            peer.send(response(b"x"))

    with running(tmp_path, UNLIMITED, *PUBLIC, ("workers = 1", "workers = 2"), scripts=[script] * 3) as ours:
        log, first, second = (tmp_path / "log" / name for name in ("access.log", "first", "second"))

        def holders(path):
            links = [f"/proc/{pid}/fd/{fd}" for pid in ours.workers for fd in os.listdir(f"/proc/{pid}/fd")]
            return sum(os.path.exists(link) and os.path.samefile(link, path) for link in links)

        with load(ours.port, threads=4) as clients:
            log.rename(first)
            ours.signal(signal.SIGUSR1)
            eventually(lambda: log.exists() and holders(log) == 2, "both in the new file")
            assert holders(first) == 0
        log.rename(second)
        eventually(lambda: log.exists() and holders(log) == 2, "both in a newer file")
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        answered = sum(client.answered for client in clients)
        found = [*ids(first), *ids(second), *ids(log)]
        assert len(found) == len(set(found)) == answered
