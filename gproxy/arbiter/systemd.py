"""The protocols of systemd: inherited sockets (sd_listen_fds) and status notifications (sd_notify)."""

import os
import socket
from collections.abc import Sequence
from time import clock_gettime_ns
from typing import Final

from gproxy.config.types import Address

#: The first inherited descriptor.
_FIRST: Final = 3
#: Seconds that a notification may block.
_SEND_TIMEOUT: Final = 0.2


def listen_fds() -> list[int]:
    """Return the descriptors of the sockets that systemd has opened for this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    return list(range(_FIRST, _FIRST + int(count))) if count.isdecimal() else []


def bind_to(fds: Sequence[int], listeners: Sequence[Address]) -> str:
    """Return a `[server] bind` with these descriptors; each replaces the address of the listener at its position."""
    roles = [address.words for address in listeners] + [""] * len(fds)
    return "\n".join(f"fd:{fd} {role}" for fd, role in zip(fds, roles, strict=False))


def watchdog_interval() -> float | None:
    """Return the seconds between two watchdog notifications, half of systemd's limit; None without a watchdog."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(micros) / 2e6 if micros.isdecimal() and int(micros) and ours else None


class Notifier:
    """A sender of status notifications to systemd; does nothing without NOTIFY_SOCKET."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def ready(self, status: str) -> None:
        """Notify that the start, or a reload, is complete."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Notify that a reload begins; `ready` ends it."""
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
            sock.settimeout(_SEND_TIMEOUT)
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError:
                pass  # a missing or slow receiver must not stop the arbiter
