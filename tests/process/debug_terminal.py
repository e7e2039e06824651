"""A command in a pseudo-terminal: what it prints, and what is typed."""

import os
import pty
import select
import subprocess
import sys
import time

from gproxy.testing.gateway import eventually

PROMPT = "(Pdb) "
#: ctrl-D.
END = "\x04"


def wait(seconds):
    """Let a limit pass: the test has nothing to wait for but the time."""
    ends = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > ends, "the end of the time")


class CommandTerminal:
    """A pseudo-terminal in which a `gproxy` command runs."""

    def __init__(self, *arguments, folder=None, environ=None):
        self._ours, theirs = pty.openpty()
        command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "gproxy", *arguments]
        environ = {**os.environ, **(environ or {})}
        self.process = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
        os.close(theirs)
        self.text = ""
        self._from = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.hang_up()
        self.process.wait(20)
        if error[0] is not None:
            sys.stderr.write(f"\n--- the terminal ---\n{self.text}\n")

    def hang_up(self):
        """Close the terminal, as a window does."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def type(self, text):
        """Type a line; what is shown from now on counts."""
        self._read()
        self._from = len(self.text)
        os.write(self._ours, f"{text}\n".encode() if text != END else END.encode())

    def press(self, key):
        """Press a key, such as ctrl-C."""
        os.write(self._ours, key.encode())

    def _read(self):
        while select.select([self._ours], [], [], 0.02)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # the command has ended
                return
            if not data:
                return
            self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")

    def shows(self, text):
        self._read()
        return text in self.text[self._from :]

    def wait_for(self, text):
        eventually(lambda: self.shows(text), f"{text!r} in the terminal, not {self.text!r}")
        return self.text[self._from :]

    def ask(self, line, text=PROMPT):
        """Type a line, and return what is shown until the text."""
        self.type(line)
        return self.wait_for(text)

    def ends_with(self, code):
        """Whether the command ends with this exit code."""
        eventually(lambda: self._read() or self.process.poll() is not None, "the end of the command")
        self._read()
        assert self.process.returncode == code, self.text
        return True
