"""`gproxy top`: the page for a terminal, new each second; it can cut a request and drain a backend."""

import argparse
import json
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING, Final

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor
from gproxy.commands.live.top_snapshot import Action, snapshot

if TYPE_CHECKING:
    from gproxy.commands.live.top_screen import Screen

#: Seconds between two snapshots.
_EVERY: Final = 1.0
#: What the arrow keys and the like send.
_KEYS: Final = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b[5~": "page up",
    b"\x1b[6~": "page down", b"k": "up", b"j": "down", b"\t": "tab", b"q": "quit", b"\x03": "quit", b"\x04": "quit",
    b"x": "cut", b"d": "drain", b"y": "yes",
}  # fmt: skip
_STEPS: Final = {"up": -1, "down": 1, "page up": -10, "page down": 10}
#: The pane whose rows a key acts on.
_ACTS_ON: Final = {"cut": "requests", "drain": "backends"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the monitor, and whether to print once."""
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show the gateway until q is pressed; with --json print the values of this moment."""
    return ask_monitor(options, _print if options.json else _show)


def _print(client: AdminClient, _: argparse.Namespace) -> None:
    print(json.dumps(asdict(snapshot(client))))


def _show(client: AdminClient, _: argparse.Namespace) -> None:
    """Show snapshots until q is pressed. Raises AdminError without rich, a terminal, or an answer at the start."""
    try:
        from gproxy.commands.live.top_screen import Screen
    except ImportError:
        raise AdminError("gproxy top needs the package rich: pip install 'gproxy[top]'") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise AdminError("gproxy top needs a terminal; --json prints the values once")
    with _terminal() as wake:
        _Top(client, Screen(snapshot(client)), wake).run()


class _Top:
    """The screen while it is shown: a snapshot each second, and the keys between."""

    def __init__(self, client: AdminClient, screen: "Screen", wake: int) -> None:
        self._client = client
        self._screen = screen
        self._wake = wake
        #: The action that waits for its confirmation.
        self._asked: Action | None = None

    def run(self) -> None:
        """Show snapshots until q is pressed."""
        from rich.console import Console
        from rich.live import Live

        due = monotonic() + _EVERY
        with Live(self._screen, console=Console(highlight=False), screen=True, auto_refresh=False) as live:
            while (key := self._key(due - monotonic())) != "quit":
                if key:
                    self._press(key)
                if monotonic() >= due:
                    self._look()
                    due = monotonic() + _EVERY
                live.update(self._screen, refresh=True)

    def _look(self) -> None:
        try:
            self._screen.show(snapshot(self._client))
        except AdminError:
            self._screen.is_lost = True

    def _key(self, seconds: float) -> str:
        """Return the next key by its name; empty after so many seconds, or when the terminal's size has changed."""
        ready, _, _ = select.select([sys.stdin.fileno(), self._wake], [], [], max(0.0, seconds))
        if self._wake in ready:
            os.read(self._wake, 1024)
        if sys.stdin.fileno() not in ready:
            return ""
        data = os.read(sys.stdin.fileno(), 32)
        return _KEYS.get(data, "other") if data else "quit"

    def _press(self, key: str) -> None:
        screen, asked, self._asked = self._screen, self._asked, None
        screen.message = ""
        if asked is not None:
            screen.message = self._act(asked) if key == "yes" else "not done"
        elif key in _STEPS:
            screen.move(_STEPS[key])
        elif key == "tab":
            screen.next_pane()
        elif key in _ACTS_ON:
            self._ask(_ACTS_ON[key])

    def _ask(self, pane: str) -> None:
        """Ask whether to act on the selected row of this pane; a key for another pane's rows selects that pane."""
        if self._screen.pane != pane:
            self._screen.pane = pane
            self._screen.message = "select a row with the arrow keys, then press the key again"
        elif (row := self._screen.row) is not None and row.action is not None:
            self._asked = row.action
            self._screen.message = f"{row.action.question}? y: yes; any other key: no"

    def _act(self, action: Action) -> str:
        """Carry the action out, and return what to show."""
        try:
            self._client.send(action.method, action.path, action.body)
        except AdminError as error:
            return str(error)
        return f"{action.question}: done"


@contextmanager
def _terminal() -> Iterator[int]:
    """Let keys come without Enter until the end; yield a descriptor that is readable after a change of the size."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signals = {number: signal.signal(number, handler) for number, handler in _HANDLERS.items()}
    wakes = signal.set_wakeup_fd(writer)
    try:
        tty.setcbreak(descriptor)
        yield reader
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(wakes)
        for number, handler in signals.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _leave(number: int, _: object) -> None:
    """End by an exception, so that the terminal is restored."""
    raise SystemExit(128 + number)


def _notice(_: int, __: object) -> None:
    """Do nothing: a change of the size only wakes the reader up."""


_HANDLERS: Final = {signal.SIGWINCH: _notice, signal.SIGTERM: _leave, signal.SIGHUP: _leave}
