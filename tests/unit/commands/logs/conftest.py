"""Access logs as a gateway writes them, and the command run on them in this process."""

import gzip
import json
import signal
from datetime import datetime

import pytest

from gproxy.cli import main


@pytest.fixture(autouse=True)
def kept_handler():
    """The command sets the handler of SIGINT, as it ends with the command."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


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
