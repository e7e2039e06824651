"""The process of `gproxy replay --config`: a gateway on a port of the loopback, apart from the one that is running.

    python -m gproxy.commands.replay.gateway CONFIG PORT FOLDER

It has its state in the folder, neither an access log nor an admin listener, and runs no jobs. It ends with the end of
standard input, so that it never outlives the command.
"""

import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final

from gproxy.arbiter.arbiter import Arbiter
from gproxy.arbiter.spawn import CannotStartError, spawn
from gproxy.config.ini.files import parse_files, read_files
from gproxy.config.load import Overrides, load_process

#: What the gateway does not take from the settings.
_OWN: Final = {
    ("server", "workers"): "1",
    ("server", "reload"): "off",
    ("log", "access"): "off",
    ("log", "level"): "warning",
}
#: What it has no need for, if the settings have it.
_WITHOUT: Final = {("admin", "bind"): "", ("trace", "endpoint"): ""}
#: The options of a job that never runs: the first multiple of this time since 1970 is in 2069.
_NEVER: Final = {"every": "36500d", "at": "", "on_start": "no"}


def serve(config: str, port: str, folder: str) -> int:
    """Serve until a signal. Return the exit code. Raises CannotStartError."""
    copy_secrets(config, Path(folder))
    Thread(target=_end_with_input, daemon=True).start()
    return Arbiter(config, _overrides(config, port, folder), spawn(generation=1, number=1)).run()


def _end_with_input() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGQUIT)


def copy_secrets(config: str, folder: Path) -> None:
    """Copy generated secrets of handlers, with which tokens are signed, to another folder for state."""
    server = load_process(read_files(config, os.environ), {}).server
    if server is None:
        return
    for path in server.state_dir.glob("*.secret"):
        with suppress(OSError):
            shutil.copy2(path, folder)


def _overrides(config: str, port: str, folder: str) -> Overrides:
    sections = parse_files(read_files(config, os.environ), os.environ, []) or []
    given = {(section.title, option) for section in sections for option in section.options}
    without = {place: text for place, text in _WITHOUT.items() if place in given}
    own = {("server", "bind"): f"127.0.0.1:{port}", ("server", "state_dir"): folder, **_OWN}
    return {**own, **without, **no_jobs(config)}


def no_jobs(config: str) -> Overrides:
    """Return what lets no job of the settings run: a replay must not send the mails of the night."""
    sections = parse_files(read_files(config, os.environ), os.environ, []) or []
    jobs = [section.title for section in sections if section.kind == "job"]
    return {(title, option): text for title in jobs for option, text in _NEVER.items()}


if __name__ == "__main__":
    try:
        status = serve(*sys.argv[1:])
    except CannotStartError as error:
        print(error, file=sys.stderr)
        status = 1
    sys.exit(status)
