"""The child process of `gproxy replay --backends recorded`: a gateway of the test kit, whose backends are recorded.

    python -m gproxy.testing.replay CONFIG FILE [IGNORED ...]

It reads requests from standard input and writes answers to standard output, each a line of JSON. Time is virtual and
begins when the recording did. So two runs are the same, and nothing waits. The process opens no connection.
"""

import gproxy.server.patch  # noqa: F401, I001 before user code, as in a worker

import os
import socket
import sys
import tempfile
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TextIO


from gproxy.commands.replay.gateway import copy_secrets, no_jobs
from gproxy.config.problems import ConfigError
from gproxy.recording.body_diff import Ignored
from gproxy.recording.diff import Diff
from gproxy.recording.json_lines import RecordError
from gproxy.recording.replaying import ReplayRequest, Source
from gproxy.testing.kit.clock import VirtualClock
from gproxy.testing.kit.gateway import KitGateway
from gproxy.testing.kit.recorded import RecordedBackend, Replay

#: What the process does not do, by the names of the interpreter's audit events.
_BY_NAME: Final = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_LOOK_UPS: Final = _BY_NAME | {"socket.gethostbyaddr", "socket.getnameinfo"}
_CONNECTIONS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"}) | _LOOK_UPS
#: The most records of the error log that are printed.
_MOST: Final = 50


def replay(config: str, file: str, *ignored: str) -> int:
    """Answer the requests of standard input on standard output. Return the exit code."""
    answers = _only_for_answers()
    requests = [ReplayRequest.load(line) for line in sys.stdin]
    source = Source.read(Path(file))
    diff = Diff(Ignored.parse(ignored), source.pseudonym)
    clock = VirtualClock(wall=min(request.at for request in requests))
    refused = _refuse_connections()
    with tempfile.TemporaryDirectory(prefix="gproxy-replay-") as folder:
        copy_secrets(config, Path(folder))
        make: Any = partial(RecordedBackend, clock=clock)
        made = KitGateway(
            None, Path(config), state_dir=Path(folder), clock=clock, make_backend=make, overrides=no_jobs(config)
        )
        with made as gateway:
            for answer in Replay(gateway, source.exchanges, diff)(requests):
                print(answer.dump(), file=answers)
            for line in (*gateway.warnings[:_MOST], *refused):
                print(line, file=sys.stderr)
    answers.flush()
    return 0


def _only_for_answers() -> TextIO:
    """Return standard output; what user code prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _refuse_connections() -> list[str]:
    """Refuse each connection of this process from now on, and return the list of what was refused, once each."""
    refused: list[str] = []

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        is_look_up = event in _LOOK_UPS
        if event in _CONNECTIONS and not (event in _BY_NAME and _is_address(arguments[0])):
            where = arguments[0 if is_look_up else 1]
            line = f"connection to {where} refused: a replay with recorded backends opens none"
            if line not in refused:
                refused.append(line)
            kind = socket.gaierror if is_look_up else ConnectionRefusedError
            raise kind("no connections in a replay with recorded backends")

    sys.addaudithook(refuse)
    return refused


def _is_address(host: object) -> bool:
    """Return whether the look-up of a host asks no server."""
    try:
        ip_address(str(host))
    except ValueError:
        return host is None
    return True


if __name__ == "__main__":
    try:
        status = replay(*sys.argv[1:])
    except (ConfigError, RecordError, AssertionError) as problem:
        print(problem, file=sys.stderr)
        status = 2
    sys.stderr.flush()
    os._exit(status)
