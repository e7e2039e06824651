"""`gproxy dev`: the gateway in front of demo backends, reloading whenever a file is saved."""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from gproxy.arbiter.arbiter import Arbiter
from gproxy.arbiter.worker_process import GROUP_SIGNALS, WorkerProcess, path_flags
from gproxy.config.load import Overrides

#: The file that ships; where it would write to the working directory, ours says something else.
_TEMPLATE: Final = Path(__file__).parents[1] / "testing" / "demo.ini"
_CHANGES: Final = {
    "0.0.0.0:8080": "127.0.0.1:8080",
    "access = log/access.log": "access = -             ",
    "[gateway]": "state_dir = {folder}/var\n\n[gateway]",
}


def serve(path: str | None, overrides: Overrides) -> int:
    """Until a signal; the exit code. Without a path, settings are made up that may be edited too."""
    with tempfile.TemporaryDirectory(prefix="gproxy-dev-") as folder:
        config = path or _settings(Path(folder))
        # A breakpoint stops a worker for as long as it takes.
        chosen = {("server", "worker_timeout"): "0s", **overrides, ("server", "reload"): "on"}
        leash = _start_demo(config, overrides)
        try:
            return Arbiter(config, chosen, WorkerProcess.spawn(generation=1, number=1)).run()
        finally:
            os.close(leash)


def _settings(folder: Path) -> str:
    text = _TEMPLATE.read_text()
    for before, after in _CHANGES.items():
        text = text.replace(before, after.replace("{folder}", str(folder)), 1)
    path = folder / "gproxy.ini"
    path.write_text(text)
    return str(path)


def _start_demo(config: str, overrides: Overrides) -> int:
    """Backends, and somebody who says what to try; they end when what is returned is closed, however that happens."""
    theirs, ours = os.pipe()
    os.set_inheritable(theirs, True)
    given = json.dumps([(*place, text) for place, text in overrides.items()])
    command = [sys.executable, *path_flags(), "-m", "gproxy.testing.dev", str(theirs), config, given]
    os.posix_spawn(sys.executable, command, os.environ, setsigmask={*GROUP_SIGNALS, signal.SIGUSR2})
    os.close(theirs)
    return ours
