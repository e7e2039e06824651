"""The processes of `gproxy replay --config`: the test kit with the recorded backends, or a real gateway."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from gproxy.arbiter.spawn import path_flags
from gproxy.recording.replaying import Answer, ReplayRequest

#: The longest start of a gateway, and the pause between two looks at it, in seconds.
_START: Final = 30.0
_LOOK: Final = 0.02
_GRACE: Final = 10.0
#: A request that the gateway answers by itself, once a worker serves: no handler sees it.
_HELLO: Final = b"HELLO\r\n\r\n"


class ChildError(Exception):
    """A process that could not do its work; the message says which. Its reasons are on standard error."""


def from_recorded_backends(
    config: str, file: str, ignored: Sequence[str], requests: Sequence[ReplayRequest]
) -> list[Answer]:
    """Return the answers of a gateway with these settings to the requests, while the recorded backends answer it.

    Raises ChildError.
    """
    command = [sys.executable, *path_flags(), "-m", "gproxy.testing.replay", config, file, *ignored]
    # Sets of texts have the same order in each run.
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    lines = "".join(f"{request.dump()}\n" for request in requests)
    done = subprocess.run(  # noqa: S603 our own program
        command, input=lines, stdout=subprocess.PIPE, env=environ, text=True, check=False, start_new_session=True
    )
    answers = [Answer.load(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(requests):
        raise ChildError(f"the gateway with {config} could not answer")
    return answers


@contextmanager
def running_gateway(config: str) -> Iterator[str]:
    """Run a gateway with these settings for a block, and yield its URL. Raises ChildError if it does not start."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="gproxy-replay-") as folder:
        command = [sys.executable, *path_flags(), "-m", "gproxy.commands.replay.gateway", config, str(port), folder]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 our own program
        try:
            _wait(process, port, config)
            yield f"http://127.0.0.1:{port}"
        except BaseException:
            process.send_signal(signal.SIGQUIT)  # at once, whatever it does
            raise
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(process: "subprocess.Popen[bytes]", port: int, config: str) -> None:
    """Wait until the gateway answers."""
    end = time.monotonic() + _START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ChildError(f"a gateway with {config} does not start")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as sock:
            sock.settimeout(max(end - time.monotonic(), _LOOK))
            sock.sendall(_HELLO)
            if sock.recv(1):
                return
        time.sleep(_LOOK)
    raise ChildError(f"a gateway with {config} does not answer within {_START:g} s")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait()
