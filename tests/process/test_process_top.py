"""`gproxy top` in a pseudo-terminal of 80 columns and 24 lines."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios

import forked
import pyte
import pytest
from admin_listener import Admin

from gproxy.testing.backends import Backend
from gproxy.testing.gateway import eventually

HELD = """
[route:held]
path = /held
upstream = held
[upstream:held]
backends = http://127.0.0.1:{held}
"""
ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


def holding(peer, backend):
    """Answer nothing until the gateway leaves."""
    peer.read_request()
    peer.is_closed()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with Backend(holding) as held, Admin(tmp_path_factory.mktemp("top"), HELD.format(held=held.port)) as admin:
        yield admin


class Terminal:
    """A terminal in which `gproxy top` runs."""

    def __init__(self, admin, **environ):
        self.screen = pyte.Screen(80, 24)
        self.received = b""
        self._stream = pyte.ByteStream(self.screen)
        self._ours, theirs = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(theirs)
        command = ["setsid", "--ctty", sys.executable, "-m", "gproxy", "top", "--admin", f"unix:{admin.socket}"]
        environ = {**os.environ, "TERM": "xterm-256color", **environ}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
        self.theirs = theirs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)

    def resize(self, columns, lines):
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def press(self, keys):
        os.write(self._ours, keys)

    def shows(self, text):
        """Whether the text is on the screen, after what has been written until now."""
        while select.select([self._ours], [], [], 0.05)[0]:
            data = os.read(self._ours, 65536)
            self.received += data
            self._stream.feed(data)
        return text in "\n".join(self.screen.display)

    def wait_for(self, text):
        eventually(lambda: self.shows(text), f"{text!r} on the screen")


def test_requests_are_shown_and_cut_after_a_confirmation(shop):
    with shop.gateway.connect() as client, Terminal(shop) as terminal:
        client.send("GET /held/a%1b[31m HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        terminal.wait_for("GET /held/a%1b[31m")
        terminal.wait_for("> ")
        assert terminal.screen.display[0].startswith(os.uname().nodename)
        assert terminal.screen.display[-1].startswith("q quit")
        terminal.press(b"x")
        terminal.wait_for("Cut GET /held/a%1b[31m? y: yes")
        terminal.press(b"n")
        terminal.wait_for("not done")
        assert terminal.shows("GET /held/a%1b[31m")
        terminal.press(b"x")
        terminal.wait_for("y: yes")
        terminal.press(b"y")
        assert client.read_response().status == 503
        terminal.wait_for("Cut GET /held/a%1b[31m: done")
        terminal.press(b"d")
        terminal.wait_for("select a row")
        terminal.press(b"d")
        terminal.wait_for("Drain 127.0.0.1:")
        terminal.press(b"n")


def test_a_small_terminal_a_resize_and_q_which_restores_it(shop):
    with Terminal(shop) as terminal:
        terminal.wait_for("BACKEND")
        assert terminal.received.count(ALTERNATE) == 1
        terminal.resize(60, 12)
        terminal.wait_for("q quit")
        eventually(lambda: terminal.shows("") or terminal.screen.display[11].startswith("q quit"), "the last line")
        assert all(len(line) == 60 for line in terminal.screen.display)
        terminal.press(b"q")
        assert terminal.process.wait(10) == 0
        terminal.shows("")
        assert terminal.received.count(NORMAL) == 1
        assert b"\x1b[?25h" in terminal.received, "the cursor stays hidden"
        assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_without_colour_states_are_words_and_the_selection_is_a_mark(shop):
    with Terminal(shop, NO_COLOR="1") as terminal:
        terminal.wait_for("healthy")
        terminal.press(b"\t")
        terminal.wait_for("> ")
        assert not [code for code in (b"[31", b"[1;31", b"[32", b"[38;") if code in terminal.received]
        terminal.press(b"\x03")
        assert terminal.process.wait(10) == 0


def test_json_and_what_is_no_terminal(shop):
    command = [sys.executable, "-m", "gproxy", "top", "--admin", f"unix:{shop.socket}"]
    done = forked.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)["panes"]) == {"routes", "backends", "requests"}
    done = forked.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (1, "gproxy top needs a terminal; --json prints the values once\n")
