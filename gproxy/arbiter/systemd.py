"""systemd's side of a start: sockets that it hands over (sd_listen_fds), and what it wants to be told (sd_notify)."""

import os
import socket
from collections.abc import Sequence
from time import clock_gettime_ns
from typing import Final

from gproxy.config.types import Address

#: The first descriptor that is handed over.
_FIRST: Final = 3
#: How long to wait for somebody who does not read what we tell, in seconds.
_PATIENCE: Final = 0.2


def listen_fds() -> list[int]:
    """The descriptors of sockets that were opened for this very process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    return list(range(_FIRST, _FIRST + int(count))) if count.isdecimal() else []


def bind_to(fds: Sequence[int], listeners: Sequence[Address]) -> str:
    """What `[server] bind` is with these descriptors; each one is for the listener that stands in its place."""
    words = [address.words for address in listeners] + [""] * len(fds)
    return "\n".join(f"fd:{fd} {said}" for fd, said in zip(fds, words, strict=False))


def watchdog_interval() -> float | None:
    """How often to say that we live, in seconds: twice as often as is asked for."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(micros) / 2e6 if micros.isdecimal() and int(micros) and ours else None


class Notifier:
    """Tells systemd how we are, if it asked for that."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Until `ready`."""
        micros = clock_gettime_ns(1) // 1000  # CLOCK_MONOTONIC
        self._send("RELOADING=1", f"MONOTONIC_USEC={micros}", "STATUS=reloading")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=stopping")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_PATIENCE)
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError:
                pass  # it does not listen, and we have others to serve
