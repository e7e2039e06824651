"""Signals as something to select on: between any two instructions, where Python runs handlers, is no place to act."""

import signal
import socket
from collections.abc import Callable, Mapping


class Signals:
    """Calls what the table has for a signal, when told that there is one."""

    def __init__(self, table: Mapping[int, Callable[[], object]]) -> None:
        self._table = table
        self.socket, self._theirs = socket.socketpair()
        for sock in (self.socket, self._theirs):
            sock.setblocking(False)
        signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        for number in table:
            signal.signal(number, nothing)

    def handle(self) -> None:
        """Those that have come, in their order."""
        for number in self.socket.recv(4096):
            act = self._table.get(number)
            if act:
                act()


def nothing(*_: object) -> None:
    """A handler that does not count as one: unlike SIG_IGN it is not inherited by what is executed."""
